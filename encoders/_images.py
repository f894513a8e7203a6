"""What the vision encoders of all libraries share: pooling and pre-processing."""

from typing import Any

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.types import Features

from ._library import LibraryEncoder, check_choice
from .preprocess import ImagePreprocess

HALF = (0.5, 0.5, 0.5)


class ImageEncoder(LibraryEncoder):
    """Pooling and pre-processing, the same for every library."""

    _preprocess: ImagePreprocess
    pooling: str

    @property
    def preprocess(self) -> ImagePreprocess:
        return self._preprocess

    def features(self, cls: Tensor, patches: Tensor) -> Features:
        """(B, D), (B, T, D) -> Features, whose tokens are the patches."""
        mask = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        return Features(cls if self.pooling == "cls" else patches.mean(1), patches, mask)

    def resolved_preprocess(self) -> dict[str, Any]:
        p = self._preprocess
        return {"mean": list(p.mean), "std": list(p.std), "fit": p.fit, "interpolation": p.interpolation}


def image_preprocess(size: int, given: dict[str, Any], own: dict[str, Any]) -> ImagePreprocess:
    """What was given goes before what the weights came with (`own`), and that before the plain default."""
    chosen: dict[str, Any] = {"mean": HALF, "std": HALF} | own | {k: v for k, v in given.items() if v is not None}
    chosen |= {"mean": tuple(chosen["mean"]), "std": tuple(chosen["std"])}
    preprocess = ImagePreprocess(size, **chosen)
    check_choice("fit", preprocess.fit, ("crop", "squash"))
    check_choice("interpolation", preprocess.interpolation, ("nearest", "bilinear", "bicubic"))
    if len(preprocess.mean) != 3 or len(preprocess.std) != 3 or min(preprocess.std) <= 0:
        raise InputError(f"mean={preprocess.mean}, std={preprocess.std}: expected three numbers each, std above 0")
    return preprocess
