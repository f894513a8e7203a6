"""Predictions in words, flags of generation, and models whose question an encoder reads, too."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightning import Trainer
from PIL import Image

from qmm import Branch, MultimodalModel
from qmm.data import ManifestDataModule
from qmm.decoders import ClassPrediction, MixedPrediction, SentenceDecoder, SentencePrediction, ValuePrediction
from qmm.encoders import LinearCompressor, TextEncoder, ViTEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion
from qmm.language import Generation
from qmm.predicting import changed
from qmm.predictions import as_line, as_plain
from qmm.tasks import MultimodalCaptioning

Qmm = Callable[..., Any]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
QUESTIONS = ["is it red?", "is it dark?"]


def test_a_line_for_each_kind() -> None:
    kind, value = ClassPrediction("b", {"a": 0.25, "b": 0.6, "c": 0.15}), ValuePrediction(1.23456)
    said = SentencePrediction("a dog barks", -0.256)
    assert as_line(kind, 2) == "b 60.0%, a 25.0%"
    assert as_line(value) == "1.235"
    assert as_line(said) == "a dog barks (-0.26)"
    mixed = MixedPrediction({"label": kind, "sentence": said})
    assert as_line(mixed, 1) == "label: b 60.0%; sentence: a dog barks (-0.26)"
    assert json.loads(json.dumps(as_plain(mixed))) == {"label": kind._asdict(), "sentence": said._asdict()}


starts = st.sampled_from([Generation(), Generation("beam", beams=3, length_penalty=0.5), Generation("sample", temperature=0.7)])


@given(starts, st.dictionaries(st.sampled_from(["beams", "temperature", "top_p", "seed", "max_new_tokens"]), st.just(2)))
def test_flags_say_how_sentences_are_made(known: Generation, flags: dict[str, Any]) -> None:
    if "top_p" in flags:
        flags["top_p"] = 0.5
    if "beams" in flags and flags.keys() & {"temperature", "top_p"}:
        with pytest.raises(InputError, match="means nothing to strategy='beam'"):
            changed(known, flags)
        return
    found = changed(known, flags)
    assert all(getattr(found, name) == value for name, value in flags.items())
    drawn = flags.keys() & {"temperature", "top_p", "seed"}
    assert found.strategy == ("beam" if "beams" in flags else "sample" if drawn else known.strategy)
    if found.strategy == known.strategy:
        assert dataclasses.replace(found, **{name: getattr(known, name) for name in flags}) == known


@pytest.mark.parametrize("strategy", ["greedy", "beam", "sample"])
def test_another_strategy_drops_what_belongs_to_the_old_one(strategy: str) -> None:
    for known in (Generation("beam", beams=3, length_penalty=2.0, min_new_tokens=4), Generation("sample", top_p=0.5)):
        assert changed(known, {"strategy": strategy, "max_new_tokens": 2}).max_new_tokens == 2


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that is asked about pictures, its question both read by an encoder and answered."""
    folder, rng = tmp_path_factory.mktemp("asked"), np.random.default_rng(0)
    rows = []
    for number in range(24):
        red, dark = rng.random(2) < 0.5
        color = np.array([200, 40, 40] if red else [40, 40, 200]) // (4 if dark else 1)
        Image.fromarray(np.full((16, 16, 3), color, np.uint8)).save(folder / f"{number}.png")
        answer = ["no", "yes"][int([red, dark][number % 2])]
        rows.append({"image": f"{number}.png", "ask": QUESTIONS[number % 2], "answer": answer, "split": "train"})
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns = {"vision": "image", "text": "ask"}
    data = ManifestDataModule(str(folder / "m.jsonl"), columns=columns, label=None, captions="answer", question="ask")
    decoder = SentenceDecoder(
        {"n_embd": 32, "n_layer": 1, "n_head": 2}, vocabulary=280, prefix=2, generation=Generation(max_new_tokens=4)
    )
    branches = {
        "vision": Branch(ViTEncoder({"image_size": 16, "patch_size": 8, **SMALL}), LinearCompressor(2)),
        "text": Branch(TextEncoder(SMALL, max_length=16), LinearCompressor(2)),
    }
    task = MultimodalCaptioning(MultimodalModel(ConcatFusion(4, 4), decoder, **branches), learning_rate=0.01)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    settings: dict[str, Any] = {"accelerator": "cpu", "default_root_dir": folder, "log_every_n_steps": 1, **quiet}
    trainer = Trainer(max_epochs=1, limit_val_batches=0, **settings)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder


def test_a_question_that_an_encoder_reads_is_given_once(qmm: Qmm, asked: Path, tmp_path: Path) -> None:
    def predict(*args: object) -> list[dict[str, Any]]:
        printed = qmm("predict", "--ckpt_path", asked / "last.ckpt", *args, "--json").stdout.splitlines()
        return [{k: v for k, v in json.loads(line).items() if k != "id"} for line in printed]

    image = ["--image", asked / "0.png"]
    (by_prompt,), (by_text,) = predict(*image, "--prompt", QUESTIONS[0]), predict(*image, "--text", QUESTIONS[0])
    assert by_prompt == by_text != predict(*image, "--prompt", QUESTIONS[1])[0]
    rows = [{"image": str(asked / "0.png"), "text": question} for question in QUESTIONS]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = predict("--manifest", tmp_path / "m.jsonl", "--root", "/", "--batch_size", "1")
    assert found == [by_prompt, *predict(*image, "--prompt", QUESTIONS[1])]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--image", "a.png", "--text", "a?", "--prompt", "b?"], "--prompt and --text differ"),
        (["--manifest", "m.csv", "--prompt", "b?"], "leave out --prompt"),
    ],
)
def test_two_questions_at_once_are_refused(qmm: Qmm, asked: Path, args: list[str], message: str) -> None:
    refused = qmm("predict", "--ckpt_path", asked / "last.ckpt", *args, ok=False)
    assert message in refused.stderr
