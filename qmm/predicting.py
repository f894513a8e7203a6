"""`qmm predict`: a checkpoint and files -> labels with probabilities, values, or sentences with their score."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from qmm.backends.comparing import require_circuits
from qmm.backends.configuration import build_setup, read_setup
from qmm.decoders.classes import ClassDecoder
from qmm.decoders.sentences import SentenceDecoder
from qmm.decoders.speaker import speaker, speaks
from qmm.errors import InputError
from qmm.language.generation import Generation
from qmm.loading import find_class, load
from qmm.predictions import as_line, as_plain
from qmm.training.checkpoints import read_checkpoint
from qmm.training.quantum_plan import Work
from qmm.training.quantum_use import QuantumUse, expected, summary
from qmm.types import Batch

COLUMNS = {"vision": "image", "audio": "audio", "text": "text"}
"""Modality -> what its files are called on the command line and in a manifest."""
GENERATION = ("strategy", "beams", "temperature", "top_p", "max_new_tokens", "seed")
"""Flags that are fields of `qmm.language.Generation`."""


def main(args: list[str]) -> None:
    """Prints one line for each sample, or JSON Lines."""
    options = _parser().parse_args(args)
    files = {"vision": options.image, "audio": options.audio, "text": options.text}
    described = read_checkpoint(options.ckpt_path).get("qmm", {}).get("data") or {}
    prompt_is_text = _prompt_is_text(described.get("init_args", {}))
    if prompt_is_text and not options.manifest:  # a question that an encoder reads and a sentence answers
        files["text"] = options.prompt = _one("--prompt", options.prompt, "--text", options.text)
    if bool(options.manifest) == any(value is not None for value in files.values()):
        raise InputError("give either files (--image, --audio, --text) or a --manifest")
    if options.stream and (options.json or options.manifest):
        raise InputError("--stream shows one sample as its sentence grows; leave out --json and --manifest, or --stream")
    if prompt_is_text and options.manifest and options.prompt is not None:
        raise InputError("this model's prompts are its texts, which the manifest gives; leave out --prompt")
    task = load(options.ckpt_path, options.allow)
    if options.config:
        require_circuits(task)
        task.model.run_on(*build_setup(read_setup(options.config)))
    _adopt(task.model.decoder, options)
    reader = _reader(options, described)
    if options.manifest:
        asked = {"question": "text"} if prompt_is_text else {}
        data = reader.for_files(path=options.manifest, root=options.root, **asked)
    else:
        data = reader.for_files(rows=[_row(files, list(task.model.branches))])
    use = _announced(task, data, options) if options.config else None
    if options.stream:
        _stream(task, next(iter(_loader(task, data, 1))), options.prompt)
    else:
        _print_all(task, data, options)
    if use is not None:
        print("predict: " + "\n  ".join(summary(use.figures())), file=sys.stderr)


def _print_all(task: Any, data: Any, options: argparse.Namespace) -> None:
    write = tqdm.write if sys.stdout.isatty() and sys.stderr.isatty() else print  # beside the bar, or apart from it
    for name, prediction in predict(task, data, options.batch_size, options.prompt):
        line = json.dumps({"id": name, **as_plain(prediction)}) if options.json else as_line(prediction, options.top or 3)
        write(f"{name}: {line}" if options.manifest and not options.json else line)


def predict(task: Any, data: Any, batch_size: int = 32, prompt: str | None = None) -> Iterator[tuple[str, Any]]:
    """(id, prediction) of every sample of a data module's "predict" split, with a progress bar on stderr.

    `prompt` is what every sample is asked, in place of what the data says.
    """
    loader = _loader(task, data, batch_size)
    total: int = len(loader.dataset)  # type: ignore[arg-type]
    with torch.inference_mode(), tqdm(desc="predicting", total=total, unit="sample", disable=total < 2) as bar:
        for batch in loader:
            yield from zip(batch.ids, task.predict_step(_asked(batch, prompt), 0), strict=True)
            bar.update(len(batch.ids))


def _announced(task: Any, data: Any, options: argparse.Namespace) -> QuantumUse:
    """Where circuits run and what that takes, told on stderr. Raises BudgetError where it is over the backend's budget."""
    checkpoint = Path(options.ckpt_path)
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else None
    use = QuantumUse(task, None if run is None else run / "quantum")
    loader = _loader(task, data, options.batch_size)
    works = [Work("predict", len(loader.dataset), options.batch_size)]  # type: ignore[arg-type]
    plan = use.plan(works)
    print(use.where() if plan is None else f"{use.where()} {expected(plan, works)}", file=sys.stderr)
    if plan is not None:
        use.require(plan)
    use.begin()
    return use


def _loader(task: Any, data: Any, batch_size: int) -> DataLoader[Batch]:
    data.connect({m: branch.encoder.preprocess for m, branch in task.model.branches.items() if m in data.modalities})
    data.batch_size = batch_size
    data.setup("predict")
    return data.predict_dataloader()


def _stream(task: Any, batch: Batch, prompt: str | None) -> None:
    """One sample's sentence, as it grows."""
    with torch.inference_mode():
        decoder, prefix = speaker(task.model.decoder, task(_asked(batch, prompt)).prediction)
        said = decoder.stream(prefix, lambda text: print(text, end="", flush=True))
    print(f" ({said.score:.2f})")


def _asked(batch: Batch, prompt: str | None) -> Batch:
    return batch if prompt is None else batch._replace(prompts=[prompt] * len(batch.ids))


