"""Ways to take noise out of what is estimated. Each is a `Mitigation`; a backend takes a list of them."""

from qmm.quantum.mitigation.decoupling import DynamicalDecoupling
from qmm.quantum.mitigation.readout import Trex
from qmm.quantum.mitigation.subspace import M3
from qmm.quantum.mitigation.twirling import PauliTwirling
from qmm.quantum.mitigation.zne import ZeroNoiseExtrapolation

__all__ = ["M3", "DynamicalDecoupling", "PauliTwirling", "Trex", "ZeroNoiseExtrapolation"]
