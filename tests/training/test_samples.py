"""SampleLogger and cached tokens, around models that say sentences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from qmm import Branch, MultimodalModel
from qmm.data import ScenesDataModule
from qmm.decoders import ClassDecoder, MixedDecoder, SentenceDecoder
from qmm.encoders import LinearCompressor, TextEncoder, ViTEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion
from qmm.tasks import MultimodalCaptioning, MultimodalClassification, MultimodalMixed
from qmm.training import FeatureCaching, RepeatableSteps, SampleLogger

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
MakeTrainer = Callable[..., Trainer]


def scenes(**changes: Any) -> ScenesDataModule:
    sizes: dict[str, Any] = {"size": 36, "val_size": 24, "test_size": 12, "batch_size": 12, "picture_size": 16, "missing": 0.3}
    return ScenesDataModule(**{**sizes, "modalities": ["vision", "text"], "captions": True, **changes})


def decoder(**settings: Any) -> SentenceDecoder:
    seed_everything(0, verbose=False)
    language = {"n_embd": 32, "n_layer": 1, "n_head": 2}
    return SentenceDecoder(language, vocabulary=300, prefix=2, generation={"max_new_tokens": 6}, **settings)


def model(reads: Any) -> MultimodalModel:
    eyes = ViTEncoder({"image_size": 16, "patch_size": 8, **SMALL}, tuning="frozen")
    branches = {
        "vision": Branch(eyes, LinearCompressor(2)),
        "text": Branch(TextEncoder(SMALL, max_length=24), LinearCompressor(2)),
    }
    return MultimodalModel(ConcatFusion(4, 4), reads, **branches)


class Stop(Callback):
    """Ends the run after its first epoch; the schedule is that of the whole."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.should_stop = True


def test_continued_it_tells_of_all_epochs(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    def run(name: str, *callbacks: Callback, continued: Path | None = None) -> None:
        task = MultimodalCaptioning(model(decoder()), learning_rate=0.01)
        saving = ModelCheckpoint(tmp_path / name, save_last=True, save_top_k=0, save_on_train_epoch_end=True)
        shown = SampleLogger(str(tmp_path / name), count=3, pictures=False)
        trainer = make_trainer(RepeatableSteps(0), saving, shown, *callbacks, epochs=2, enable_checkpointing=True)
        trainer.fit(task, datamodule=scenes(), ckpt_path=continued)

    run("whole")
    run("parts", Stop())
    assert "| 1 |" not in (tmp_path / "parts" / "samples.md").read_text()
    run("parts", continued=tmp_path / "parts" / "last.ckpt")
    whole = (tmp_path / "whole" / "samples.md").read_text()
    assert (tmp_path / "parts" / "samples.md").read_text() == whole
    assert whole.count("\n## val-") == 3
    assert whole.count("\n| 1 |") == 3
    assert not (tmp_path / "whole" / "samples.png").exists()


def test_what_is_shown_is_what_predict_says(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    task, data = MultimodalCaptioning(model(decoder()), learning_rate=0.01), scenes()
    logger = SampleLogger(str(tmp_path), count=4)
    trainer = make_trainer(logger)
    trainer.fit(task, datamodule=data)
    predictions: Any = trainer.predict(task, dataloaders=data.val_dataloader())
    ids = [name for batch in data.val_dataloader() for name in batch.ids]
    said = dict(zip(ids, [one for batch in predictions for one in batch], strict=True))
    assert list(logger.said) == [ids[i * len(ids) // 4] for i in range(4)]
    for name, (row,) in logger.said.items():
        assert row["sentence"] == said[name].sentence
        assert row["score"] == pytest.approx(said[name].score, abs=1e-4)
    assert (tmp_path / "samples.png").is_file()


def test_questions_stand_beside_their_answers(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    task = MultimodalCaptioning(model(decoder(prompt="question: {prompt} answer:")), learning_rate=0.01)
    make_trainer(SampleLogger(str(tmp_path), pictures=False)).fit(task, datamodule=scenes(captions=False, questions=True))
    asked = [line for line in (tmp_path / "samples.md").read_text().splitlines() if line.startswith("Asked: ")]
    assert len(asked) == 4
    assert all(line.endswith("?") for line in asked)


def test_several_answers_at_once_and_none(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = scenes(missing=0.0)
    parts = {"label": ClassDecoder(), "sentence": decoder()}
    task = MultimodalMixed(model(MixedDecoder(parts, classes=data.classes)), learning_rate=0.01)
    make_trainer(SampleLogger(str(tmp_path / "mixed"), pictures=False)).fit(task, datamodule=data)
    assert (tmp_path / "mixed" / "samples.md").read_text().count("\n## val-") == 4
    dumb = MultimodalClassification(model(ClassDecoder(data.classes)))
    with pytest.raises(InputError, match="a ClassDecoder says none"):
        make_trainer(SampleLogger(str(tmp_path / "dumb"))).fit(dumb, datamodule=scenes(captions=False))


def test_tokens_that_sentences_look_at_are_cached(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    def score(*callbacks: Callback, broken: bool = False) -> dict[str, float]:
        task = MultimodalCaptioning(model(decoder(attend=True)), learning_rate=0.01)
        torch.nn.init.constant_(next(p for n, p in task.named_parameters() if "gate" in n), 0.5)
        if broken:
            task.model.branches["vision"].encoder.forward = None  # type: ignore[assignment]
        trainer = make_trainer(RepeatableSteps(0), *callbacks, epochs=2)
        trainer.fit(task, datamodule=scenes())
        return dict(trainer.test(task, datamodule=scenes(), verbose=False)[0])

    plain, first = score(), score(FeatureCaching(str(tmp_path)))
    assert score(FeatureCaching(str(tmp_path)), broken=True) == first == pytest.approx(plain, abs=1e-4)
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith("-tokens")
