import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from qmm.decoders import SentenceDecoder
from qmm.errors import InputError
from qmm.language import SentenceTokenizer
from qmm.language.convert import PACKAGED, convert, main


def test_what_cannot_be_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"there is no file .*give a GGUF file, or one of smollm2"):
        convert(tmp_path / "none.gguf", tmp_path / "to")
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(InputError, match="is not empty"):
        convert(tmp_path / "text.gguf", tmp_path)
    with pytest.raises(SystemExit, match="error: there is no file"):
        main([str(tmp_path / "none.gguf"), str(tmp_path / "to")])
    assert not (tmp_path / "to").exists()


def test_a_package_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, "smollm2", "no_such_package")
    with pytest.raises(InputError, match="the package of smollm2 is not installed"):
        convert("smollm2", tmp_path / "to")


def test_a_gguf_file_becomes_a_folder(tmp_path: Path, tokenizer: SentenceTokenizer) -> None:
    """A small Llama, written as a GGUF file by the package of its makers, comes back with its weights and its tokenizer."""
    gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1, "num_key_value_heads": 1}
    special = {"eos_token_id": tokenizer.end, "bos_token_id": tokenizer.begin, "pad_token_id": tokenizer.pad}
    known = {"intermediate_size": 48, "vocab_size": len(tokenizer), "tie_word_embeddings": True, "rms_norm_eps": 1e-6}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes, **known, **special)).eval()
    write(gguf, tmp_path / "small.gguf", model, tokenizer)
    decoder = SentenceDecoder(pretrained=str(convert(tmp_path / "small.gguf", tmp_path / "to")))
    assert decoder.tokenizer.encode(" a dog barks") == tokenizer.encode("a dog barks")  # GGUF's knows no prefix space
    assert decoder.tokenizer.end == tokenizer.end
    ids = torch.tensor([tokenizer.encode("waves break on the beach")])
    with torch.no_grad():
        found = decoder.language.eval()(input_ids=ids).logits[..., : len(tokenizer)]  # there is one for the unknown, too
        assert torch.allclose(found, model(input_ids=ids).logits, atol=1e-5)
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(InputError, match="cannot be loaded"):
        convert(tmp_path / "text.gguf", tmp_path / "other")


def write(gguf: Any, path: Path, model: Any, tokenizer: SentenceTokenizer) -> None:
    """As llama.cpp has it. One head, so that the order of its queries and keys is one permutation."""
    config, vocabulary = model.config, json.loads(tokenizer.json)["model"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size)
    writer.add_vocab_size(len(tokenizer))
    writer.add_tokenizer_model("gpt2")
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].__getitem__)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if number < 2 else 1 for number in range(len(tokens))])  # special ones, then usual ones
    writer.add_token_merges([" ".join(pair) for pair in vocabulary["merges"]])
    writer.add_bos_token_id(tokenizer.begin)
    writer.add_eos_token_id(tokenizer.end)
    writer.add_pad_token_id(tokenizer.pad)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue  # tied
        values = tensor.numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp rotates neighbours, transformers halves
            values = values.reshape(2, -1, values.shape[1]).swapaxes(0, 1).reshape(values.shape)
        stem, _, kind = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{kind}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
