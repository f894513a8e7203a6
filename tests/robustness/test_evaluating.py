"""Robustness of a model that has learned a planted truth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset

from qmm.data import ScenesDataModule, VectorsDataModule
from qmm.decoders import ValueDecoder
from qmm.encoders import TextEncoder
from qmm.errors import InputError
from qmm.loading import load
from qmm.robustness import Evaluation, Plan, evaluate
from qmm.robustness.disturbing import Disturber, spread_of
from qmm.robustness.plan import Point
from qmm.tasks import MultimodalRegression
from qmm.training.caching import cache_frozen
from qmm.types import Batch

from .conftest import Planted, fitted, make_task

MakeTrainer = Callable[..., Trainer]


def value(table: pd.DataFrame, kind: str, modality: str, level: float, metric: str = "accuracy") -> float:
    (row,) = table[
        (table["kind"] == kind) & (table["modality"] == modality) & (table["level"] == level) & (table["metric"] == metric)
    ]["value"]
    return float(row)


@pytest.fixture(scope="module")
def table(learned: Any, planted: Planted) -> pd.DataFrame:
    return evaluate(learned, planted(batch_size=64), levels=[0, 1, 2], progress=False)


def test_level_0_is_the_plain_evaluation(
    table: pd.DataFrame, learned: Any, planted: Planted, make_trainer: MakeTrainer
) -> None:
    trainer = make_trainer()
    trainer.test(learned, datamodule=planted(batch_size=64), verbose=False)
    plain = {name.split("/")[1]: float(v) for name, v in trainer.callback_metrics.items() if name != "test/loss"}
    clean = table[table["level"] == 0]
    assert set(map(tuple, clean[["kind", "modality"]].to_numpy())) == {
        (kind, modality) for kind in ("noise", "missing") for modality in ("signal", "noise")
    }
    for _, curve in clean.groupby(["kind", "modality"]):
        assert dict(zip(curve["metric"], curve["value"], strict=True)) == plain
    assert set(table["samples"]) == {500}


def test_noise_where_the_truth_is_lowers_the_score_and_elsewhere_does_not(table: pd.DataFrame) -> None:
    clean = value(table, "noise", "signal", 0)
    assert clean > 0.95
    # of N(±1, 0.3) with noise of the deviation of both classes together, 1.04: the sign is right in 82 %; 5 standard errors
    assert abs(value(table, "noise", "signal", 1) - 0.823) < 5 * np.sqrt(0.823 * 0.177 / 500)
    assert value(table, "noise", "signal", 2) < value(table, "noise", "signal", 1) < clean
    assert abs(value(table, "noise", "noise", 2) - clean) < 0.03
    assert abs(value(table, "missing", "signal", 1) - 0.5) < 5 * np.sqrt(0.25 / 500)
    assert value(table, "missing", "noise", 1) > 0.9


def seen(data: Any, size: int, read: tuple[str, ...] = ("signal", "noise"), modality: str = "signal") -> dict[str, Any]:
    """What a model that reads these modalities is shown of a noisy one, by sample."""
    data.connect(dict.fromkeys(read, torch.as_tensor))
    loader = data.test_dataloader()
    noisy = Disturber(loader.dataset, Plan(), [modality]).disturbed(Point("noise", (modality,), 0.4))
    shown: dict[str, Any] = {}
    for batch in DataLoader(noisy, size, collate_fn=loader.collate_fn):
        assert batch.inputs.keys() == set(read)
        shown |= dict(zip(batch.ids, batch.inputs[modality].values, strict=True))
    return shown


def test_every_model_is_shown_the_same_noise(planted: Planted) -> None:
    """Whatever its batches, its modalities and the part of the training split that it has seen."""
    reference = seen(planted(), 64)
    alone = planted(modalities=["signal"], train_size=100, seed=5, batch_size=3)
    for other in (seen(planted(), 7), seen(alone, 500, read=("signal",))):
        assert other.keys() == reference.keys()
        assert all(torch.equal(other[name], reference[name]) for name in reference)


def test_the_score_does_not_depend_on_batches(table: pd.DataFrame, learned: Any, planted: Planted) -> None:
    other = evaluate(learned, planted(batch_size=7), levels=[0, 1, 2], progress=False)
    assert other.drop(columns="value").equals(table.drop(columns="value"))
    assert other["value"].tolist() == pytest.approx(table["value"].tolist(), abs=1e-5)


def test_other_seeds_and_noises_differ(table: pd.DataFrame, learned: Any, planted: Planted) -> None:
    asked: dict[str, Any] = {"levels": [0, 1], "kinds": ["noise"], "modalities": ["signal"], "progress": False}
    seeded = evaluate(learned, planted(), seed=1, **asked)
    dropped = evaluate(learned, planted(), noise={"signal": "dropout"}, **asked)
    found = {value(t, "noise", "signal", 1, "auroc") for t in (table, seeded, dropped)}
    assert len(found) == 3
    # all entries at their mean: nothing is left of it, and the other modality knows nothing; 5 standard errors
    assert abs(value(dropped, "noise", "signal", 1, "auroc") - 0.5) < 5 * np.sqrt(1 / 12 / 125)


def test_spread_is_that_of_the_whole_training_split(planted: Planted, vectors: Path) -> None:
    data = planted(train_size=50)
    spread = spread_of(data.source, "signal", [])
    rows = np.load(vectors)["signal"][:600]
    assert spread.deviation.tolist() == pytest.approx(rows.std(0).tolist(), rel=1e-5)
    assert spread.mean.tolist() == pytest.approx(rows.mean(0).tolist(), abs=1e-4)


def test_missing_is_what_the_model_makes_of_samples_without_it(trained: Path) -> None:
    """Scenes, of which a fifth lacks each modality: against whole batches through `MultimodalModel.forward`."""
    task = load(trained / "checkpoints" / "last.ckpt")
    data = ScenesDataModule(48, 24, 24, missing=0.4, picture_size=16, sound_seconds=0.5, batch_size=5)
    found = evaluate(task, data, kinds=["missing"], progress=False)
    loader: Any = data.test_dataloader()
    batch: Batch = loader.collate_fn(list(loader.dataset))
    for gone in found["modality"].unique():
        present = {m: here & (m not in gone.split("+")) for m, here in batch.present.items()}
        kept = torch.stack(list(present.values())).any(0)
        rows = [row for row in range(24) if kept[row]]
        some = loader.collate_fn([loader.dataset[row] for row in rows])
        some = some._replace(present={m: here[kept] for m, here in present.items()})
        with torch.no_grad():
            right = task.model(some).prediction.argmax(1) == some.targets["label"]
        own = found[(found["modality"] == gone) & (found["level"] == 1) & (found["metric"] == "accuracy")].iloc[0]
        assert own["samples"] == len(rows)
        assert own["value"] == pytest.approx(right.float().mean().item())
    assert found["samples"].min() < 24


def test_interrupted_and_called_again_it_measures_the_rest(
    table: pd.DataFrame, learned: Any, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Point] = []
    measure, last = Evaluation._measure, 4

    def counted(self: Evaluation, point: Point, advance: Any) -> Any:
        if len(measured) == last:
            raise KeyboardInterrupt
        measured.append(point)
        return measure(self, point, advance)

    def run() -> pd.DataFrame:
        return evaluate(learned, planted(batch_size=64), levels=[0, 1, 2], folder=tmp_path, progress=False)

    monkeypatch.setattr(Evaluation, "_measure", counted)
    learned.train()
    with pytest.raises(KeyboardInterrupt):
        run()
    assert learned.training  # as it was
    learned.eval()
    first, last = set(measured), 7
    assert run().equals(table)
    assert len(first) == 4
    assert len(measured) == len(set(measured)) == 7
    measured.clear()
    bias = learned.model.decoder.linear.bias
    before = bias.detach().clone()
    bias.data += 0.1  # other weights, other results
    run()
    bias.data.copy_(before)
    assert len(measured) == 7


def test_regression(planted: Planted, tmp_path: Path) -> None:
    data = planted(label="value", regression=True)
    task = fitted(make_task(False, MultimodalRegression, ValueDecoder()), data, tmp_path)
    found = evaluate(task, data, levels=[0, 1], progress=False)
    assert set(found["metric"]) == {"mae", "r2", "spearman"}
    assert value(found, "noise", "signal", 1, "mae") > 2 * value(found, "noise", "signal", 0, "mae")
    assert value(found, "noise", "noise", 1, "mae") < 1.5 * value(found, "noise", "signal", 0, "mae")


def test_noise_goes_to_the_raw_content_where_features_are_cached(tmp_path: Path, trained: Path) -> None:
    task = load(trained / "checkpoints" / "last.ckpt")
    for branch in task.model.branches.values():
        branch.encoder.requires_grad_(False)
    asked: dict[str, Any] = {"levels": [0, 0.6], "kinds": ["noise"], "progress": False}

    def scenes() -> ScenesDataModule:
        return ScenesDataModule(12, 12, 24, picture_size=16, sound_seconds=0.5, batch_size=5)

    plain, data = evaluate(task, scenes(), **asked), scenes()
    encoders = {m: branch.encoder for m, branch in task.model.branches.items()}
    data.connect({m: encoder.preprocess for m, encoder in encoders.items()})
    assert cache_frozen(data, encoders, tmp_path, torch.device("cpu")) == ["vision", "audio", "text"]
    cached = evaluate(task, data, **asked)
    assert cached["value"].tolist() == pytest.approx(plain["value"].tolist(), abs=1e-4)
    assert set(data.cached) == {"vision", "audio", "text"}


def test_workers_load_the_same(learned: Any, planted: Planted, table: pd.DataFrame) -> None:
    asked: dict[str, Any] = {"levels": [0, 1, 2], "kinds": ["noise"], "modalities": ["signal"], "progress": False}
    found = evaluate(learned, planted(batch_size=64, num_workers=1), **asked)
    ours = table[(table["kind"] == "noise") & (table["modality"] == "signal")]
    assert found["value"].tolist() == ours["value"].tolist()


def test_what_cannot_be_measured(learned: Any, planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluation, "_measure", lambda *_: pytest.fail("began to measure"))
    with pytest.raises(InputError, match="not of a TextEncoder"):
        evaluate(TextEncoder({"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}), planted())
    with pytest.raises(InputError, match="no modality 'sginal'; there are: signal, noise; did you mean 'signal'"):
        evaluate(learned, planted(), modalities=["sginal"])
    with pytest.raises(InputError, match=r"levels \[0.5, 1.0\]"):
        evaluate(learned, planted(), levels=[0.5, 1])
    with pytest.raises(InputError, match=r"level 2.0: dropout of signal ends at 1"):
        evaluate(learned, planted(), levels=[0, 2], noise={"signal": "dropout"})
    with pytest.raises(InputError, match="no split 'val'; it has: train, test"):
        evaluate(learned, planted(), split="val")
    stranger: Any = planted()
    monkeypatch.setattr(VectorsDataModule, "test_dataloader", lambda self: DataLoader(TensorDataset(torch.zeros(2))))
    with pytest.raises(InputError, match=r"`kinds: \[missing\]` alone"):
        evaluate(learned, stranger)
