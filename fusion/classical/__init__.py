"""Classical fusions under the same contract, and their sizes for an equal number of parameters."""

from ._base import ClassicalFusion, classical_counterparts
from .concat import ConcatFusion, GatedFusion, LateFusion
from .matching import Match, match
from .products import LowRankFusion, MFBFusion, MultiplicativeFusion, TensorFusion
from .transformer import CrossModalTransformer

__all__ = [
    "ClassicalFusion",
    "ConcatFusion",
    "CrossModalTransformer",
    "GatedFusion",
    "LateFusion",
    "LowRankFusion",
    "MFBFusion",
    "Match",
    "MultiplicativeFusion",
    "TensorFusion",
    "classical_counterparts",
    "match",
]
