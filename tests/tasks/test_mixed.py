"""Mixed tasks of classes and values; with sentences: test_mixed_sentences.py."""

import multiprocessing
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning import Callback, LightningDataModule, Trainer
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.utils.data import DataLoader

from qmm import Branch, MultimodalModel, load
from qmm.decoders import ClassDecoder, MixedDecoder, ValueDecoder
from qmm.encoders import LinearCompressor, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.metrics import classification_metrics, regression_metrics
from qmm.tasks import MultimodalClassification, MultimodalMixed, MultimodalRegression
from qmm.tasks.mixed import MixedEvaluator
from qmm.training import RunFolder
from qmm.types import Batch, Context, Padded, rows_of

MakeTrainer = Callable[..., Trainer]
CLASSES = ["low", "middle", "high"]


class Measured(LightningDataModule):
    """Two vectors; a class and a value to learn, each known of some samples only."""

    classes = CLASSES
    target_scale = (40.0, 3.0)

    def __init__(self, seed: int = 0, labels: float = 0.7, values: float = 0.7):
        super().__init__()
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, 240, 4)).astype(np.float32)
        sums = x[:, 0] + y[:, 0]
        label = np.where(rng.random(240) < labels, np.digitize(sums, [-0.6, 0.6]), -1)
        value = np.where(rng.random(240) < values, 3 * (x[:, 1] - y[:, 1]) / np.sqrt(2) + 40, np.nan).astype(np.float32)
        present = rng.random((2, 240)) < 0.95
        present[0] |= ~present[1]
        self.all = Batch(
            {"audio": Padded(torch.tensor(x)), "text": Padded(torch.tensor(y))},
            {"audio": torch.tensor(present[0]), "text": torch.tensor(present[1])},
            {"label": torch.tensor(label), "value": torch.tensor(value)},
            [f"s{i}" for i in range(240)],
        )

    def rows(self, rows: Tensor) -> Batch:
        inputs, present, targets, ids, _ = self.all
        return Batch(
            {m: i.rows(rows) for m, i in inputs.items() if i is not None},
            rows_of(present, rows),
            rows_of(targets, rows),
            rows_of(ids, rows),
        )

    def batches(self, first: int, last: int, size: int = 20) -> DataLoader[Any]:
        return DataLoader([self.rows(torch.arange(i, i + size)) for i in range(first, last, size)], batch_size=None)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[Any]:
        return self.batches(0, 160)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.batches(160, 240)

    test_dataloader = val_dataloader


def decoder(**weights: float) -> MixedDecoder:
    return MixedDecoder({"label": ClassDecoder(), "valence": ValueDecoder("value")}, weights, CLASSES)


def model(decoder: Any, auxiliary: float = 0.0) -> MultimodalModel:
    branches = {m: Branch(VectorEncoder(4), LinearCompressor(2), auxiliary) for m in ("audio", "text")}
    return MultimodalModel(QuantumFusion(2), decoder, **branches)


def built(**weights: float) -> MixedDecoder:
    torch.manual_seed(0)
    made = decoder(**weights)
    made.build(5)
    return made


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 2), min_size=4, max_size=4),
    values=st.lists(st.one_of(st.none(), st.floats(-3, 3)), min_size=4, max_size=4),
    weight=st.floats(0.1, 10),
)
def test_the_loss_is_the_weighted_sum_of_the_parts_over_the_samples_that_have_their_target(
    labels: list[int], values: list[float | None], weight: float
) -> None:
    mixed, features = built(valence=weight), torch.randn(4, 5)
    targets = {"label": torch.tensor(labels), "value": torch.tensor([float("nan") if v is None else v for v in values])}
    outputs = mixed(features)
    losses = mixed.losses(outputs, targets)
    known = [i for i in range(4) if labels[i] >= 0]
    expected = F.cross_entropy(outputs["label"][known], targets["label"][known]) if known else torch.zeros(())
    torch.testing.assert_close(losses["decoder_label"], expected)
    measured = [i for i in range(4) if values[i] is not None]
    square = sum((float(outputs["valence"][i].detach()) - float(targets["value"][i])) ** 2 for i in measured) / max(
        1, len(measured)
    )
    assert float(losses["decoder_valence"].detach()) == pytest.approx(weight * square, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(mixed.loss(outputs, targets), losses["decoder_label"] + losses["decoder_valence"])
    mixed.loss(outputs, targets).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixed.parameters())


