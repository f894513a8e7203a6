"""Circuits of one register, by pure functions: feature maps, ansätze, observables; what circuits look like and cost."""

from qmm.circuits.ansatz import HardwareEfficient, rotations_and_ring
from qmm.circuits.contracts import Ansatz, Encoding, FeatureMap, Readout
from qmm.circuits.counting import Counts, count
from qmm.circuits.drawing import across_registers, draw, draw_latex, draw_text
from qmm.circuits.feature_maps import DenseAngleEncoding, angle_encoding
from qmm.circuits.multiplexing import diagonal_phases, multiplexed_rotation, real_state, split_angles
from qmm.circuits.observables import ZAndZZAcross, cross_pairs, z_of_each, zz_across
from qmm.circuits.superposition import SuperpositionEncoding, superposition_encoding

__all__ = [
    "Ansatz",
    "Counts",
    "DenseAngleEncoding",
    "Encoding",
    "FeatureMap",
    "HardwareEfficient",
    "Readout",
    "SuperpositionEncoding",
    "ZAndZZAcross",
    "across_registers",
    "angle_encoding",
    "count",
    "cross_pairs",
    "diagonal_phases",
    "draw",
    "draw_latex",
    "draw_text",
    "multiplexed_rotation",
    "real_state",
    "rotations_and_ring",
    "split_angles",
    "superposition_encoding",
    "z_of_each",
    "zz_across",
]
