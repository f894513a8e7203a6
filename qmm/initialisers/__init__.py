"""Initialisers: where the training of circuit weights starts."""

from qmm.initialisers.ada_init import AdaInit, Search
from qmm.initialisers.base import Initialiser, SearchingInitialiser, Uniform
from qmm.initialisers.distributions import Beta, OrthogonalLike, SmallAngle, Xavier
from qmm.initialisers.identity_blocks import IdentityBlocks, undoing
from qmm.initialisers.landscape import CircuitLandscape, Landscape, ModelLandscape
from qmm.initialisers.language_proposer import LanguageModel
from qmm.initialisers.proposers import Bayesian, EvolutionStrategy, Proposer, Task
from qmm.initialisers.structure import locality, trained_depth, trained_layers
from qmm.initialisers.warm_start import WarmStart

__all__ = [
    "AdaInit",
    "Bayesian",
    "Beta",
    "CircuitLandscape",
    "EvolutionStrategy",
    "IdentityBlocks",
    "Initialiser",
    "Landscape",
    "LanguageModel",
    "ModelLandscape",
    "OrthogonalLike",
    "Proposer",
    "Search",
    "SearchingInitialiser",
    "SmallAngle",
    "Task",
    "Uniform",
    "WarmStart",
    "Xavier",
    "locality",
    "trained_depth",
    "trained_layers",
    "undoing",
]
