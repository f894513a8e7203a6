"""FeatureCaching: frozen encoders run once over the data; later epochs, runs and studies read what they found."""

import itertools
import logging
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from tqdm.auto import tqdm

from qmm.contracts import Encoder
from qmm.feature_cache import FeatureCache, encoder_fingerprint
from qmm.types import Features

log = logging.getLogger(__name__)


class FeatureCaching(Callback):
    """Fills a `FeatureCache` for every frozen encoder and has the data module hand out cached features.

    Augmentations of a cached modality have no effect: its features are those of the unchanged file.

    Args:
        folder: Where the features are kept; shared by runs, since they are keyed by content, weights and pre-processing.
    """

    def __init__(self, folder: str):
        self.folder = Path(folder).expanduser()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        branches = pl_module.model.branches
        data.connect({modality: branch.encoder.preprocess for modality, branch in branches.items()})
        for modality, branch in branches.items():
            if not branch.encoder.frozen:
                continue
            cache = FeatureCache(self.folder, encoder_fingerprint(branch.encoder))
            fill(cache, branch.encoder, data, modality, trainer.strategy.root_device)
            data.cached[modality] = cache
            if modality in (getattr(data, "augment", None) or {}):
                log.warning("%s features are cached: the augmentation of %s has no effect", modality, modality)


@torch.no_grad()
def fill(cache: FeatureCache, encoder: Encoder, data: Any, modality: str, device: torch.device) -> int:
    """Encode what the cache lacks; returns how many contents that were. Kept batch by batch, so a kill loses one batch."""
    loaders = [data.contents(modality, split, known=cache) for split in data.rows]
    todo = sum(len(loader.dataset) for loader in loaders)
    if not todo:
        return 0
    encoder.to(device).eval()
    with tqdm(total=todo, desc=f"caching {modality} features", unit="sample") as bar:
        for batch in itertools.chain(*loaders):
            features: Features = encoder(*(None if part is None else part.to(device) for part in batch.inputs[modality]))
            cache.put(batch.ids, Features._make(None if part is None else part.cpu() for part in features))
            bar.update(len(batch.ids))
    return todo
