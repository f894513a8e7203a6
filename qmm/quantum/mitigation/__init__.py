"""Ways to take noise out of what is estimated. Each is a `Mitigation`; a backend takes a list of them."""

from qmm.quantum.mitigation.cancellation import Overhead, ProbabilisticErrorCancellation
from qmm.quantum.mitigation.decoupling import DynamicalDecoupling
from qmm.quantum.mitigation.detection import FourTwoTwo
from qmm.quantum.mitigation.readout import Trex
from qmm.quantum.mitigation.regression import CliffordDataRegression
from qmm.quantum.mitigation.subspace import M3
from qmm.quantum.mitigation.symmetrisation import Symmetrisation
from qmm.quantum.mitigation.twirling import PauliTwirling
from qmm.quantum.mitigation.zne import ZeroNoiseExtrapolation

__all__ = [
    "M3",
    "CliffordDataRegression",
    "DynamicalDecoupling",
    "FourTwoTwo",
    "Overhead",
    "PauliTwirling",
    "ProbabilisticErrorCancellation",
    "Symmetrisation",
    "Trex",
    "ZeroNoiseExtrapolation",
]
