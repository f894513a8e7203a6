"""Estimators of scikit-learn as tasks: as scikit-learn alone would have them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import qmm as library
from qmm import Branch, MultimodalModel
from qmm.data import VectorsDataModule
from qmm.decoders import ClassDecoder, ValueDecoder
from qmm.encoders import LinearCompressor, TextEncoder, VectorEncoder
from qmm.errors import InputError
from qmm.estimators import describe
from qmm.fusion import QuantumFusion
from qmm.tasks import EstimatorClassification
from qmm.training.checkpoints import AtomicCheckpointIO, check_shapes, read_checkpoint
from qmm.training.run_folder import count_parameters
from qmm.types import Batch, Padded

MakeTrainer = Callable[..., Trainer]
Qmm = Callable[..., Any]
CLASSES = ["low", "middle", "high"]
COLUMNS = {"audio": "audio", "text": "text"}
ESTIMATORS = {  # and whether a checkpoint holds arrays alone
    "logistic": (LogisticRegression(C=0.5), True),
    "support vectors": (SVC(C=2.0), True),
    "linear support vectors": (SVC(kernel="linear"), True),
    "layers": (MLPClassifier([5, 4], max_iter=30), True),
    "bayes": (GaussianNB(), True),
    "discriminant": (LinearDiscriminantAnalysis(), True),
    "trees": (RandomForestClassifier(5), False),
}
pytestmark = pytest.mark.filterwarnings(f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__qualname__}")


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, size=(240, 3)), rng.normal(5, 100, size=(240, 2))
    value = x[:, 0] - 3 + y[:, 0] / 100 + rng.normal(size=240)
    split = np.array(["train"] * 160 + ["val"] * 40 + ["test"] * 40)
    label = np.digitize(value, [-1, 1])
    np.savez(tmp_path / "v.npz", audio=x, text=y, label=label, split=split)
    return tmp_path / "v.npz"


def data_of(vectors: Path, **loading: Any) -> VectorsDataModule:
    return VectorsDataModule(str(vectors), COLUMNS, classes=CLASSES, **loading)


def model(decoder: Any = None, modalities: tuple[str, ...] = ("audio", "text")) -> MultimodalModel:
    widths = {"audio": 3, "text": 2}
    branches: Any = {
        m: Branch(VectorEncoder(widths[m], standardize=False, clip=0), LinearCompressor(2), auxiliary=0.5) for m in modalities
    }
    return MultimodalModel(QuantumFusion(1), decoder or ClassDecoder(CLASSES), **branches)


def split_of(vectors: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    content = np.load(vectors)
    chosen = content["split"] == name
    rows = np.concatenate([content["audio"], content["text"]], axis=1).astype(np.float32).astype(np.float64)
    return rows[chosen], content["label"][chosen]


@pytest.mark.parametrize(("kind", "standardize"), [*((kind, True) for kind in ESTIMATORS), ("logistic", False)])
def test_it_is_the_pipeline_of_scikit_learn(kind: str, standardize: bool, vectors: Path, make_trainer: MakeTrainer) -> None:
    torch.manual_seed(7)
    task = EstimatorClassification(model(), ESTIMATORS[kind][0], standardize)
    trainer = make_trainer(epochs=30, plugins=[AtomicCheckpointIO()], gradient_clip_val=1.0)
    trainer.fit(task, datamodule=data_of(vectors))
    assert trainer.current_epoch == 1
    (scored,) = trainer.validate(task, datamodule=data_of(vectors), verbose=False)
    probabilities = probabilities_of(task, vectors)
    settings = ESTIMATORS[kind][0].get_params()
    alone: Any = type(ESTIMATORS[kind][0])(**{**settings, **({"random_state": 7} if "random_state" in settings else {})})
    pipeline = make_pipeline(StandardScaler(), alone) if standardize else alone
    pipeline.fit(*split_of(vectors, "train"))
    rows, labels = split_of(vectors, "val")
    if hasattr(pipeline, "predict_proba"):
        expected = pipeline.predict_proba(rows)
    else:
        expected = torch.from_numpy(pipeline.decision_function(rows)).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert scored["val/accuracy"] == pytest.approx((expected.argmax(1) == labels).mean())


def probabilities_of(task: Any, vectors: Path) -> np.ndarray:
    data = data_of(vectors)
    data.connect({m: b.encoder.preprocess for m, b in task.model.branches.items()})
    data.setup("validate")
    with torch.no_grad():
        return np.concatenate([task(batch).prediction.softmax(1).numpy() for batch in data.val_dataloader()])


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_checkpoint_holds_arrays_and_brings_it_back(
    kind: str, vectors: Path, make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    estimator, arrays = ESTIMATORS[kind]
    task = EstimatorClassification(model(), estimator)
    trainer = make_trainer(plugins=[AtomicCheckpointIO()])
    trainer.fit(task, datamodule=data_of(vectors))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    state = read_checkpoint(tmp_path / "a.ckpt")["state_dict"]["model.decoder._extra_state"]
    assert ("fitted" in state) == arrays
    assert ("features" in state) != arrays
    again = library.load(tmp_path / "a.ckpt")
    assert again.model.decoder.estimator is not task.model.decoder.estimator
    np.testing.assert_array_equal(probabilities_of(again, vectors), probabilities_of(task, vectors))
    other = EstimatorClassification(model(), LogisticRegression(C=3.0))
    with pytest.raises(InputError, match=r"holds .* fitted, and the configuration says .*'C': 3\.0"):
        other.load_state_dict(read_checkpoint(tmp_path / "a.ckpt")["state_dict"])


def test_what_no_checkpoint_of_ours_says_is_refused(vectors: Path, make_trainer: MakeTrainer) -> None:
    task = EstimatorClassification(model(), LogisticRegression())
    make_trainer().fit(task, datamodule=data_of(vectors))
    state = dict(task.model.decoder.get_extra_state())
    for change, message in (
        ({"class_path": "subprocess.Popen"}, "the configuration says"),
        ({"fitted": {"__class__": 1}}, "was not written by qmm"),
    ):
        fresh = EstimatorClassification(model(), LogisticRegression())
        with pytest.raises(InputError, match=message):
            fresh.model.decoder.set_extra_state({**state, **change})


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LogisticRegression(), 3 * 5 + 3),
        (MLPClassifier([4], max_iter=5), 5 * 4 + 4 + 4 * 3 + 3),
        (SVC(), None),
        (GaussianNB(), 2 * 3 * 5 + 2 * 3),  # means, variances, sizes and priors
        (RandomForestClassifier(2), 0),
    ],
)
def test_parameters_are_counted(estimator: Any, expected: int | None, vectors: Path, make_trainer: MakeTrainer) -> None:
    task = EstimatorClassification(model(), estimator)
    assert count_parameters(task.model)["decoder"] == 0
    make_trainer().fit(task, datamodule=data_of(vectors))
    counts = count_parameters(task.model)
    fitted: Any = task.model.decoder.estimator
    wanted = expected if expected is not None else len(fitted.support_) * (5 + 3 - 1) + 3
    assert counts == dict.fromkeys(counts, wanted) | {"fusion": 0, "fusion_total": 0}


def test_a_missing_modality_is_the_mean(vectors: Path, make_trainer: MakeTrainer) -> None:
    task = EstimatorClassification(model(), LogisticRegression())
    make_trainer().fit(task, datamodule=data_of(vectors))
    rows, _ = split_of(vectors, "train")
    audio = torch.from_numpy(rows[:4, :3]).float()
    mean = torch.from_numpy(rows[:, 3:].mean(0)).float().expand(4, 2)
    yes, no = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    without = Batch({"audio": Padded(audio), "text": None}, {"audio": yes, "text": no}, {}, list("abcd"))
    at_mean = Batch({"audio": Padded(audio), "text": Padded(mean)}, {"audio": yes, "text": yes}, {}, list("abcd"))
    torch.testing.assert_close(task(without).prediction, task(at_mean).prediction, atol=1e-5, rtol=0)


class Own(ClassifierMixin, BaseEstimator):
    pass


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LinearRegression(), "LinearRegression is no classifier; give one, as sklearn"),
        (Own(), "Own is not of scikit-learn"),
        (LogisticRegression(random_state=np.random.RandomState(0)), "LogisticRegression.random_state=RandomState"),
    ],
)
def test_estimators_that_will_not_do(estimator: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        EstimatorClassification(model(), estimator)


def test_models_that_will_not_do() -> None:
    with pytest.raises(InputError, match="needs a ClassDecoder, got ValueDecoder"):
        EstimatorClassification(model(ValueDecoder()), LogisticRegression())
    text = Branch(TextEncoder(), LinearCompressor(2))
    learned = MultimodalModel(QuantumFusion(1), ClassDecoder(CLASSES), text=text)
    with pytest.raises(InputError, match=r"that of text, TextEncoder, is not frozen.*tuning: frozen"):
        EstimatorClassification(learned, LogisticRegression())
    with pytest.raises(InputError, match="used before it was fitted"):
        EstimatorClassification(model(), LogisticRegression()).model.decoder(torch.zeros(1, 5))


def test_too_few_samples_and_classes(vectors: Path, make_trainer: MakeTrainer) -> None:
    task = EstimatorClassification(model(), LogisticRegression())
    with pytest.raises(InputError, match="the training samples are all "):
        make_trainer().fit(task, datamodule=data_of(vectors, train_size=1))
    make_trainer().fit(task, datamodule=data_of(vectors, train_size=2))
    estimator: Any = task.model.decoder.estimator
    absent = [i for i in range(3) if i not in estimator.classes_]
    assert len(absent) == 1
    probabilities = probabilities_of(task, vectors)
    assert probabilities[:, absent].max() < 1e-12
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)


def test_descriptions_go_as_deep_as_estimators_do() -> None:
    from sklearn.calibration import CalibratedClassifierCV

    inner = {"class_path": "sklearn.svm._classes.SVC", "init_args": {"C": 3.0}}
    found = describe(CalibratedClassifierCV(SVC(C=3.0), cv=2))
    assert found["init_args"] == {"estimator": inner, "cv": 2}


def test_as_an_arm_of_a_study(qmm: Qmm, vectors: Path, tmp_path: Path) -> None:
    def branch(width: int) -> dict[str, Any]:
        return {
            "encoder": {"class_path": "qmm.encoders.VectorEncoder", "init_args": {"dim": width}},
            "compressor": {"class_path": "qmm.encoders.LinearCompressor", "init_args": {"features": 2}},
        }

    parts = {
        "audio": branch(3),
        "text": branch(2),
        "fusion": {"class_path": "qmm.fusion.QuantumFusion"},
        "decoder": {"class_path": "qmm.decoders.ClassDecoder"},
    }
    task = {"class_path": "qmm.tasks.MultimodalClassification", "init_args": {"learning_rate": 0.01, "model": parts}}
    loading = {"path": str(vectors), "columns": COLUMNS, "classes": CLASSES}
    base = {
        "trainer": {"max_epochs": 2, "enable_progress_bar": False, "logger": False},
        "pictures": False,
        "model": task,
        "data": {"class_path": "qmm.data.VectorsDataModule", "init_args": loading},
    }
    (tmp_path / "base.yaml").write_text(json.dumps(base))
    settings = {"estimator": {"class_path": "sklearn.linear_model.LogisticRegression", "init_args": {"C": 0.3}}}
    overlay = {"model": {"class_path": "qmm.tasks.EstimatorClassification", "init_args": settings}}
    arms = {"quantum": [], "logistic": [overlay], "audio": [overlay, {"model": {"init_args": {"model": {"text": None}}}}]}
    study = {"configs": [str(tmp_path / "base.yaml")], "arms": arms, "seeds": [3], "counterparts": False}
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    qmm("study", "--config", tmp_path / "study.yaml", "--folder", tmp_path / "study")
    table = pd.read_parquet(tmp_path / "study" / "results.parquet").set_index("arm")
    assert list(table.index) == ["quantum", "logistic", "audio"]
    assert table["parameters_decoder"].tolist()[1:] == [3 * 5 + 3, 3 * 3 + 3]
    accuracy = table["accuracy"].to_dict()
    assert accuracy["logistic"] > accuracy["audio"]
    checkpoint = tmp_path / "study" / "cells" / "logistic-seed3" / "checkpoints" / "last.ckpt"
    runs = ["--ckpt_path", checkpoint, "--runs", tmp_path / "runs"]
    qmm("test", *runs, "--name", "again", "--trainer.enable_progress_bar=false")
    again = json.loads((tmp_path / "runs" / "again" / "test" / "metrics.json").read_text())
    assert again["metrics"]["accuracy"] == accuracy["logistic"]
    check_shapes(library.load(checkpoint).state_dict(), read_checkpoint(checkpoint)["state_dict"])
