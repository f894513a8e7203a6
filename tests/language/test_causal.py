"""What SentenceDecoder refuses, before anything long begins."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from qmm.decoders import SentenceDecoder
from qmm.errors import InputError
from qmm.language import SentenceTokenizer
from qmm.language.causal import blocks_of

Folder = Callable[..., Path]
TINY = {"n_embd": 16, "n_layer": 2, "n_head": 2}


def changed(folder: Path, to: Path, **fields: Any) -> Path:
    """A copy of a folder with other fields in its config.json."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **fields}))
    return to


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"language": {"model_type": "gpt9"}}, "transformers knows no model_type='gpt9'"),
        ({"language": {"n_embed": 8}}, "a gpt2 configuration of transformers has no field 'n_embed'; did you mean 'n_embd'"),
        ({"language": {"n_embd": 10, "n_head": 4}}, "no causal language model can be made of"),
        ({"language": {"model_type": "t5"}}, "no causal language model can be made of"),
        ({"language": {"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2}}, "reads ahead"),
        ({"prefix": 0}, "prefix=0: expected at least 1"),
        ({"attend_every": 0}, "attend_every=0: expected at least 1"),
        ({"on_long": "ignore"}, "on_long='ignore': expected 'truncate' or 'refuse'"),
        ({"references": "some"}, "references='some': expected 'one' or 'all'"),
        ({"max_length": 5}, r"max_length=5: expected 6 \(prefix=4, a token and the end\) to 128"),
        ({"max_length": 200}, "max_length=200: expected 6 .* to 128"),
        ({"prefix": 127}, "prefix=127: the language model has only 128 positions"),
        ({"tuning": "half"}, "tuning='half'"),
        ({"tuning": "lora", "lora": {"target_modules": ["nothing"]}}, "lora=.*nothing.* cannot be applied"),
        ({"tuning": "lora", "lora": {"rank": 2}}, "lora=.*rank.* cannot be applied"),
        ({"lora": {"r": 2}}, "set tuning='lora', or leave lora out"),
        ({"tokenizer": "x", "tokenizer_json": "y"}, "tokenizer and tokenizer_json are both given"),
        ({"pretrained": "./nowhere"}, "there is no such folder"),
    ],
)
def test_arguments(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        SentenceDecoder(**given)


def test_a_tokenizer_that_does_not_fit_the_model(folder_of: Folder, tmp_path: Path, sentences: list[str]) -> None:
    larger = SentenceTokenizer.train([*sentences, "quite other words, and more of them than before"], 400)
    folder = folder_of("gpt2")
    with pytest.raises(InputError, match=f"the tokenizer has {len(larger)} tokens, the model embeddings for 300"):
        SentenceDecoder(pretrained=str(folder), tokenizer_json=larger.json)
    other = changed(folder, tmp_path / "other", eos_token_id=7)
    with pytest.raises(InputError, match="its model ends a text with token 7, but the tokenizer with 1"):
        SentenceDecoder(pretrained=str(other))
    meant = SentenceDecoder({"eos_token_id": 1}, pretrained=str(other))
    assert meant.tokenizer.end == meant.language.config.eos_token_id == 1
    several = changed(folder, tmp_path / "several", eos_token_id=[7, 1])
    assert SentenceDecoder(pretrained=str(several)).tokenizer.end == 1
    with pytest.raises(InputError, match="the tokenizer has 300 tokens, the model embeddings for 290"):
        SentenceDecoder({"vocab_size": 290, **TINY}, tokenizer=str(folder))


def test_embeddings_without_a_token_are_never_written(folder_of: Folder) -> None:
    """Models are padded to round numbers of tokens."""
    torch.manual_seed(0)
    decoder = SentenceDecoder(pretrained=str(folder_of("llama", vocab_size=900)), generation={"max_new_tokens": 20})
    decoder.build(3)
    assert all(number < 300 for ids in decoder.eval().generate(decoder(torch.randn(16, 3))) for number in ids)


def test_folders_that_are_no_language_model(folder_of: Folder, tmp_path: Path) -> None:
    folder = folder_of("gpt2")
    without = changed(folder, tmp_path / "without")
    (without / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        SentenceDecoder(pretrained=str(without))
    pickled = changed(folder, tmp_path / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        SentenceDecoder(pretrained=str(pickled))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="has no tokenizer"):
        SentenceDecoder(pretrained=str(empty))
    partial = changed(folder, tmp_path / "partial", n_layer=3)
    with pytest.raises(InputError, match=r"lacks \d+ weights"):
        SentenceDecoder(pretrained=str(partial))
    with pytest.raises(InputError, match="weights of other shapes"):
        SentenceDecoder({"n_positions": 32}, pretrained=str(folder))


def test_code_of_a_folder_is_never_run(folder_of: Folder, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    automatic = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.OwnModel"}
    remote = changed(folder_of("gpt2"), tmp_path / "remote", model_type="own", auto_map=automatic)
    (remote / "own.py").write_text(f"open({str(mark)!r}, 'w').write('')\n")
    with pytest.raises(InputError, match="cannot be loaded"):
        SentenceDecoder(pretrained=str(remote))
    known = changed(folder_of("gpt2"), tmp_path / "known", auto_map=automatic)
    (known / "own.py").write_text(f"open({str(mark)!r}, 'w').write('')\n")
    SentenceDecoder(pretrained=str(known))  # a GPT-2 by transformers' own code
    assert not mark.exists()


def test_a_frozen_random_model_cannot_learn_words(sentences: list[str]) -> None:
    decoder = SentenceDecoder(TINY, tuning="frozen")
    with pytest.raises(InputError, match="without `pretrained` has to be trained in full"):
        decoder.fit(sentences)


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("gpt_neox", {}),
        ("opt", {"ffn_dim": 32, "word_embed_proj_dim": 32}),
        ("gemma2", {"head_dim": 8, "num_key_value_heads": 2}),
        ("phi3", {"num_key_value_heads": 2}),
        ("mamba", {"state_size": 4}),
    ],
)
def test_other_families(family: str, fields: dict[str, Any], sentences: list[str]) -> None:
    """Any causal language model of transformers: it learns, it looks at what is perceived, it writes."""
    common = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    known = AutoConfig.for_model(family)
    given = {k: v for k, v in {**common, "max_position_embeddings": 64}.items() if hasattr(known, k)}
    torch.manual_seed(0)
    attend = family != "mamba"  # without attention heads there is nothing to tell how many to look with
    decoder = SentenceDecoder({"model_type": family, **given, **fields}, attend=attend, generation={"max_new_tokens": 5})
    decoder.build(3)
    decoder.fit(sentences)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = decoder.loss(decoder(torch.eye(3)), {"references": [[s] for s in sentences[:3]]})
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    decoder.eval()
    together, alone = decoder.predict(decoder(torch.eye(3))), decoder.predict(decoder(torch.eye(3)[:1]))
    assert together[0].sentence == alone[0].sentence
    assert together[0].score == pytest.approx(alone[0].score, abs=1e-3)


def test_layers_are_found_by_their_number() -> None:
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("gpt2", **TINY, vocab_size=300, eos_token_id=1, bos_token_id=1)
    )
    assert list(blocks_of(model)) == list(model.transformer.h)
