"""Which encoding suits the data: looked at, measured, and said in plain words."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from qmm.circuits.contracts import FeatureMap
from qmm.circuits.feature_maps.amplitude import AmplitudeEncoding
from qmm.circuits.feature_maps.angle import AngleEncoding, DenseAngleEncoding
from qmm.circuits.feature_maps.approximate import ApproximateAmplitudeEncoding
from qmm.circuits.feature_maps.basis import BasisEncoding
from qmm.circuits.feature_maps.hamiltonian import HamiltonianEvolution
from qmm.circuits.feature_maps.reuploading import DataReuploading, FourierEncoding
from qmm.circuits.gates import check_name
from qmm.errors import InputError

KINDS = ("vector", "time_series", "categories")
_QUBITS = 8  # where none are given: a register that any machine simulates at once
_FAITHFUL = 0.95  # mean fidelity from which on an approximate state is worth its lower depth
_LAYERS = 3
_CORRELATED = 0.5
_SMOOTH = 0.7  # correlation of neighbouring columns that is taken for a time series ...
_CLOSER = 0.1  # ... if it is by so much above that of any two
_LEVELS = 10
_ROWS = 256  # enough for a mean


class Suggestion(NamedTuple):
    feature_map: FeatureMap
    """Not yet built."""
    explanation: str
    """In sentences, with the numbers it is based on."""


def suggest_encoding(features: Tensor | ArrayLike, kind: str | None = None, qubits: int | None = None) -> Suggestion:
    """A feature map for (N, k) features, and why.

    Args:
        features: At least 2 rows, better some hundred.
        kind: "vector", "time_series" (columns in the order of time) or "categories"; by default guessed from the values.
        qubits: Of the register, at most; by default 8.

    Raises InputError for features that are not (N, k), not finite or too few, and for more than the register can hold.
    """
    given = features.detach().cpu().numpy() if isinstance(features, Tensor) else features
    rows = np.asarray(given, dtype=float)
    if rows.ndim != 2 or len(rows) < 2 or not rows.shape[1] or not np.isfinite(rows).all():
        raise InputError(f"features of shape {rows.shape}; a suggestion takes (N, k) finite numbers, N at least 2")
    if qubits is not None and qubits < 1:
        raise InputError(f"qubits={qubits}; a register has at least 1")
    register = _QUBITS if qubits is None else qubits
    if kind is None:
        kind, because = _guess(rows)
    else:
        because = f"{rows.shape[1]} features, given as {check_name('kind of data', kind, KINDS)}"
    suggest = {"categories": _for_categories, "time_series": _for_series, "vector": _for_vectors}[kind]
    feature_map, reason = suggest(rows, register)
    least = feature_map.least_qubits(rows.shape[1])
    room = f"It takes {least} of {register} qubits{'' if qubits else ' (the default limit)'}."
    return Suggestion(feature_map, f"{because}. {reason} {room}{_range_of(feature_map, rows)}")


def _guess(rows: NDArray[np.float64]) -> tuple[str, str]:
    features = rows.shape[1]
    levels = len(np.unique(rows))
    if levels <= _LEVELS and (rows == np.round(rows)).all():
        return "categories", f"{features} features of {levels} whole values in all: taken for categories"
    smooth = _neighbours(rows)
    anywhere = float(_correlations(rows).sum() / max(features * (features - 1), 1))
    if features >= 4 and smooth >= max(_SMOOTH, anywhere + _CLOSER):
        compared = f"neighbours correlated by {smooth:.2f}, any two by {anywhere:.2f}"
        return "time_series", f"{features} features, {compared}: taken for a time series"
    return "vector", f"{features} features of no visible order (neighbours correlated by {smooth:.2f}): taken for a vector"


def _for_categories(rows: NDArray[np.float64], register: int) -> tuple[FeatureMap, str]:
    features, values = rows.shape[1], np.unique(rows)
    if features > 1 and ((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all():
        one_hot = AmplitudeEncoding()
        if one_hot.least_qubits(features) <= register:
            return one_hot, (
                f"Each row has a single 1, so that AmplitudeEncoding makes each of the {features} categories a basis state of "
                "its own, on as few qubits as can tell them apart."
            )
    if len(values) <= 2 and features <= register:
        middle = float(values.mean())
        return BasisEncoding(threshold=middle), (
            f"The values are {' and '.join(f'{v:g}' for v in values)}: BasisEncoding with the threshold {middle:g} makes each "
            "a qubit's bit, and rows that differ are orthogonal states."
        )
    if features <= register:
        return AngleEncoding(), (
            f"{len(values)} different values are no bits: AngleEncoding gives each feature a qubit and keeps their order. "
            f"Where the order means nothing, {math.ceil(math.log2(len(values)))} bits each and BasisEncoding keep them apart."
        )
    return _amplitudes(rows, register, f"{features} features are more than {register} qubits hold one by one.")


def _for_series(rows: NDArray[np.float64], register: int) -> tuple[FeatureMap, str]:
    features, smooth = rows.shape[1], _neighbours(rows)
    if 2 * features <= register:
        return FourierEncoding(), (
            f"Few steps with room to spare: FourierEncoding writes each of the {features} on two qubits, at frequencies 1 and "
            "3, with which a model follows it up to frequency 4."
        )
    if features <= register:
        return HamiltonianEvolution(), (
            f"Neighbouring steps are correlated by {smooth:.2f}: HamiltonianEvolution couples the {features} steps in a chain, "
            "each to the next."
        )
    if rows.any(axis=1).all() and ApproximateAmplitudeEncoding().least_qubits(features) <= register:
        near, fidelity = _nearest(rows)
        if fidelity >= _FAITHFUL:
            return near, f"Neighbouring steps are correlated by {smooth:.2f}. {_fidelity_said(near, fidelity, features)}"
    return _by_width(rows, register)


def _for_vectors(rows: NDArray[np.float64], register: int) -> tuple[FeatureMap, str]:
    features = rows.shape[1]
    strongest = float(_correlations(rows).max(axis=0).mean()) if features > 1 else 0.0
    if 1 < features <= register and strongest >= _CORRELATED:
        graph = HamiltonianEvolution.of_data(rows, _CORRELATED)
        return graph, (
            f"A feature's strongest correlation with another is {strongest:.2f} on average: HamiltonianEvolution couples those "
            f"that go together, {len(graph.edges or ())} of {features * (features - 1) // 2} pairs."
        )
    if features <= register:
        return AngleEncoding(), (
            f"A feature's strongest correlation with another is {strongest:.2f} on average, so that nothing asks for coupling, "
            f"and {features} features fit: AngleEncoding, the shallowest, gives each a qubit."
        )
    return _by_width(rows, register)


def _by_width(rows: NDArray[np.float64], register: int) -> tuple[FeatureMap, str]:
    features = rows.shape[1]
    if features <= 2 * register:
        return DenseAngleEncoding(), f"{features} features on {register} qubits are up to two a qubit: DenseAngleEncoding."
    if features <= 3 * register:
        return DataReuploading(), (
            f"{features} features on {register} qubits are up to three a qubit: DataReuploading turns each qubit about two "
            "axes, with trained scales."
        )
    return _amplitudes(rows, register, f"{features} features are more than three for each of {register} qubits.")


def _amplitudes(rows: NDArray[np.float64], register: int, why: str) -> tuple[FeatureMap, str]:
    """Raises InputError where not even amplitudes have room, or a row has no length."""
    features = rows.shape[1]
    exact = AmplitudeEncoding()
    least = exact.least_qubits(features)
    if least > register:
        raise InputError(
            f"{features} features for {register} qubits, which hold at most {2**register} as amplitudes; give it {least} "
            "qubits, or let a compressor make fewer features"
        )
    empty = np.flatnonzero(~rows.any(axis=1))
    if len(empty):
        raise InputError(
            f"{why} Amplitudes have room, but row {empty[0]} is all zeros, which has no direction: add a constant to the "
            "features, give more qubits, or let a compressor make fewer features"
        )
    near, fidelity = _nearest(rows)
    if fidelity >= _FAITHFUL:
        return near, f"{why} {_fidelity_said(near, fidelity, features)}"
    return exact, (
        f"{why} AmplitudeEncoding holds them all, with {_two_qubit_gates(exact, features)} CX; {_LAYERS} low-depth layers "
        f"would reach a mean fidelity of {fidelity:.3f} only. Their length is lost: norm='angle' keeps it, on one qubit more."
    )


def _nearest(rows: NDArray[np.float64]) -> tuple[ApproximateAmplitudeEncoding, float]:
    """Of as few layers as are faithful, and the mean fidelity."""
    shown = torch.from_numpy(rows[:: math.ceil(len(rows) / _ROWS)])
    for layers in range(1, _LAYERS + 1):
        found = ApproximateAmplitudeEncoding(layers)
        found.build(rows.shape[1], found.least_qubits(rows.shape[1]))
        fidelity = float(found.fidelity(shown).mean())
        if fidelity >= _FAITHFUL:
            break
    return ApproximateAmplitudeEncoding(layers), fidelity


def _fidelity_said(near: ApproximateAmplitudeEncoding, fidelity: float, features: int) -> str:
    cheap, dear = (_two_qubit_gates(m, features) for m in (near, AmplitudeEncoding()))
    return (
        f"ApproximateAmplitudeEncoding with {near.layers} layer{'s' * (near.layers > 1)} reaches a mean fidelity of "
        f"{fidelity:.3f} with {cheap} two-qubit gates; the exact state takes {dear}."
    )


def _two_qubit_gates(feature_map: FeatureMap, features: int) -> int:
    feature_map.build(features, feature_map.least_qubits(features))
    return feature_map.describe().two_qubit_gates


def _range_of(feature_map: FeatureMap, rows: NDArray[np.float64]) -> str:
    low, high = float(rows.min()), float(rows.max())
    if isinstance(feature_map, AmplitudeEncoding | BasisEncoding) or high - low <= 2 * math.pi:
        return ""
    return f" The values go from {low:.3g} to {high:.3g}; a rotation repeats after 2 pi, so bring them to [0, pi] first."


def _correlations(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k, k): their sizes, 0 on the diagonal and for constant features."""
    centred = rows - rows.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=0)
    centred = centred / np.where(lengths > 0, lengths, 1.0)
    sizes: NDArray[np.float64] = np.abs(centred.T @ centred)
    np.fill_diagonal(sizes, 0.0)
    return sizes


def _neighbours(rows: NDArray[np.float64]) -> float:
    """Mean correlation (in size) of each column with the next; 0 for one column."""
    return float(np.diagonal(_correlations(rows), 1).mean()) if rows.shape[1] > 1 else 0.0
