import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Trainer

from qmm import Branch, MultimodalModel, load
from qmm.data import ScenesDataModule
from qmm.decoders import ClassDecoder, SentenceDecoder
from qmm.encoders import LinearCompressor, ViTEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion
from qmm.language.perplexity import perplexity
from qmm.tasks import MultimodalCaptioning, MultimodalClassification
from qmm.training import AtomicCheckpointIO, GeneralAbility
from qmm.training.general_ability import read_sentences

Folder = Callable[..., Path]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@torch.no_grad()
def test_it_is_transformers_own_loss(folder_of: Folder, family: str, sentences: list[str]) -> None:
    decoder = SentenceDecoder(pretrained=str(folder_of(family)), attend=True)
    decoder.build(3, {"vision": 5})
    total, count = 0.0, 0
    for sentence in sentences:
        ids = torch.tensor([decoder.tokenizer.encode(sentence)])
        total += float(decoder.language.eval()(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    decoder.train()
    for batch_size in (1, 3, 100):
        found = perplexity(decoder.language, decoder.tokenizer, sentences, batch_size)
        assert found == pytest.approx(math.exp(total / count), rel=1e-4)
    assert decoder.language.training
    with pytest.raises(InputError, match="no sentence of two tokens"):
        perplexity(decoder.language, decoder.tokenizer, ["", " "])


def test_sentences_of_files(tmp_path: Path) -> None:
    for name, content in {
        "a.txt": "one\n\n two \nthree\n",
        "a.jsonl": '{"s": "one"}\n{"s": ["two", "three"]}\n{"s": null}\n',
        "a.csv": 's,t\none,1\ntwo,"2"\nthree,3\n',
        "a.tsv": "s\tt\none\t1\ntwo\t2\nthree\t3\n",
    }.items():
        (tmp_path / name).write_text(content)
    pd.DataFrame({"s": ["one", "two", "three"]}).to_parquet(tmp_path / "a.parquet")
    for file in tmp_path.iterdir():
        column = None if file.suffix == ".txt" else "s"
        assert read_sentences(file, column) == ["one", "two", "three"]
        assert read_sentences(file, column, 2) == ["one", "two"]
    for content, column, told in [
        ("", None, "no sentence in it"),
        ("one", "s", "only .* have columns"),
        ('{"s": 3}', "s", "row 1: s holds 3"),
        ("[1", "s", "row 1: not a JSON object"),
        ('{"t": "a"}', "s", r"row 1 has no column 's' \(it has t\)"),
        ('{"t": "a"}', None, "say which `column`"),
    ]:
        file = tmp_path / ("b.jsonl" if content[:1] in ("{", "[") else "b.txt")
        file.write_text(content)
        with pytest.raises(InputError, match=told):
            read_sentences(file, column)
    with pytest.raises(InputError, match="there is no file"):
        read_sentences(tmp_path / "none.txt")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="not UTF-8"):
        read_sentences(tmp_path / "c.txt")


def scenes() -> ScenesDataModule:
    return ScenesDataModule(
        size=24,
        val_size=12,
        test_size=12,
        batch_size=12,
        captions=True,
        picture_size=16,
        sound_seconds=0.5,
        modalities=["vision"],
    )


def model_of(decoder: Any) -> MultimodalModel:
    torch.manual_seed(0)
    vision = Branch(ViTEncoder({"image_size": 16, "patch_size": 8, **SMALL}), LinearCompressor(3))
    return MultimodalModel(ConcatFusion(), decoder, vision=vision)


@pytest.mark.parametrize("tuning", ["full", "lora", "frozen"])
def test_what_training_costs_the_language_model(
    folder_of: Folder, tmp_path: Path, make_trainer: Callable[..., Trainer], sentences: list[str], tuning: Any
) -> None:
    (tmp_path / "general.jsonl").write_text("\n".join(json.dumps({"text": sentence}) for sentence in sentences))
    ability = GeneralAbility(str(tmp_path / "general.jsonl"), "text")
    decoder = SentenceDecoder(pretrained=str(folder_of("llama")), tuning=tuning, generation={"max_new_tokens": 3})
    before = perplexity(decoder.language, decoder.tokenizer, sentences)
    task = MultimodalCaptioning(model_of(decoder), learning_rate=3e-2)
    trainer = make_trainer(ability, epochs=2, plugins=[AtomicCheckpointIO()])
    trainer.fit(task, datamodule=scenes())
    assert "val/general_perplexity_after" not in trainer.callback_metrics
    trainer.test(task, datamodule=scenes(), verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items() if "general" in name}
    assert found["test/general_perplexity_before"] == pytest.approx(before, rel=1e-4)
    after = perplexity(decoder.language, decoder.tokenizer, sentences)
    assert found["test/general_perplexity_after"] == pytest.approx(after, rel=1e-4)
    assert found["test/general_ability_lost"] == pytest.approx(after / before - 1, abs=1e-3)
    if tuning == "frozen":
        assert abs(found["test/general_ability_lost"]) < 1e-6
    else:
        assert abs(found["test/general_ability_lost"]) > 1e-3
    # what was measured before travels with the checkpoint, and so do the weights
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    again = GeneralAbility(str(tmp_path / "general.jsonl"), "text")
    other = load(tmp_path / "end.ckpt")
    later = make_trainer(again, plugins=[AtomicCheckpointIO()])
    later.validate(other, datamodule=scenes(), ckpt_path=tmp_path / "end.ckpt", verbose=False, weights_only=True)
    assert again.before == ability.before
    assert float(later.callback_metrics["val/general_perplexity_after"]) == pytest.approx(after, rel=1e-4)


def test_a_model_without_sentences(tmp_path: Path, make_trainer: Callable[..., Trainer]) -> None:
    (tmp_path / "general.txt").write_text("one sentence")
    data = ScenesDataModule(size=24, val_size=12, test_size=0, picture_size=16, modalities=["vision"])
    task = MultimodalClassification(model_of(ClassDecoder(data.classes)))
    with pytest.raises(InputError, match="this model has none"):
        make_trainer(GeneralAbility(str(tmp_path / "general.txt"))).fit(task, datamodule=data)
