"""Feature maps: features of one modality -> angles -> a circuit that writes these into a register."""

from qmm.circuits.feature_maps.amplitude import AmplitudeEncoding, amplitude_encoding, amplitude_turns
from qmm.circuits.feature_maps.angle import AngleEncoding, DenseAngleEncoding, angle_encoding, rotation_encoding
from qmm.circuits.feature_maps.approximate import ApproximateAmplitudeEncoding, fit_staircase, staircase
from qmm.circuits.feature_maps.basis import BasisEncoding
from qmm.circuits.feature_maps.diagonal import IQPEncoding, ZZEncoding, coupled_pairs, iqp_encoding, zz_encoding
from qmm.circuits.feature_maps.hamiltonian import (
    CouplingGraph,
    HamiltonianEvolution,
    coupling_graph,
    hamiltonian_evolution,
)
from qmm.circuits.feature_maps.reuploading import (
    DataReuploading,
    FourierEncoding,
    euler_encoding,
    fourier_frequencies,
)
from qmm.circuits.feature_maps.spectrum import accessible_frequencies
from qmm.circuits.feature_maps.suggestion import Suggestion, suggest_encoding

__all__ = [
    "AmplitudeEncoding",
    "AngleEncoding",
    "ApproximateAmplitudeEncoding",
    "BasisEncoding",
    "CouplingGraph",
    "DataReuploading",
    "DenseAngleEncoding",
    "FourierEncoding",
    "HamiltonianEvolution",
    "IQPEncoding",
    "Suggestion",
    "ZZEncoding",
    "accessible_frequencies",
    "amplitude_encoding",
    "amplitude_turns",
    "angle_encoding",
    "coupled_pairs",
    "coupling_graph",
    "euler_encoding",
    "fit_staircase",
    "fourier_frequencies",
    "hamiltonian_evolution",
    "iqp_encoding",
    "rotation_encoding",
    "staircase",
    "suggest_encoding",
    "zz_encoding",
]
