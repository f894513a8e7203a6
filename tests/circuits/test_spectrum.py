"""The frequencies that a feature map is said to make accessible, against a Fourier transform of what is measured."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import UnitaryGate
from qiskit.quantum_info import random_unitary

from qmm.circuits import (
    AmplitudeEncoding,
    AngleEncoding,
    BasisEncoding,
    DataReuploading,
    DenseAngleEncoding,
    FeatureMap,
    FourierEncoding,
    HamiltonianEvolution,
    IQPEncoding,
    ZZEncoding,
    accessible_frequencies,
)
from qmm.errors import InputError
from qmm.quantum import Circuit, expectations


def exact(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def built(feature_map: Any, features: int, spare: int = 0, uploads: int = 1) -> Any:
    feature_map.build(features, feature_map.least_qubits(features) + spare, uploads)
    return feature_map.double()


def found_frequencies(feature_map: FeatureMap, others: list[float], periods: int, samples: int) -> set[float]:
    """By a Fourier transform of an expectation value over feature 0, random unitaries around the uploads."""
    n, uploads = feature_map.n_qubits, feature_map.uploads
    named = [Parameter(f"x{i}") for i in range(feature_map.n_angles)]
    circuit = QuantumCircuit(n)
    for upload in range(uploads):
        circuit.append(UnitaryGate(random_unitary(2**n, seed=upload)), range(n))
        circuit.compose(feature_map.circuit(named, upload), range(n), inplace=True)
    circuit.append(UnitaryGate(random_unitary(2**n, seed=uploads)), range(n))
    rows = exact([[x, *others[1:]] for x in 2 * np.pi * periods * np.arange(samples) / samples])
    with torch.no_grad():
        values = expectations(Circuit.of(circuit, named, (), ["Z" * n]), feature_map(rows), rows.new_zeros(0))
    size = np.abs(np.fft.rfft(values[:, 0].numpy())) / samples
    return {float(w) for w in np.flatnonzero(size > 1e-9) / periods}


@pytest.mark.parametrize(
    ("feature_map", "features", "uploads", "expected"),
    [
        (AngleEncoding("x"), 2, 1, {0, 1}),
        (AngleEncoding("z"), 2, 3, {0, 1, 2, 3}),
        (DenseAngleEncoding(), 3, 2, {0, 1, 2}),
        (FourierEncoding(), 1, 1, set(range(5))),
        (FourierEncoding(), 1, 2, set(range(41))),
        (FourierEncoding(over="uploads", copies=1), 2, 2, set(range(5))),
        (HamiltonianEvolution(order=1, steps=2), 2, 1, {0, 0.5, 1}),
        (HamiltonianEvolution(order=2, steps=2), 2, 2, {i / 4 for i in range(9)}),
    ],
)
def test_accessible_frequencies_are_those_of_a_fourier_transform(feature_map, features, uploads, expected):
    feature_map = built(feature_map, features, uploads=uploads)
    assert set(accessible_frequencies(feature_map)) == expected
    assert found_frequencies(feature_map, [1.0] * features, periods=4, samples=400) == expected


def test_trained_scales_move_the_frequencies():
    feature_map = built(DataReuploading(), 2, uploads=2)
    with torch.no_grad():
        feature_map.scale[:, 0] = exact([-0.5, 2.0])
    assert accessible_frequencies(feature_map) == (0, 0.5, 1.5, 2, 2.5)
    assert accessible_frequencies(feature_map, upload=0) == (0, 0.5)
    assert found_frequencies(feature_map, [1.0, 1.0], periods=2, samples=40) == {0, 0.5, 1.5, 2, 2.5}


@pytest.mark.parametrize(
    ("feature_map", "others"), [(IQPEncoding(2), [0.0, 0.5, 2.0]), (ZZEncoding(1), [0, math.pi - 0.25, math.pi - 1.5])]
)
def test_where_features_are_multiplied_the_others_tell_the_frequencies(feature_map, others):
    feature_map = built(feature_map, 3)
    allowed = set(accessible_frequencies(feature_map, others=others))
    found = found_frequencies(feature_map, others, periods=4, samples=400)
    assert found <= allowed
    assert max(found) == max(allowed) > 1


def test_the_frequencies_are_said():
    assert built(AngleEncoding(), 3).describe().spectrum == "frequencies 0, 1 in each feature, an upload"
    assert "frequencies 0, 1, 2, 3, 4 in" in built(FourierEncoding(), 1).describe().spectrum
    assert "0, 1, 2 ... 13 (14 of them)" in built(FourierEncoding(copies=3), 1).describe().spectrum
    for feature_map in (BasisEncoding(), AmplitudeEncoding()):
        with pytest.raises(InputError, match=f"{type(feature_map).__name__}: an angle is not affine in feature 1"):
            accessible_frequencies(built(feature_map, 2), 1)
