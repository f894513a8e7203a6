"""What is suggested for which data, and that the explanation holds the numbers it is based on."""

import re

import numpy as np
import pytest
import torch

from qmm.circuits import AmplitudeEncoding, ApproximateAmplitudeEncoding, suggest_encoding
from qmm.errors import InputError

RANDOM = np.random.default_rng(0)
TIMES = np.linspace(0, 1, 16)
WAVES = np.sin(2 * np.pi * (TIMES * RANDOM.uniform(0.5, 2, (50, 1)) + RANDOM.uniform(0, 1, (50, 1))))
TOGETHER = RANDOM.normal(size=(50, 1)) + 0.3 * RANDOM.normal(size=(50, 5))


@pytest.mark.parametrize(
    ("features", "kind", "qubits", "expected", "said"),
    [
        (WAVES, None, None, "ApproximateAmplitudeEncoding", r"taken for a time series.*mean fidelity of (0.99|1.00)"),
        (WAVES[:, :3], "time_series", 6, "FourierEncoding", "two qubits"),
        (RANDOM.normal(size=(50, 5)), "time_series", 7, "HamiltonianEvolution", "in a chain"),
        (RANDOM.normal(size=(50, 4)), None, None, "AngleEncoding", "taken for a vector.*4 of 8 qubits"),
        (TOGETHER, None, None, "HamiltonianEvolution", "couples those that go together, 10 of 10 pairs"),
        (RANDOM.normal(size=(50, 12)), None, None, "DenseAngleEncoding", "two a qubit"),
        (RANDOM.normal(size=(50, 20)), "vector", 7, "DataReuploading", "three a qubit"),
        (RANDOM.normal(size=(50, 64)), None, None, "AmplitudeEncoding", "62 CX.*mean fidelity of 0.7"),
        (RANDOM.integers(0, 2, (50, 5)), None, None, "BasisEncoding", "taken for categories.*threshold 0.5"),
        (np.eye(9)[RANDOM.integers(0, 9, 50)], None, None, "AmplitudeEncoding", "each of the 9 categories a basis state"),
        (RANDOM.integers(0, 5, (50, 4)), None, None, "AngleEncoding", "5 different values are no bits.*3 bits each"),
        (100 * RANDOM.normal(size=(50, 3)), None, None, "AngleEncoding", r"bring them to \[0, pi\]"),
    ],
)
def test_each_kind_of_data_has_its_encoding(features, kind, qubits, expected, said):
    found = suggest_encoding(features, kind, qubits)
    assert type(found.feature_map).__name__ == expected
    assert re.search(said, found.explanation), found.explanation
    least = found.feature_map.least_qubits(np.shape(features)[1])
    assert least <= (qubits or 8)
    assert f"It takes {least} of" in found.explanation
    found.feature_map.build(np.shape(features)[1], least)
    assert found.feature_map(torch.tensor(features, dtype=torch.float64)).isfinite().all()


def test_the_fidelity_and_the_gates_told_are_true():
    found = suggest_encoding(torch.from_numpy(WAVES))
    near, exact = found.feature_map, AmplitudeEncoding()
    assert isinstance(near, ApproximateAmplitudeEncoding)
    near.build(16, 4)
    exact.build(16, 4)
    assert f"mean fidelity of {near.fidelity(torch.from_numpy(WAVES)).mean():.3f}" in found.explanation
    assert f"with {near.describe().two_qubit_gates} two-qubit gates; the exact state takes 14" in found.explanation
    assert exact.describe().two_qubit_gates == 14


def test_what_is_refused():
    rows = RANDOM.normal(size=(5, 64))
    with pytest.raises(InputError, match="64 features for 5 qubits, which hold at most 32 as amplitudes; give it 6"):
        suggest_encoding(rows, qubits=5)
    with pytest.raises(InputError, match="row 0 is all zeros"):
        suggest_encoding(rows * np.arange(5)[:, None])
    with pytest.raises(InputError, match=r"shape \(5,\)"):
        suggest_encoding(rows[:, 0])
    with pytest.raises(InputError, match="finite"):
        suggest_encoding(rows * np.nan)
    with pytest.raises(InputError, match="did you mean 'vector'"):
        suggest_encoding(rows, "vectors")
    with pytest.raises(InputError, match="qubits=0"):
        suggest_encoding(rows, qubits=0)
