import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from scipy import stats
from sklearn import metrics as sklearn_metrics
from sklearn.decomposition import PCA
from torch import Tensor

from qmm import Branch, MultimodalModel
from qmm.data import ScenesDataModule, VectorsDataModule
from qmm.decoders import ClassDecoder, ValueDecoder
from qmm.encoders import ASTEncoder, LinearCompressor, PCACompressor, TextEncoder, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, QuantumFusion
from qmm.metrics import classification_metrics, regression_metrics
from qmm.tasks import MultimodalClassification, MultimodalRegression
from qmm.tasks.mixup import mixup
from qmm.types import Batch, Features, Padded

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """Two modalities of which the sign of one and the size of the other make the target; a third of the labels is class 0."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(240, 6)), rng.normal(5, 100, size=(240, 4))
    value = x[:, 0] + y[:, 0] / 100
    split = np.array(["train"] * 160 + ["val"] * 80)
    label = (value > np.quantile(value, 1 / 3)).astype(int)
    np.savez(tmp_path / "v.npz", audio=x, text=y, label=label, value=3 * value + 40, split=split)
    return tmp_path / "v.npz"


def model(decoder: Any, compressor: type = LinearCompressor) -> MultimodalModel:
    branches = {"audio": Branch(VectorEncoder(6), compressor(2)), "text": Branch(VectorEncoder(4), compressor(2))}
    return MultimodalModel(QuantumFusion(2), decoder, **branches)


def test_classification_learns(vectors: Path, make_trainer: MakeTrainer) -> None:
    torch.manual_seed(0)
    data = VectorsDataModule(str(vectors), {"audio": "audio", "text": "text"}, classes=["low", "high"])
    task = MultimodalClassification(model(ClassDecoder(data.classes)), learning_rate=0.05, balance=True)
    run = make_trainer(epochs=25)
    run.fit(task, datamodule=data)
    assert run.callback_metrics["val/accuracy"] > 0.85
    assert {"val/f1", "val/auroc", "val/calibration_error", "train/loss", "angles/audio_std"} <= set(run.callback_metrics)
    decoder = task.model.decoder
    assert isinstance(decoder, ClassDecoder)
    assert decoder.class_weights.tolist() == pytest.approx(data.class_weights.tolist())  # type: ignore[union-attr]
    assert decoder.class_weights[0] > decoder.class_weights[1]


def test_compressors_are_fitted_on_the_training_split_alone(vectors: Path, make_trainer: MakeTrainer) -> None:
    data = VectorsDataModule(str(vectors), {"audio": "audio", "text": "text"}, classes=["low", "high"])
    task = MultimodalClassification(model(ClassDecoder(data.classes), PCACompressor))
    compressor = task.model.branches["text"].compressor
    assert isinstance(compressor, PCACompressor)
    assert compressor.needs_fit
    make_trainer(max_steps=1, limit_val_batches=0).fit(task, datamodule=data)
    assert not compressor.needs_fit
    # The encoder had taken in the training split before, so what was fitted are standardised columns ...
    train = np.load(vectors)["text"][:160].astype(np.float32)
    encoder = VectorEncoder(4)
    encoder(torch.tensor(train))
    scores = PCA(2, whiten=True).fit_transform(encoder.eval()(torch.tensor(train)).pooled.numpy())
    # ... and angles are the normal distribution function of the training split's principal components, up to sign.
    task.model.branches["text"].encoder.load_state_dict(encoder.state_dict())  # without the one step's own batch
    angles = compressor(task.model.branches["text"].encoder.eval()(torch.tensor(train)).pooled).detach().numpy()
    ours = stats.norm.ppf(np.clip(angles / np.pi, 1e-7, 1 - 1e-7))
    inside = np.abs(scores).max(1) < 4
    np.testing.assert_allclose(np.abs(ours[inside]), np.abs(scores[inside]), atol=0.02)


def test_regression_learns(vectors: Path, make_trainer: MakeTrainer) -> None:
    torch.manual_seed(0)
    data = VectorsDataModule(str(vectors), {"audio": "audio", "text": "text"}, label="value", regression=True)
    task = MultimodalRegression(model(ValueDecoder()), learning_rate=0.05)
    run = make_trainer(epochs=25)
    run.fit(task, datamodule=data)
    assert run.callback_metrics["val/r2"] > 0.7
    assert run.callback_metrics["val/spearman"] > 0.8
    assert run.callback_metrics["val/mae"] < 3
    assert task.model.decoder.location == pytest.approx(data.target_scale[0])


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200)
    ours = classification_metrics(4)(torch.tensor(probabilities, dtype=torch.float32), torch.tensor(labels))
    best = probabilities.argmax(1)
    assert float(ours["accuracy"]) == pytest.approx(sklearn_metrics.accuracy_score(labels, best))
    assert float(ours["f1"]) == pytest.approx(sklearn_metrics.f1_score(labels, best, average="macro"))
    auroc = sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    assert float(ours["auroc"]) == pytest.approx(auroc, abs=1e-5)
    a, b = rng.normal(size=100), rng.normal(size=100)
    ours = regression_metrics()(torch.tensor(a), torch.tensor(b))
    assert float(ours["r2"]) == pytest.approx(sklearn_metrics.r2_score(b, a), abs=1e-4)
    assert float(ours["spearman"]) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-4)


def test_circuit_weights_do_not_decay_and_follow_their_own_rate(vectors: Path, make_trainer: MakeTrainer) -> None:
    data = VectorsDataModule(str(vectors), {"audio": "audio", "text": "text"}, classes=["low", "high"])
    task = MultimodalClassification(
        model(ClassDecoder(data.classes)), learning_rate=0.01, fusion_learning_rate=0.1, weight_decay=0.3
    )
    make_trainer().fit(task, datamodule=data)
    optimizer = task.optimizers()
    groups = {group["name"]: group for group in optimizer.param_groups}  # type: ignore[union-attr]
    assert groups["matrices"]["weight_decay"] == 0.3
    assert groups["fusion"]["weight_decay"] == 0
    assert groups["fusion"]["initial_lr"] == 0.1
    assert {id(p) for p in task.model.fusion.parameters()} <= {id(p) for p in groups["fusion"]["params"]}
    everything = [p for group in groups.values() for p in group["params"]]
    assert len(everything) == len({id(p) for p in everything}) == sum(p.requires_grad for p in task.parameters())


def test_other_classes_are_refused(vectors: Path, make_trainer: MakeTrainer) -> None:
    data = VectorsDataModule(str(vectors), {"audio": "audio", "text": "text"}, classes=["low", "high"])
    with pytest.raises(InputError, match=r"\['no', 'yes'\], the data has \['low', 'high'\]"):
        make_trainer().fit(MultimodalClassification(model(ClassDecoder(["no", "yes"]))), datamodule=data)
    with pytest.raises(InputError, match="needs a ClassDecoder, got ValueDecoder"):
        MultimodalClassification(model(ValueDecoder()))
    with pytest.raises(InputError, match="needs a ValueDecoder, got ClassDecoder"):
        MultimodalRegression(model(ClassDecoder(["a", "b"])))


class TestMixup:
    def batch(self) -> Batch:
        values = torch.arange(12.0).reshape(4, 3)
        present = {"audio": torch.tensor([True, True, True, False])}
        return Batch({"audio": Padded(values)}, present, {"label": torch.arange(4) % 2}, list("abcd"))

    def model(self, encoder: Any) -> MultimodalModel:
        return MultimodalModel(ConcatFusion(2, 2), ClassDecoder(["a", "b"]), audio=Branch(encoder, LinearCompressor(2)))

    def test_is_linear_and_leaves_rows_without_partner_alone(self) -> None:
        batch, order = self.batch(), torch.tensor([1, 0, 3, 2])
        mixed = mixup(self.model(VectorEncoder(3)), batch, order, 0.25).inputs["audio"]
        values = batch.inputs["audio"].values  # type: ignore[union-attr]
        assert mixed is not None
        torch.testing.assert_close(mixed[0][0], 0.25 * values[0] + 0.75 * values[1])
        torch.testing.assert_close(mixed[0][2:], values[2:])

    def test_cached_tokens_blend_too(self) -> None:
        tokens, mask = torch.randn(4, 2, 3), torch.tensor([[1, 0], [1, 1], [1, 0], [0, 0]]).bool()
        tokens = tokens * mask.unsqueeze(2)
        batch = self.batch()._replace(inputs={"audio": Features(tokens.sum(1), tokens, mask)})
        mixed = mixup(self.model(VectorEncoder(3)), batch, torch.tensor([1, 0, 3, 2]), 0.25).inputs["audio"]
        assert isinstance(mixed, Features)
        assert mixed.tokens is not None
        assert mixed.mask is not None
        torch.testing.assert_close(mixed.tokens[0], 0.25 * tokens[0] + 0.75 * tokens[1])
        torch.testing.assert_close(mixed.tokens[2:], tokens[2:])
        assert mixed.mask.tolist() == [[True, True], [True, True], [True, False], [False, False]]

    def test_sounds_blend_by_power(self) -> None:
        generator = torch.Generator().manual_seed(0)
        a, b = (scale * torch.randn(1, 80000, generator=generator) for scale in (0.01, 0.5))
        mixed = ASTEncoder().mix(a, b, torch.tensor([0.3]))
        assert float(mixed.square().mean()) == pytest.approx(1, abs=0.02)
        assert float((mixed * a).mean() / a.square().mean().sqrt()) == pytest.approx(0.3**0.5, abs=0.02)

    def test_words_do_not_blend(self) -> None:
        small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        batch = self.batch()._replace(inputs={"audio": Padded(torch.ones(4, 3, dtype=torch.int64))})
        with pytest.raises(InputError, match="token ids, which cannot be blended"):
            mixup(self.model(TextEncoder(small)), batch, torch.arange(4), 0.5)

    def test_trains(self, vectors: Path, make_trainer: MakeTrainer) -> None:
        data = VectorsDataModule(str(vectors), {"audio": "audio", "text": "text"}, classes=["low", "high"])
        task = MultimodalClassification(model(ClassDecoder(data.classes)), learning_rate=0.05, mixup=0.5)
        run = make_trainer(epochs=25)
        run.fit(task, datamodule=data)
        assert run.callback_metrics["val/accuracy"] > 0.8


@pytest.mark.filterwarnings("ignore:You passed in a .val_dataloader.:UserWarning")  # the student has no validation
def test_our_task_inside_somebody_elses_module(repository: Path, make_trainer: MakeTrainer, trained: Path) -> None:
    """The README's second block, with a student."""
    block = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)[1]
    names: dict[str, Any] = {}
    exec(block, names)
    checkpoint = str(trained / "checkpoints" / "last.ckpt")
    data = ScenesDataModule(size=24, val_size=0, test_size=0, batch_size=12, picture_size=16, sound_seconds=0.5)
    from qmm import load

    student: LightningModule = names["Student"](checkpoint, load(checkpoint).model.train())
    before = {name: p.clone() for name, p in student.named_parameters()}
    make_trainer().fit(student, datamodule=data)
    moved = {name.split(".")[0] for name, p in student.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"model"}


def test_scores_are_probabilities() -> None:
    task = MultimodalClassification(model(ClassDecoder(["a", "b"])))
    scores: Tensor = task.model.decoder.score(torch.randn(5, 2))
    torch.testing.assert_close(scores.sum(1), torch.ones(5))
