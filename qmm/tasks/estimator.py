"""EstimatorClassification: a classifier of scikit-learn on the encoders' features, an arm beside those that are trained."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from qmm.contracts import Compressor, Decoder, Fusion
from qmm.decoders import ClassDecoder
from qmm.errors import InputError
from qmm.estimators import check_classifier, count_fitted, describe, keep, log_scores, restore
from qmm.model import Branch, MultimodalModel
from qmm.tasks.classification import ClassEvaluator
from qmm.tasks.evaluation import DecodingTask, expect
from qmm.types import Batch, Context

SCORED = 8
"""Batches that the training loss is taken from: of a machine of many support vectors, all would take as long as the fit."""


class Standardised(Compressor):
    """All features as they are, or each brought to mean 0 and variance 1 over the training split by scikit-learn's
    StandardScaler; what a sample lacks is 0, after that the mean. No angles: they have no bounds."""

    mean: Tensor
    scale: Tensor
    fitted: Tensor

    def __init__(self, standardize: bool):
        super().__init__()
        self.standardize, self.low, self.high = standardize, -math.inf, math.inf

    def build(self, in_features: int) -> None:
        self.features = in_features
        self.register_buffer("mean", torch.zeros(in_features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(in_features, dtype=torch.float64))
        self.register_buffer("fitted", torch.tensor(False))

    @property
    def needs_fit(self) -> bool:
        return not bool(self.fitted)

    def fit(self, pooled: Iterable[Tensor]) -> None:
        if self.standardize:
            scaler = StandardScaler().fit(torch.cat([rows.double().cpu() for rows in pooled]).numpy())
            self.mean.copy_(torch.from_numpy(scaler.mean_))
            self.scale.copy_(torch.from_numpy(scaler.scale_))
        self.fitted.fill_(True)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, D) float64"""
        return (pooled.double() - self.mean) / self.scale


class Concatenated(Fusion):
    """Features side by side, in the order of the modalities."""

    def build(self, widths: Mapping[str, int]) -> None:
        self.out_features = sum(widths.values())

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([rows.double() for rows in angles.values()], dim=1)


class EstimatorDecoder(ClassDecoder):
    """A classifier of scikit-learn, fitted by `fit`; its outputs are logits, of which the softmax is what it tells.

    Where it tells probabilities, that is they; else (SVC) the softmax of its decision function, which ranks the classes but is
    not calibrated. Of equal scores the first class wins.
    """

    def __init__(self, estimator: BaseEstimator, classes: list[str], target: str):
        super().__init__(classes, target=target)
        self.plan, self.estimator, self._kept = estimator, None, dict[str, Any]()

    @property
    def fitted_parameters(self) -> int:
        return 0 if self.estimator is None else count_fitted(self.estimator)

    def build(self, in_features: int, widths: Mapping[str, int] | None = None) -> None:
        """Nothing is known before `fit`."""

    def count_parameters(self, in_features: int) -> int:
        return self.fitted_parameters

    def fit(self, features: Tensor, labels: Tensor, seed: int) -> None:
        """Features (N, F) and class indices (N,); `seed` is the random state, where there is one and none is given.

        Raises InputError for fewer than two classes, and where scikit-learn cannot fit it.
        """
        rows, targets = features.double().cpu().numpy(), labels.cpu().numpy()
        there = [self.classes[i] for i in np.unique(targets)]
        if len(there) < 2:
            raise InputError(f"the training samples are all {there[0]}; a classifier needs two classes: give it more samples")
        estimator = clone(self.plan)
        unseeded = [k for k, v in estimator.get_params().items() if k.endswith("random_state") and v is None]
        estimator.set_params(**dict.fromkeys(unseeded, seed))
        try:
            estimator.fit(rows, targets)
        except (TypeError, ValueError) as error:
            raise InputError(f"{type(estimator).__name__} cannot be fitted to the training split: {error}") from error
        if log_scores(estimator, rows[:1]).shape[1] != len(there):
            raise InputError(f"{estimator} tells no score for each class; with SVC, set decision_function_shape to 'ovr'")
        self.estimator, self._kept = estimator, keep(estimator, rows, targets)

    def forward(self, features: Tensor, context: Context | None = None) -> Tensor:
        """(B, F) -> logits (B, C); a class that no training sample had gets none."""
        if self.estimator is None:
            raise InputError(f"{type(self.plan).__name__} is used before it was fitted; run `qmm fit`, or load a checkpoint")
        scores = log_scores(self.estimator, features.double().cpu().numpy())
        logits = np.full((len(scores), len(self.classes)), scores.min(initial=0.0) - 100.0)
        logits[:, self.estimator.classes_] = scores
        return torch.from_numpy(logits).to(features.device, torch.float32)

    def get_extra_state(self) -> dict[str, Any]:
        return self._kept

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Raises InputError for an estimator with other settings than this one's."""
        if not state:
            return
        own = describe(self.plan)
        found = {"class_path": state["class_path"], "init_args": {**state["init_args"]}}
        if own != {**found, "init_args": {k: v for k, v in found["init_args"].items() if _is_setting(k, own)}}:
            raise InputError(
                f"the checkpoint holds {found}, fitted, and the configuration says {own}; "
                "use the configuration it was fitted with, or fit anew under another --name"
            )
        self._kept, self.estimator = state, restore(state)