def _adopt(decoder: Any, options: argparse.Namespace) -> None:
    """Have sentences generated as the flags say. Raises InputError for a flag that means nothing to this decoder."""
    changes = {name: getattr(options, name) for name in GENERATION if getattr(options, name) is not None}
    given = [*changes, *(name for name in ("prompt", "stream") if getattr(options, name) not in (None, False))]
    if given and not speaks(decoder):
        flags = ", ".join(f"--{name}" for name in given)
        raise InputError(f"{flags}: only for models that say sentences, and this one ends in a {type(decoder).__name__}")
    if options.top is not None and not any(isinstance(part, ClassDecoder) for part in decoder.modules()):
        raise InputError(f"--top counts classes, and this model, which ends in a {type(decoder).__name__}, names none")
    for part in decoder.modules():
        if isinstance(part, SentenceDecoder) and changes:
            part.generation = changed(part.generation, changes)


def changed(known: Generation, changes: dict[str, Any]) -> Generation:
    """What is asked for says how: beams are for "beam", the temperature and a seed for "sample"."""
    implied = (
        "beam" if "beams" in changes else "sample" if changes.keys() & {"temperature", "top_p", "seed"} else known.strategy
    )
    changes = {"strategy": implied, **changes}
    if changes["strategy"] != known.strategy:  # what belongs to another strategy is not kept
        kept = ("max_new_tokens", "min_new_tokens", "repetition_penalty", "seed")
        known = Generation(**{name: getattr(known, name) for name in kept})
    longest = changes.get("max_new_tokens", known.max_new_tokens)
    return dataclasses.replace(known, min_new_tokens=min(known.min_new_tokens, max(0, longest)), **changes)


def _prompt_is_text(data: dict[str, Any]) -> bool:
    """Whether a data module's text modality is what it asks."""
    asked = "question" if data.get("questions") else data.get("question")
    return asked is not None and (data.get("columns") or {}).get("text") == asked


def _one(first: str, value: str | None, second: str, other: str | None) -> str | None:
    if None not in (value, other) and value != other:
        raise InputError(f"this model's prompts are its texts, but {first} and {second} differ; give one of them")
    return other if value is None else value


def _row(files: dict[str, str | None], modalities: list[str]) -> dict[str, str]:
    given = {modality: value for modality, value in files.items() if value is not None}
    unknown = [modality for modality in given if modality not in modalities]
    if unknown:
        raise InputError(f"the model has no {', '.join(unknown)}; it takes {', '.join(modalities)}")
    return {COLUMNS[modality]: value for modality, value in given.items()}


def _reader(options: argparse.Namespace, described: dict[str, Any]) -> Any:
    path = options.data or described.get("class_path")
    if path is None:
        raise InputError("the checkpoint does not say how its data is read; name a data module with --data")
    reader = find_class(path, options.allow)
    if not hasattr(reader, "for_files"):
        raise InputError(f"{path} cannot read files: it has no `for_files`; name another data module with --data")
    return reader


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm predict",
        description="Label or describe files with a trained model, or ask it about them. Leave out what you do not have: a "
        "missing modality takes no part.",
        epilog="examples: qmm predict --ckpt_path runs/quickstart/checkpoints/last.ckpt --image a.jpg --audio a.wav; "
        "qmm predict --ckpt_path runs/quickstart_captions/checkpoints/last.ckpt --audio a.wav --stream",
    )
    parser.add_argument("--ckpt_path", required=True, help="checkpoint of a qmm task")
    parser.add_argument(
        "--config",
        action="append",
        metavar="FILE",
        help="where circuits run, of an overlay that `qmm test` takes, too: configs/backend/... (default: exactly)",
    )
    parser.add_argument("--image", help="a picture that Pillow reads")
    parser.add_argument("--audio", help="a sound that soundfile reads")
    parser.add_argument("--text", help="a sentence")
    parser.add_argument(
        "--manifest", help="many samples instead: JSONL, CSV or Parquet with columns image, audio, text, question (the prompt)"
    )
    parser.add_argument("--root", help="folder that the manifest's files may lie in (default: the manifest's)")
    parser.add_argument("--json", action="store_true", help="JSON Lines: id; label, probabilities; value; sentence, score")
    parser.add_argument("--top", type=int, help="classes to print for each sample (default: 3)")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--data", help="class that reads the files (default: the data module of the training)")
    parser.add_argument("--allow", nargs="+", default=[], help="further packages whose classes the checkpoint may build")
    speech = parser.add_argument_group(
        "models that say sentences",
        "What is not given is as trained. "
        "The score in brackets is the mean log probability of a token of the sentence, its end included; 0 is certainty.",
    )
    speech.add_argument("--prompt", help="what to answer or to follow: a question, an instruction")
    speech.add_argument("--stream", action="store_true", help="one sample, token by token")
    speech.add_argument("--strategy", choices=["greedy", "beam", "sample"], help="how to choose tokens")
    speech.add_argument("--beams", type=int, help="hypotheses that are kept; implies --strategy beam")
    speech.add_argument("--temperature", type=float, help="below 1 soberer, above 1 wilder; implies --strategy sample")
    speech.add_argument("--top_p", type=float, help="sample from the likeliest tokens of this total; implies --strategy sample")
    speech.add_argument("--max_new_tokens", type=int, help="the longest sentence, in tokens")
    speech.add_argument("--seed", type=int, help="of sampling; implies --strategy sample")
    return parser
