"""Mixed tasks of classes and sentences, from the command line to the files that they leave behind."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Callback, Trainer
from PIL import Image

from qmm import Branch, MultimodalModel, load
from qmm.data import ManifestDataModule, ScenesDataModule
from qmm.decoders import ClassDecoder, MixedDecoder, SentenceDecoder
from qmm.encoders import ASTEncoder, LinearCompressor, LogMel, TextEncoder, ViTEncoder
from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.loading import build
from qmm.tasks import MultimodalCaptioning, MultimodalClassification, MultimodalMixed
from qmm.training import RepeatableSteps, RunFolder
from qmm.training.checkpoints import read_checkpoint
from qmm.types import Batch, Padded

MakeTrainer = Callable[..., Trainer]
Qmm = Callable[..., Any]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
LANGUAGE = {"n_embd": 32, "n_layer": 1, "n_head": 2}


def scenes(**settings: Any) -> ScenesDataModule:
    usual: dict[str, Any] = {"size": 48, "val_size": 24, "test_size": 24, "batch_size": 12, "missing": 0.2}
    return ScenesDataModule(**{**usual, "picture_size": 16, "sound_seconds": 0.5, "captions": True, **settings})


def sentence_decoder() -> SentenceDecoder:
    return SentenceDecoder(LANGUAGE, vocabulary=320, prefix=2, generation={"max_new_tokens": 10})


def model(decoder: Any) -> MultimodalModel:
    front_end = LogMel(sample_rate=8000, seconds=0.5, n_mels=16, n_fft=256, hop=128)
    audio = {**SMALL, "patch_size": 8, "frequency_stride": 8, "time_stride": 8}
    return MultimodalModel(
        QuantumFusion(1),
        decoder,
        vision=Branch(ViTEncoder({**SMALL, "image_size": 16, "patch_size": 8}), LinearCompressor(2), auxiliary=0.1),
        audio=Branch(ASTEncoder(audio, front_end=front_end), LinearCompressor(2)),
        text=Branch(TextEncoder(SMALL, max_length=24), LinearCompressor(2)),
    )


def both(data: ScenesDataModule, **weights: float) -> MixedDecoder:
    return MixedDecoder({"label": ClassDecoder(), "sentence": sentence_decoder()}, weights, data.classes)


def batches(data: Any, task: Any) -> list[Batch]:
    data.connect({m: branch.encoder.preprocess for m, branch in task.model.branches.items()})
    return list(data.val_dataloader())


def test_metrics_are_those_of_the_single_tasks(make_trainer: MakeTrainer) -> None:
    """The parts of a trained mixed model, each put at the end of a model of its own."""
    torch.manual_seed(0)
    data = scenes()
    task = MultimodalMixed(model(both(data, label=2.0)), learning_rate=0.01)
    make_trainer(limit_val_batches=0).fit(task, datamodule=data)
    mixed = make_trainer().validate(task, datamodule=data, verbose=False)[0]
    for name, kind in (("label", MultimodalClassification), ("sentence", MultimodalCaptioning)):
        alone: Any = ClassDecoder(data.classes) if name == "label" else sentence_decoder()
        if name == "sentence":
            alone.fit(data.sentences)
        single = kind(model(alone))
        state = {k: v for k, v in task.model.state_dict().items() if not k.startswith("decoder.") and ".head." not in k}
        own = {
            k.replace(f"decoder.parts.{name}.", "decoder."): v for k, v in task.model.state_dict().items() if f".{name}." in k
        }
        missing = single.model.load_state_dict({**state, **own}, strict=False).missing_keys
        assert all(".head." in key for key in missing)
        expected = make_trainer().validate(single, datamodule=data, verbose=False)[0]
        assert len(expected) > 4
        for metric, value in expected.items():
            assert mixed[metric.replace("val/", f"val/{name}_")] == pytest.approx(value, rel=1e-4, abs=1e-5), metric
    assert mixed["val/loss"] == pytest.approx(2 * mixed["val/label_loss"] + mixed["val/sentence_loss"], rel=1e-4)


def test_sentences_of_validations_in_a_fit_are_greedy_and_limited(make_trainer: MakeTrainer) -> None:
    data = scenes(val_size=36)
    decoder = both(data)
    sentence = decoder.parts["sentence"]
    assert isinstance(sentence, SentenceDecoder)
    sentence.generation = replace(sentence.generation, strategy="beam", beams=2)
    made: list[tuple[str, int]] = []
    score = sentence.score
    sentence.score = lambda outputs: made.append((sentence.generation.strategy, len(outputs.prompts))) or score(outputs)  # type: ignore[method-assign, func-returns-value]
    task = MultimodalMixed(model(decoder), validation_sentences=13)
    run = make_trainer(num_sanity_val_steps=0)
    run.fit(task, datamodule=data)
    assert {strategy for strategy, _ in made} == {"greedy"}
    assert [count for _, count in made] == [12, 12]
    assert "val/sentence_cider" in run.callback_metrics
    made.clear()
    run.validate(task, datamodule=data, verbose=False)
    assert made[0][0] == "beam"
    assert sum(count for _, count in made) == len(data.rows["val"])


def test_the_language_model_has_a_learning_rate_of_its_own(make_trainer: MakeTrainer) -> None:
    data = scenes()
    task = MultimodalMixed(model(both(data)), learning_rate=0.01, language_learning_rate=0.001, fusion_learning_rate=0.1)
    make_trainer(max_steps=1, limit_val_batches=0).fit(task, datamodule=data)
    groups: dict[str, dict[str, Any]] = {g["name"]: g for g in task.optimizers().param_groups}  # type: ignore[union-attr]
    sentence = task.model.decoder.parts["sentence"]  # type: ignore[index]
    assert groups["sentence_language_matrices"]["initial_lr"] == groups["sentence_language_vectors"]["initial_lr"] == 0.001
    language = {id(p) for name in ("matrices", "vectors") for p in groups[f"sentence_language_{name}"]["params"]}
    assert language == {id(p) for p in sentence.language.parameters()}  # type: ignore[union-attr]
    assert {id(p) for p in task.model.decoder.readers()} <= {id(p) for p in groups["fusion"]["params"]}
    everything = [id(p) for group in groups.values() for p in group["params"]]
    assert len(everything) == len(set(everything)) == sum(p.requires_grad for p in task.parameters())


def test_resumed_is_as_uninterrupted(make_trainer: MakeTrainer, stop_after: Callable[[int], Callback], tmp_path: Path) -> None:
    """From what the checkpoint says of itself: the tokenizer that the first half made of its captions is in it."""

    def trainer(*callbacks: Callback) -> Trainer:
        return make_trainer(RepeatableSteps(0), *callbacks, epochs=3, num_sanity_val_steps=0)

    def task() -> MultimodalMixed:
        torch.manual_seed(0)
        return MultimodalMixed(model(both(scenes(), sentence=0.5)), learning_rate=0.01)

    whole, first = task(), task()
    trainer().fit(whole, datamodule=scenes())
    run = trainer(stop_after(2))
    run.fit(first, datamodule=scenes())
    run.save_checkpoint(tmp_path / "x.ckpt")
    torch.manual_seed(1)
    second = build(read_checkpoint(tmp_path / "x.ckpt")["qmm"]["task"])
    trainer().fit(second, datamodule=scenes(), ckpt_path=str(tmp_path / "x.ckpt"), weights_only=True)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_a_checkpoint_comes_back_and_a_missing_modality_takes_no_part(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = scenes(missing=0.0)
    task = MultimodalMixed(model(both(data)), learning_rate=0.01)
    run = make_trainer(limit_val_batches=0)
    run.fit(task, datamodule=data)
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = load(tmp_path / "x.ckpt")
    batch = batches(data, task)[0]
    assert again.predict_step(batch, 0) == task.eval().predict_step(batch, 0)
    # Without the sounds, whatever stands in their place.
    silent = {**batch.present, "audio": torch.zeros_like(batch.present["audio"])}
    sounds = batch.inputs["audio"]
    assert isinstance(sounds, Padded)
    noise = sounds._replace(values=torch.randn_like(sounds.values))
    one = again.predict_step(batch._replace(present=silent), 0)
    other = again.predict_step(batch._replace(present=silent, inputs={**batch.inputs, "audio": noise}), 0)
    nothing = again.predict_step(batch._replace(present=silent, inputs={**batch.inputs, "audio": None}), 0)
    assert one == other == nothing
    assert one != again.predict_step(batch, 0)


def test_no_target_reaches_what_is_said(make_trainer: MakeTrainer) -> None:
    data = scenes()
    task = MultimodalMixed(model(both(data))).eval()
    task.evaluator.setup(data, "fit")
    batch = batches(data, task)[0]
    nonsense = {"label": torch.zeros_like(batch.targets["label"]), "references": [["x"]] * 12, "facts": [{}] * 12}
    with torch.no_grad():
        for targets in (nonsense, {}):
            other = batch._replace(targets=targets)
            assert task.predict_step(other, 0) == task.predict_step(batch, 0)
            said = [task.evaluator.score(task(b).prediction)["sentence"] for b in (other, batch)]
            assert said[0] == said[1]


def test_a_manifest_whose_rows_have_a_label_or_a_caption(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    rows = [
        {
            "text": f"number {i}",
            "split": "train" if i < 24 else "val",
            **({"kind": "even" if i % 2 == 0 else "odd"} if i % 3 else {}),
            **({"caption": ["it is even" if i % 2 == 0 else "it is odd"]} if i % 3 != 1 else {}),
        }
        for i in range(36)
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = ManifestDataModule(
        str(tmp_path / "m.jsonl"), columns={"text": "text"}, label="kind", captions="caption", partial=True, batch_size=6
    )
    decoder = MixedDecoder({"label": ClassDecoder(), "sentence": sentence_decoder()}, classes=data.classes)
    text = Branch(TextEncoder(SMALL, max_length=24), LinearCompressor(2), auxiliary=0.1)
    task = MultimodalMixed(MultimodalModel(QuantumFusion(1), decoder, text=text), learning_rate=0.01, balance=True)
    run = make_trainer(RunFolder(str(tmp_path / "run")))
    run.fit(task, datamodule=data)
    run.validate(task, datamodule=data, verbose=False)
    table = pd.read_parquet(tmp_path / "run" / "val" / "predictions.parquet")
    assert len(table) == 12
    assert (table["label.target"].notna().sum(), table["sentence.target"].notna().sum()) == (8, 8)
    labelled = [row for row in rows if row["split"] == "val" and "kind" in row]
    assert table["label.target"].dropna().tolist() == [row["kind"] for row in labelled]
    assert table["sentence.exact"].dropna().isin([True, False]).all()


def test_data_without_sentences_are_refused_before_long(make_trainer: MakeTrainer) -> None:
    data = scenes(captions=False)
    with pytest.raises(InputError, match="captions: true"):
        make_trainer().fit(MultimodalMixed(model(both(data))), datamodule=data)


@pytest.fixture(scope="module")
def spoken(qmm: Qmm, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run of classes and sentences."""
    runs = tmp_path_factory.mktemp("runs")
    configs = [repository / "tests" / "tiny_captions.yaml", repository / "tests" / "tiny_mixed.yaml"]
    qmm("fit", *(flag for config in configs for flag in ("--config", config)), "--runs", runs, "--pictures", "false")
    return runs / "mixed"