def test_parts_are_as_they_would_be_alone() -> None:
    mixed, features = built(), torch.randn(6, 5)
    label, valence = mixed.parts["label"], mixed.parts["valence"]
    outputs = mixed(features, Context({}, {}))
    assert torch.equal(outputs["label"], label(features))
    assert torch.equal(mixed.score(outputs)["valence"], valence.score(valence(features)))
    rows = mixed.predict(outputs)
    assert [row.parts["label"] for row in rows] == label.predict(outputs["label"])
    assert [row.parts["valence"] for row in rows] == valence.predict(outputs["valence"])
    assert mixed.count_parameters(5) == sum(p.numel() for p in mixed.readers()) == 6 * 3 + 6
    head = mixed.spawn(7)
    assert isinstance(head.parts["label"], ClassDecoder)
    assert list(head(torch.randn(2, 7))) == ["label"]
    assert float(head.loss(head(torch.randn(2, 7)), {"label": torch.tensor([-1, -1])}).detach()) == 0


def test_it_learns_both_with_gaps_in_both(make_trainer: MakeTrainer) -> None:
    torch.manual_seed(0)
    task = MultimodalMixed(model(decoder(valence=0.5), auxiliary=0.1), learning_rate=0.05)
    run = make_trainer(epochs=20)
    run.fit(task, datamodule=Measured())
    assert run.callback_metrics["val/label_accuracy"] > 0.6  # a third is chance
    assert run.callback_metrics["val/valence_r2"] > 0.4
    assert {"train/loss", "train/loss_decoder_label", "train/loss_decoder_valence", "train/loss_audio"} <= set(
        run.callback_metrics
    )
    assert float(task.model.decoder.parts["valence"].location) == 40  # type: ignore[index, union-attr]


