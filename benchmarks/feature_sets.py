"""Features with classes, to compare compressors on: real ones, as a configuration's encoders make them, and embedded ones."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray

from qmm.contracts import Encoder
from qmm.costs.configuration import parse
from qmm.training.caching import cache_frozen
from qmm.training.cli import instantiate
from qmm.types import Features

CONFIGS = {"mosi": "configs/mosi.yaml", "av-scenes": "configs/av_scenes_features.yaml"}
SETS = {
    "digits": ("pixels",),
    "mosi": ("vision", "audio", "text"),
    "av-scenes": ("vision", "audio"),
}
"""By name, whose features there are."""


class Part(NamedTuple):
    features: torch.Tensor
    """(N, D)"""
    classes: NDArray[np.int64]
    """(N,)"""


class FeatureSet(NamedTuple):
    train: Part
    val: Part


def digits() -> dict[str, FeatureSet]:
    """scikit-learn's 8 x 8 pictures of handwritten digits, every third of them held out; 64 pixels, standardised together."""
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    features = torch.from_numpy((pixels - pixels.mean()) / pixels.std()).float()
    held = np.arange(len(classes)) % 3 == 0
    return {"pixels": FeatureSet(Part(features[~held], classes[~held]), Part(features[held], classes[held]))}


@torch.no_grad()
def of_configuration(path: str) -> dict[str, FeatureSet]:
    """By modality. Encoders that standardise take their statistics from the training split; frozen ones' features are kept in
    the configuration's cache."""
    plain = parse(["--config", path], "benchmarks/autoencoders.py")
    branches = plain["model"]["init_args"]["model"]
    encoders = {m: instantiate(Encoder, branches[m]["encoder"]) for m in ("vision", "audio", "text") if branches.get(m)}
    data = instantiate(LightningDataModule, plain["data"])
    data.connect({modality: encoder.preprocess for modality, encoder in encoders.items()})
    data.setup("fit")
    if plain["cache"]:
        cache_frozen(data, encoders, plain["cache"], torch.device("cpu"))
    _encoded(data.plain_train_dataloader(), encoders)  # settles statistics
    for encoder in encoders.values():
        encoder.eval()
    train, val = (_encoded(loader, encoders) for loader in (data.plain_train_dataloader(), data.val_dataloader()))
    return {modality: FeatureSet(train[modality], val[modality]) for modality in encoders}


def _encoded(loader: Any, encoders: Mapping[str, Encoder]) -> dict[str, Part]:
    features: dict[str, list[torch.Tensor]] = {m: [] for m in encoders}
    classes: dict[str, list[torch.Tensor]] = {m: [] for m in encoders}
    for batch in loader:
        for modality, encoder in encoders.items():
            there = batch.present[modality]
            rows = batch.inputs[modality].rows(there)
            features[modality].append(rows.pooled if isinstance(rows, Features) else encoder(*rows).pooled)
            classes[modality].append(batch.targets["label"][there])
    return {m: Part(torch.cat(features[m]), torch.cat(classes[m]).numpy()) for m in encoders}


@cache
def read(name: str) -> dict[str, FeatureSet]:
    """By modality, as in `SETS`."""
    return digits() if name == "digits" else of_configuration(CONFIGS[name])
