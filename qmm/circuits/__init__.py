"""Circuits of one register, by pure functions: feature maps, ansätze, observables; what circuits look like and cost."""

from qmm.circuits.ansatz import HardwareEfficient, rotations_and_ring
from qmm.circuits.contracts import Ansatz, Encoding, FeatureMap, Readout
from qmm.circuits.counting import Counts, count, state_bytes, step_time
from qmm.circuits.drawing import across_registers, draw, draw_latex, draw_text
from qmm.circuits.expressibility import (
    Dimension,
    effective_dimension,
    entangling_capability,
    expressibility,
    haar_divergence,
    meyer_wallach,
)
from qmm.circuits.feature_maps import DenseAngleEncoding, angle_encoding
from qmm.circuits.hardware import HardwareCost, device, devices, hardware_cost
from qmm.circuits.light_cone import drop_unfelt
from qmm.circuits.long_range import LongRange, long_range_layer
from qmm.circuits.measurement import Setting, measured, settings, shots, shots_per_setting
from qmm.circuits.multiplexing import diagonal_phases, multiplexed_rotation, phase_turns, real_state, state_turns, turns_of
from qmm.circuits.observables import (
    basis_state_projectors,
    cross_pairs,
    parities,
    pauli_strings,
    random_paulis,
    z_of_each,
    zz_across,
)
from qmm.circuits.readouts import (
    Parity,
    PauliStrings,
    RandomPaulis,
    RegisterProbabilities,
    SingleRegister,
    TrainableObservable,
    ZAndZZAcross,
    ZReadout,
)
from qmm.circuits.superposition import SuperpositionEncoding, superposition_encoding

__all__ = [
    "Ansatz",
    "Counts",
    "DenseAngleEncoding",
    "Dimension",
    "Encoding",
    "FeatureMap",
    "HardwareCost",
    "HardwareEfficient",
    "LongRange",
    "Parity",
    "PauliStrings",
    "RandomPaulis",
    "Readout",
    "RegisterProbabilities",
    "Setting",
    "SingleRegister",
    "SuperpositionEncoding",
    "TrainableObservable",
    "ZAndZZAcross",
    "ZReadout",
    "across_registers",
    "angle_encoding",
    "basis_state_projectors",
    "count",
    "cross_pairs",
    "device",
    "devices",
    "diagonal_phases",
    "draw",
    "draw_latex",
    "draw_text",
    "drop_unfelt",
    "effective_dimension",
    "entangling_capability",
    "expressibility",
    "haar_divergence",
    "hardware_cost",
    "long_range_layer",
    "measured",
    "meyer_wallach",
    "multiplexed_rotation",
    "parities",
    "pauli_strings",
    "phase_turns",
    "random_paulis",
    "real_state",
    "rotations_and_ring",
    "settings",
    "shots",
    "shots_per_setting",
    "state_bytes",
    "state_turns",
    "step_time",
    "superposition_encoding",
    "turns_of",
    "z_of_each",
    "zz_across",
]
