"""FeatureCaching: frozen encoders run once over the data; later epochs, runs and studies read what they found."""

import itertools
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from tqdm.auto import tqdm

from qmm.contracts import Encoder
from qmm.errors import InputError
from qmm.feature_cache import FeatureCache, encoder_fingerprint
from qmm.types import Features

log = logging.getLogger(__name__)


class FeatureCaching(Callback):
    """Fills a `FeatureCache` for every frozen encoder and has the data module hand out cached features.

    Augmentations of a cached modality have no effect: its features are those of the unchanged file. Tokens are kept for a
    decoder that attends to them, and for no other: 196 patches of width 768 take 0.6 MB a picture, pooled ones 3 kB.

    Args:
        folder: Where the features are kept; shared by runs, since they are keyed by content, weights and pre-processing.
    """

    def __init__(self, folder: str):
        self.folder = Path(folder).expanduser()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        branches, attends = pl_module.model.branches, getattr(pl_module.model.decoder, "attends", False)
        encoders = {modality: branch.encoder for modality, branch in branches.items()}
        data.connect({modality: encoder.preprocess for modality, encoder in encoders.items()})
        for modality in cache_frozen(data, encoders, self.folder, trainer.strategy.root_device, attends):
            if modality in (getattr(data, "augment", None) or {}):
                log.warning("%s features are cached: the augmentation of %s has no effect", modality, modality)


def cache_frozen(
    data: Any, encoders: Mapping[str, Encoder], folder: str | Path, device: torch.device, tokens: bool = False
) -> list[str]:
    """Has a data module, connected to these encoders, hand out features of the frozen ones, kept in the folder. Returns their
    modalities.

    `tokens`: Keep them too, for a decoder that attends to them.
    """
    frozen = [modality for modality, encoder in encoders.items() if encoder.frozen]
    for modality in frozen:
        cache = FeatureCache(folder, encoder_fingerprint(encoders[modality]), tokens=tokens)
        fill(cache, encoders[modality], data, modality, device)
        data.cached[modality] = cache
    return frozen


@torch.no_grad()
def fill(cache: FeatureCache, encoder: Encoder, data: Any, modality: str, device: torch.device) -> int:
    """Encode what the cache lacks; returns how many contents that were. Kept batch by batch, so a kill loses one batch.

    Raises InputError after the first batch when the disk will not hold the rest.
    """
    loaders = [data.contents(modality, split, known=cache) for split in data.rows]
    todo = sum(len(loader.dataset) for loader in loaders)
    if not todo:
        return 0
    encoder.to(device).eval()
    with tqdm(total=todo, desc=f"caching {modality} features", unit="sample") as bar:
        for batch in itertools.chain(*loaders):
            features: Features = encoder(*(None if part is None else part.to(device) for part in batch.inputs[modality]))
            cache.put(batch.ids, Features._make(None if part is None else part.cpu() for part in features))
            if not bar.n:
                _check_room(cache, modality, sum(part.nbytes for part in features if part is not None), len(batch.ids), todo)
            bar.update(len(batch.ids))
    return todo


def _check_room(cache: FeatureCache, modality: str, size: int, samples: int, todo: int) -> None:
    """`size` bytes were what so many samples take."""
    needed, free = size * (todo - samples) // samples, shutil.disk_usage(cache.folder).free
    if needed > free:
        raise InputError(
            f"the features of {modality} need {needed / 1e9:.1f} GB more, and {cache.folder} has {free / 1e9:.1f} GB left; "
            "choose another folder with --cache, or leave it out"
        )
