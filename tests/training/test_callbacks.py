"""Seeds, cached features and the run's folder, in small real trainings."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer, seed_everything

from qmm import Branch, MultimodalModel
from qmm.data import ScenesDataModule, SoundAugmentation, VectorsDataModule
from qmm.decoders import ClassDecoder, ValueDecoder
from qmm.encoders import ASTEncoder, LinearCompressor, LogMel, PCACompressor, TextEncoder, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, QuantumFusion
from qmm.tasks import MultimodalClassification, MultimodalRegression, MultimodalTask
from qmm.training import FeatureCaching, RepeatableSteps, RunFolder
from qmm.types import Context

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


Score = Callable[..., dict[str, float]]


def scenes(**changes: Any) -> ScenesDataModule:
    sizes = {"size": 48, "val_size": 24, "test_size": 24, "batch_size": 12, "sound_seconds": 0.5, "missing": 0.3}
    return ScenesDataModule(**{**sizes, "modalities": ["audio", "text"], **changes})


def task(data: ScenesDataModule, compressor: Callable[[int], Any] = LinearCompressor) -> MultimodalClassification:
    """A frozen ear and a text encoder that learns."""
    seed_everything(0, verbose=False)
    ears = LogMel(sample_rate=8000, seconds=0.5, n_mels=16, n_fft=256, hop=128)
    model = MultimodalModel(
        QuantumFusion(1),
        ClassDecoder(data.classes),
        audio=Branch(ASTEncoder(SMALL, front_end=ears, tuning="frozen"), compressor(2)),
        text=Branch(TextEncoder(SMALL, max_length=24), LinearCompressor(2)),
    )
    return MultimodalClassification(model, learning_rate=0.01)


@pytest.fixture
def score(make_trainer: Callable[..., Trainer]) -> Score:
    """Trains, and returns the metrics of the test split."""

    def run(model: MultimodalTask, data: ScenesDataModule, *callbacks: Any) -> dict[str, float]:
        trainer = make_trainer(RepeatableSteps(3), *callbacks, epochs=2)
        trainer.fit(model, datamodule=data)
        (result,) = trainer.test(model, datamodule=data, verbose=False)
        return dict(result)

    return run


@pytest.mark.parametrize("compressor", [LinearCompressor, PCACompressor])
def test_cached_features_change_nothing_and_are_computed_once(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressor: Callable[[int], Any]
) -> None:
    plain = score(task(scenes(), compressor), scenes())
    first = score(task(scenes(), compressor), scenes(), FeatureCaching(str(tmp_path / "cache")))
    model = task(scenes(), compressor)

    def refuse(*inputs: Any) -> None:
        raise AssertionError("the frozen encoder ran again")

    monkeypatch.setattr(model.model.branches["audio"].encoder, "forward", refuse)
    again = score(model, scenes(), FeatureCaching(str(tmp_path / "cache")))
    assert first == again
    assert first == pytest.approx(plain, abs=1e-5)


class Attending(ClassDecoder):
    """Reads the mean of all tokens beside the fused features."""

    attends = True

    def build(self, in_features: int, widths: Mapping[str, int] | None = None) -> None:
        super().build(in_features)
        self.by_modality = torch.nn.ModuleDict(
            {m: torch.nn.Linear(width, len(self.classes)) for m, width in (widths or {}).items()}
        )

    def forward(self, features: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        logits = super().forward(features)
        assert context is not None
        for modality, found in context.features.items():
            if found is not None:
                assert found.tokens is not None
                assert found.mask is not None
                mean = (found.tokens * found.mask.unsqueeze(2)).sum(1) / found.mask.sum(1, keepdim=True)
                logits = logits.index_put(
                    (context.present[modality].nonzero().squeeze(1),), self.by_modality[modality](mean), True
                )
        return logits


def test_tokens_are_cached_for_a_decoder_that_attends_to_them(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> MultimodalClassification:
        other = task(scenes())
        branches = dict(other.model.branches.items())
        return MultimodalClassification(
            MultimodalModel(QuantumFusion(1), Attending(other.classes), **branches), learning_rate=0.01
        )

    plain = score(make(), scenes())
    first = score(make(), scenes(), FeatureCaching(str(tmp_path / "cache")))
    model = make()
    monkeypatch.setattr(model.model.branches["audio"].encoder, "forward", None)
    assert score(model, scenes(), FeatureCaching(str(tmp_path / "cache"))) == first == pytest.approx(plain, abs=1e-5)
    (folder,) = (tmp_path / "cache").iterdir()
    assert folder.name.endswith("-tokens")


def test_a_disk_too_small_for_the_features_is_noticed_early(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"features of audio need .* choose another folder"):
        score(task(scenes()), scenes(), FeatureCaching(str(tmp_path / "cache")))


def test_other_weights_have_a_cache_of_their_own(score: Score, tmp_path: Path) -> None:
    cache = FeatureCaching(str(tmp_path / "cache"))
    score(task(scenes()), scenes(), cache)
    before = set((tmp_path / "cache").iterdir())
    other = task(scenes())
    with torch.no_grad():
        next(other.model.branches["audio"].encoder.parameters()).add_(0.1)
    score(other, scenes(), cache)
    assert len(set((tmp_path / "cache").iterdir()) - before) == 1


def test_augmentation_of_cached_features_is_warned_about(
    score: Score, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = scenes(augment={"audio": SoundAugmentation()})
    score(task(data), data, FeatureCaching(str(tmp_path / "cache")))
    assert "augmentation of audio has no effect" in caplog.text


def test_steps_draw_from_seed_and_step_alone() -> None:
    class Recorder(RepeatableSteps):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            drawn.append(torch.rand(()).item())

    class State:
        world_size, global_rank, global_step = 1, 0, 0

    drawn: list[float] = []
    for seed, step in [(0, 0), (0, 1), (1, 0), (0, 0), (0, 1)]:
        torch.rand(17)  # whatever ran before
        state = State()
        state.global_step = step
        Recorder(seed).on_train_batch_start(state, None, None, 0)
    assert drawn[:2] == drawn[3:]
    assert len(set(drawn[:3])) == 3


def test_history_holds_what_an_epoch_measured(make_trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    make_trainer(folder, epochs=4, check_val_every_n_epoch=2).fit(task(scenes()), datamodule=scenes())
    assert [row["epoch"] for row in folder.history] == [0, 1, 2, 3]
    assert ["val/accuracy" in row for row in folder.history] == [False, True, False, True]
    assert all({"train/loss", "angles/audio_std", "angles/text_std"} <= set(row) for row in folder.history)


def test_the_folder_of_a_regression(make_trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    split = np.array(["train"] * 40 + ["val"] * 20)
    np.savez(tmp_path / "v.npz", audio=x, value=2 * x[:, 0] + 5, split=split)
    data = VectorsDataModule(str(tmp_path / "v.npz"), {"audio": "audio"}, label="value", regression=True)
    branch = Branch(VectorEncoder(3), LinearCompressor(2))
    model = MultimodalRegression(MultimodalModel(ConcatFusion(4, 4), ValueDecoder(), audio=branch), learning_rate=0.05)
    run = make_trainer(RunFolder(str(tmp_path / "run")), epochs=2)
    run.fit(model, datamodule=data)
    run.validate(model, datamodule=data, verbose=False)
    written = {path.name for path in (tmp_path / "run" / "val").iterdir()}
    assert written == {"metrics.json", "predictions.parquet", "scatter.png", "examples.png"}
    assert set(json.loads((tmp_path / "run" / "val" / "metrics.json").read_text())["metrics"]) == {
        "loss",
        "mae",
        "r2",
        "spearman",
    }
    assert not (tmp_path / "run" / "circuit.png").exists()