def test_metrics_are_those_of_the_single_tasks_on_the_samples_that_have_the_target(make_trainer: MakeTrainer) -> None:
    torch.manual_seed(0)
    data, task = Measured(), MultimodalMixed(model(decoder(label=2.0, valence=0.1)))
    metrics = make_trainer().validate(task, datamodule=data, verbose=False)[0]
    with torch.no_grad():
        output = task.eval()(data.rows(torch.arange(160, 240)))
    targets = data.rows(torch.arange(160, 240)).targets
    known, measured = targets["label"] >= 0, ~targets["value"].isnan()
    assert 40 < known.sum() < 70
    classes = classification_metrics(3)(output.prediction["label"].softmax(-1)[known], targets["label"][known])
    values = regression_metrics()(output.prediction["valence"].squeeze(-1)[measured], targets["value"][measured])
    for name, value in {**classes, **values}.items():
        part = "label" if name in classes else "valence"
        assert metrics[f"val/{part}_{name}"] == pytest.approx(float(value), rel=1e-3, abs=1e-5), name
    expected = F.cross_entropy(output.prediction["label"][known], targets["label"][known])
    assert metrics["val/label_loss"] == pytest.approx(float(expected), rel=1e-5)
    expected = F.mse_loss(output.prediction["valence"].squeeze(-1)[measured], targets["value"][measured])
    assert metrics["val/valence_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_a_task_of_one_part_scores_what_its_single_task_scores(make_trainer: MakeTrainer) -> None:
    data = Measured(labels=1, values=1)
    for part, single in (("label", MultimodalClassification), ("valence", MultimodalRegression)):
        results = {}
        for kind in (MultimodalMixed, single):
            torch.manual_seed(0)
            alone: Any = ClassDecoder(CLASSES) if part == "label" else ValueDecoder("value")
            task = kind(model(MixedDecoder({part: alone}) if kind is MultimodalMixed else alone), learning_rate=0.05)
            run = make_trainer(epochs=2)
            run.fit(task, datamodule=data)
            results[kind] = {name: float(value) for name, value in run.callback_metrics.items()}
        for name, value in results[single].items():
            ours = name if name == "val/loss" else name.replace("val/", f"val/{part}_").replace("_decoder", f"_decoder_{part}")
            assert results[MultimodalMixed][ours] == pytest.approx(value, rel=1e-4), name


def test_a_split_without_any_target_of_a_part_is_scored_by_the_others(make_trainer: MakeTrainer) -> None:
    task, data = MultimodalMixed(model(decoder())), Measured(labels=0)
    metrics = make_trainer().validate(task, datamodule=data, verbose=False)[0]
    assert not [name for name in metrics if name.startswith("val/label_")]
    assert {"val/valence_mae", "val/valence_loss", "val/loss"} <= set(metrics)
    assert metrics["val/loss"] > 0
    make_trainer(max_steps=2).fit(task, datamodule=data)  # nothing to learn from is no error


def test_a_checkpoint_comes_back_as_it_was(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    data, run = Measured(), make_trainer()
    task = MultimodalMixed(model(decoder(valence=0.3), auxiliary=0.2), balance=False, learning_rate=0.02)
    run.fit(task, datamodule=data)
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = load(tmp_path / "x.ckpt")
    assert again.model.decoder.weights == {"label": 1.0, "valence": 0.3}
    assert again.model.decoder.parts["label"].classes == CLASSES
    batch = data.rows(torch.arange(30))
    with torch.no_grad():
        ours, theirs = task.eval()(batch).prediction, again(batch).prediction
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for one, other in zip(task.model.decoder.predict(ours), again.predict_step(batch, 0), strict=True):
        assert one == other


def test_resumed_is_as_uninterrupted(make_trainer: MakeTrainer, stop_after: Callable[[int], Callback], tmp_path: Path) -> None:
    def task() -> MultimodalMixed:
        torch.manual_seed(0)
        return MultimodalMixed(model(decoder()), learning_rate=0.02)

    whole, first, second = task(), task(), task()
    make_trainer(epochs=4).fit(whole, datamodule=Measured())
    run = make_trainer(stop_after(2), epochs=4)
    run.fit(first, datamodule=Measured())
    run.save_checkpoint(tmp_path / "x.ckpt")
    make_trainer(epochs=4).fit(second, datamodule=Measured(), ckpt_path=str(tmp_path / "x.ckpt"), weights_only=True)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_the_folder_of_a_run(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    data, task = Measured(), MultimodalMixed(model(decoder()))
    make_trainer(RunFolder(str(tmp_path))).test(task, datamodule=data, verbose=False)
    table = pd.read_parquet(tmp_path / "test" / "predictions.parquet")
    targets = data.rows(torch.arange(160, 240)).targets
    assert len(table) == 80
    known = (targets["label"] >= 0).numpy()
    assert table["label.prediction"].notna().tolist() == known.tolist()
    assert table["label.target"][known].tolist() == [CLASSES[i] for i in targets["label"][known].tolist()]
    assert table["label.target_index"].dropna().tolist() == targets["label"][known].tolist()
    np.testing.assert_allclose(table["valence.target"].astype(float), targets["value"], equal_nan=True)
    both = known & ~targets["value"].isnan().numpy()
    assert (table["right"] == (table["label.right"].fillna(True) & table["valence.right"].fillna(True))).all()
    np.testing.assert_allclose(
        table["error"][both], (table["label.error"] + table["valence.error"])[both].astype(float) / 2, rtol=1e-5
    )
    row = table[both].iloc[0]
    assert row["summary"].split("\n") == [f"label: {row['label.summary']}", f"valence: {row['valence.summary']}"]
    assert {p.name for p in (tmp_path / "test").iterdir()} == {
        "metrics.json", "predictions.parquet", "label_confusion_matrix.png", "valence_scatter.png"
    }  # fmt: skip


def test_only_class_weights_of_the_data_when_balanced(make_trainer: MakeTrainer) -> None:
    class Weighed(Measured):
        class_weights = torch.tensor([0.5, 1.0, 1.5])

    for balance, expected in ((True, [0.5, 1.0, 1.5]), (False, [1.0, 1.0, 1.0])):
        task = MultimodalMixed(model(decoder()), balance=balance)
        make_trainer(max_steps=1, limit_val_batches=0).fit(task, datamodule=Weighed())
        assert task.evaluator.decoder.parts["label"].class_weights.tolist() == expected


def test_what_is_wrong_is_told(make_trainer: MakeTrainer) -> None:
    one: dict[str, Any] = {"label": ClassDecoder(CLASSES)}
    with pytest.raises(InputError, match="needs at least one decoder in `parts`"):
        MixedDecoder({})
    with pytest.raises(InputError, match=r"weight is given for 'lable', which is no part.*parts: label"):
        MixedDecoder(one, {"lable": 1.0})
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="expected a number above 0"):
            MixedDecoder(one, {"label": weight})
    for name in ("a.b", "", "values", "a b", "id"):
        with pytest.raises(InputError, match="cannot be called"):
            MixedDecoder({name: ClassDecoder(CLASSES)})
    with pytest.raises(InputError, match="is itself a MixedDecoder"):
        MixedDecoder({"both": decoder()})
    with pytest.raises(InputError, match="at least two different class names as `classes`, got None"):
        model(MixedDecoder({"label": ClassDecoder()}))
    with pytest.raises(InputError, match="MultimodalMixed needs a MixedDecoder, got ClassDecoder"):
        MultimodalMixed(model(one["label"]))
    with pytest.raises(InputError, match=r"the part 'mood' learns the target 'mood', .* \(it has: label, value\)"):
        make_trainer().fit(MultimodalMixed(model(MixedDecoder({**one, "mood": ValueDecoder("mood")}))), datamodule=Measured())


def test_classes_of_its_own_stay() -> None:
    mixed = MixedDecoder({"label": ClassDecoder(), "own": ClassDecoder(["x", "y"])}, classes=CLASSES)
    assert [part.classes for part in mixed.parts.values()] == [CLASSES, ["x", "y"]]


def test_kinds_that_cannot_be_scored_are_named() -> None:
    class Other(ValueDecoder.__bases__[0]):  # type: ignore[name-defined]
        target = "x"
        build = spawn = count_parameters = forward = loss = score = predict = lambda self, *_: None

    with pytest.raises(InputError, match=r"does not know how to score a Other; it knows: .*ClassDecoder.*ValueDecoder"):
        MultimodalMixed(model(MixedDecoder({"other": Other(), "label": ClassDecoder(CLASSES)})))


def three_parts() -> MixedDecoder:
    classes = ["a", "b"]
    return MixedDecoder(
        {"label": ClassDecoder(classes), "empty": ClassDecoder(classes, target="empty"), "value": ValueDecoder("value")}
    )


def scored(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    mixed = three_parts()
    evaluator = MixedEvaluator(mixed)
    metrics = evaluator.make_metrics().clone("val/")
    evaluator.update(metrics, mixed.score(outputs), outputs, targets)
    evaluator.update_losses(metrics, mixed.losses(outputs, targets), targets)
    return metrics.compute()


def score_share(rank: int, folder: Path) -> None:
    warnings.simplefilter("ignore")  # a metric that saw nothing says so
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(scored(*torch.load(folder / f"{rank}.pt")), folder / f"of{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")  # fresh interpreters would be slow
def test_processes_of_which_one_lacks_a_part_agree(tmp_path: Path) -> None:
    outputs = {"label": torch.randn(12, 2), "empty": torch.randn(12, 2), "value": torch.randn(12, 1)}
    targets = {"label": torch.tensor([0, 1, 0, 1, 1, -1, *[-1] * 6]), "empty": torch.full((12,), -1), "value": torch.randn(12)}
    for rank, rows in enumerate((torch.arange(6), torch.arange(6, 12))):  # the second has values alone
        torch.save((rows_of(outputs, rows), rows_of(targets, rows)), tmp_path / f"{rank}.pt")
    fork = multiprocessing.get_context("fork")
    shares = [fork.Process(target=score_share, args=(rank, tmp_path)) for rank in range(2)]
    for share in shares:
        share.start()
    for share in shares:
        share.join(60)
    assert [share.exitcode for share in shares] == [0, 0]
    expected = scored(outputs, targets)
    assert "val/label_auroc" in expected
    assert not [name for name in expected if "empty" in name]
    for rank in range(2):
        theirs = torch.load(tmp_path / f"of{rank}.pt")
        assert list(theirs) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(theirs[name], value, msg=name)
