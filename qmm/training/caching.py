"""FeatureCaching: frozen encoders run once over the data; later epochs, runs and studies read what they found."""

import logging
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from tqdm.auto import tqdm

from qmm.contracts import Encoder
from qmm.feature_cache import FeatureCache, encoder_fingerprint

log = logging.getLogger(__name__)


class FeatureCaching(Callback):
    """Fills a `FeatureCache` for every frozen encoder and has the data module hand out cached features.

    Augmentations of a cached modality have no effect: its features are those of the unchanged file.

    Args:
        folder: Where the features are kept; shared by runs, since they are keyed by content, weights and pre-processing.
        batch_size: Of the pass that fills the cache.
    """

    def __init__(self, folder: str, batch_size: int = 64):
        self.folder, self.batch_size = Path(folder).expanduser(), batch_size

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        data.cached = {}
        for modality, branch in pl_module.model.branches.items():  # type: ignore[union-attr]
            if not branch.encoder.frozen:
                continue
            cache = FeatureCache(self.folder, encoder_fingerprint(branch.encoder))
            data.connect({modality: branch.encoder.preprocess})
            fill(cache, branch.encoder, data, modality, self.batch_size, trainer.strategy.root_device)
            data.cached[modality] = cache
            if modality in (getattr(data, "augment", None) or {}):
                log.warning("%s features are cached: the augmentation of %s has no effect", modality, modality)


@torch.no_grad()
def fill(cache: FeatureCache, encoder: Encoder, data: object, modality: str, batch_size: int, device: torch.device) -> int:
    """Encode what the cache lacks; returns how many samples that were. Kept batch by batch, so a kill loses one batch."""
    loader, todo = data.uncached(modality, cache, batch_size)  # type: ignore[attr-defined]
    if not todo:
        return 0
    home = next((p.device for p in encoder.parameters()), device)
    encoder.to(device).eval()
    with tqdm(total=todo, desc=f"caching {modality} features", unit="sample") as bar:
        for keys, inputs in loader:
            features = encoder(*(None if part is None else part.to(device) for part in inputs))
            cache.put(keys, type(features)(*(None if part is None else part.cpu() for part in features)))
            bar.update(len(keys))
    encoder.to(home)
    return todo
