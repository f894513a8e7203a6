"""Initialisers: where the training of circuit weights starts."""

from qmm.initialisers.base import Initialiser, Uniform
from qmm.initialisers.distributions import Beta, OrthogonalLike, SmallAngle, Xavier
from qmm.initialisers.identity_blocks import IdentityBlocks, undoing
from qmm.initialisers.structure import locality, trained_depth, trained_layers

__all__ = [
    "Beta",
    "IdentityBlocks",
    "Initialiser",
    "OrthogonalLike",
    "SmallAngle",
    "Uniform",
    "Xavier",
    "locality",
    "trained_depth",
    "trained_layers",
    "undoing",
]
