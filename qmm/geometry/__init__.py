"""The geometry of circuits' states, and instruments that tell how their training fares."""

from qmm.geometry.entanglement import between_registers, entropy, mutual_information
from qmm.geometry.fisher import fubini_study, tangents, weight_blocks
from qmm.geometry.gradients import angle_spread, cosines, output_gradients, weight_layers
from qmm.geometry.outcomes import classical_fisher, local_effective_dimension
from qmm.geometry.sampled import sampled_fubini_study

__all__ = [
    "angle_spread",
    "between_registers",
    "classical_fisher",
    "cosines",
    "entropy",
    "fubini_study",
    "local_effective_dimension",
    "mutual_information",
    "output_gradients",
    "sampled_fubini_study",
    "tangents",
    "weight_blocks",
    "weight_layers",
]