def test_the_folder_of_a_run(spoken: Path) -> None:
    numbers = json.loads((spoken / "test" / "metrics.json").read_text())["metrics"]
    table = pd.read_parquet(spoken / "test" / "predictions.parquet")
    right = (table["label.prediction"] == table["label.target"]).mean()
    assert numbers["label_accuracy"] == pytest.approx(right)
    facts = ("place", "event", "time")
    named = [[list(row[f"sentence.named_{f}"]) == [row[f"sentence.true_{f}"]] for f in facts] for _, row in table.iterrows()]
    assert numbers["sentence_grounding"] == pytest.approx(sum(all(row) for row in named) / len(named))
    assert numbers["loss"] == pytest.approx(2 * numbers["label_loss"] + 0.5 * numbers["sentence_loss"], rel=1e-4)
    assert (table["right"] == (table["label.right"] & table["sentence.right"])).all()
    history = pd.read_csv(spoken / "history.csv")
    parts = history[["train/loss_decoder_label", "train/loss_decoder_sentence", "train/loss_vision"]]
    assert history["train/loss"].tolist() == pytest.approx(parts.sum(axis=1).tolist(), rel=1e-4)
    assert "## val-00000" in (spoken / "samples.md").read_text()


def test_predict_gives_both(spoken: Path, qmm: Qmm, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (20, 20), "green").save(picture)
    asked = ("predict", "--ckpt_path", spoken / "checkpoints" / "last.ckpt", "--image", picture)
    line = json.loads(qmm(*asked, "--json").stdout)
    assert set(line) == {"id", "label", "sentence"}
    assert sum(line["label"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert line["sentence"]["score"] <= 0
    said = qmm(*asked, "--top", 2).stdout
    assert said.startswith(f"label: {line['label']['label']} ")
    assert f"; sentence: {line['sentence']['sentence']} (" in said
    assert said.count("%") == 2


def test_continued_by_the_command_line(spoken: Path, qmm: Qmm, repository: Path) -> None:
    flags = [f for name in ("captions", "mixed") for f in ("--config", repository / "tests" / f"tiny_{name}.yaml")]
    flags += ["--runs", spoken.parent, "--pictures", "false"]
    qmm("fit", *flags, "--ckpt_path", "last", "--trainer.max_epochs", 3)
    assert pd.read_csv(spoken / "history.csv")["epoch"].tolist() == [0, 1, 2]
    qmm("test", "--ckpt_path", spoken / "checkpoints" / "last.ckpt", "--runs", spoken.parent, "--name", "again")
    first, second = (json.loads((spoken.parent / n / "test" / "metrics.json").read_text()) for n in ("mixed", "again"))
    assert first["metrics"] == pytest.approx(second["metrics"])