def _is_setting(name: str, described: dict[str, Any]) -> bool:
    return name != "random_state" or name in described["init_args"]


class EstimatorClassification(DecodingTask):
    """A classifier of scikit-learn, fitted to the training split's features, and scored as MultimodalClassification is.

    Of the model it takes the encoders, and from the decoder the names of the classes; compressors, fusion and decoder are not
    used. Encoders must be frozen, or have nothing to train (`VectorEncoder`). Their pooled features are standardised by
    the training split and laid side by side; what a sample lacks is 0 there. One epoch is all, whatever `max_epochs` says, and
    AdamW's settings have no place here.

    A checkpoint holds what fitting left in the estimator, as arrays, and nothing pickled; of an estimator whose fit is more
    than arrays (trees) it holds the standardised training features and labels, and loading fits it again.

    Parameters of the decoder, in reports, are those of `qmm.estimators.count_fitted`.

    Args:
        model: Where encoders and classes come from.
        estimator: Of scikit-learn, with predict_proba or decision_function. Its random state, unless given, is the run's seed.
        standardize: Whether features are brought to mean 0 and variance 1.
    """

    def __init__(self, model: MultimodalModel, estimator: BaseEstimator, standardize: bool = True):
        check_classifier(estimator)
        describe(estimator)  # what cannot be written into a checkpoint is better known now
        given = expect(ClassDecoder, model.decoder, self)
        for modality, branch in model.branches.items():
            if not branch.encoder.frozen and any(p.requires_grad for p in branch.encoder.parameters()):
                raise InputError(
                    f"{type(self).__name__} trains no encoder, and that of {modality}, {type(branch.encoder).__name__}, is "
                    "not frozen: its features would be random; set `tuning: frozen` on a pretrained one, or take one from a "
                    "checkpoint (qmm.encoders.FromCheckpoint)"
                )
        branches = {m: Branch(branch.encoder, Standardised(standardize)) for m, branch in model.branches.items()}
        decoder = EstimatorDecoder(estimator, given.classes, given.target)
        super().__init__(MultimodalModel(Concatenated(), decoder, others=branches))
        self.classes = given.classes
        self._estimator = estimator
        self._nothing = (nn.Parameter(torch.zeros(())),)  # what Lightning may optimise; no part of the model

    def config_arguments(self) -> dict[str, Any]:
        return {**super().config_arguments(), "estimator": describe(self._estimator)}

    def make_evaluator(self, decoder: Decoder) -> ClassEvaluator:
        return ClassEvaluator(expect(ClassDecoder, decoder, self))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            if self.trainer.world_size > 1:
                raise InputError(f"{type(self).__name__} is fitted in one process; set `trainer.devices` to 1")
            self.trainer.fit_loop.max_epochs = 1
            self.trainer.num_sanity_val_steps = 0  # nothing can be scored before the fit

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.model.eval()  # no encoder goes on taking in statistics

    def on_train_epoch_start(self) -> None:
        """The fit; here, where callbacks measure what a training takes."""
        decoder: Any = self.model.decoder
        if decoder.estimator is None:
            decoder.fit(*self._collect(), torch.initial_seed() % 2**32)

    @torch.no_grad()
    def _collect(self) -> tuple[Tensor, Tensor]:
        """The training split's features (N, F) and class indices (N,), in the data's order, without augmentation."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        features, labels = [], []
        for batch in data.plain_train_dataloader():
            batch = self.transfer_batch_to_device(batch, self.device, 0)
            present = batch.presence(self.model.branches)
            features.append(self.fuse(self.model.encode(batch.inputs, present).angles, present))
            labels.append(batch.targets[self.model.decoder.target])
        return torch.cat(features), torch.cat(labels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of what was fitted, on the first batches; no step is taken, but Lightning keeps no checkpoint of a training
        without any."""
        if batch_idx < SCORED:
            with torch.no_grad():
                loss = self.model.decoder.loss(self(batch).prediction, batch.targets)
            self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.ids), prog_bar=True)
        return 0.0 * self._nothing[0]

    def configure_optimizers(self) -> Any:
        optimizer = SGD(list(self._nothing), lr=0.0)
        return [optimizer], [LambdaLR(optimizer, lambda step: 1.0)]
