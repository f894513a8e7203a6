"""Bits as estimates: each way of reading them against every shot evaluated by itself."""

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BitArray, DataBin, SamplerPubResult
from qiskit.quantum_info import Pauli, SparsePauliOp

import qmm.quantum.execution.answers
from qmm.quantum.execution.answers import estimates_of_samples
from qmm.quantum.execution.requests import Request
from qmm.quantum.settings import Measurement


def request_of(n_qubits: int, rng: np.random.Generator, rows: int, shots: int) -> Request:
    basis = "".join(rng.choice(list("XYZI"), n_qubits, p=[0.3, 0.3, 0.3, 0.1]))

    def string() -> str:
        return "".join(axis if rng.random() < 0.5 else "I" for axis in basis)

    observables = tuple(SparsePauliOp([string() for _ in range(terms)], rng.normal(size=terms)) for terms in (1, 3, 5))
    measurement = Measurement(observables, (Pauli(basis),), (0,) * len(observables))
    return Request(QuantumCircuit(n_qubits), (), np.zeros((rows, 0)), measurement, shots)


@pytest.mark.parametrize("cells", [1, 2**10, 2**22], ids=lambda cells: f"{cells} at once")
# Three that are counted, three that are read shot by shot
@pytest.mark.parametrize(("n_qubits", "shots"), [(3, 50), (9, 700), (12, 700), (12, 40), (20, 30), (75, 30)])
def test_means_and_variances_over_shots(n_qubits: int, shots: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmm.quantum.execution.answers, "_CELLS", cells)
    rng = np.random.default_rng(n_qubits)
    request = request_of(n_qubits, rng, 7, shots)
    (basis,) = request.measurement.bases
    measured = np.flatnonzero(basis.x | basis.z)
    bits = rng.random((7, shots, len(measured))) < 0.3
    result = SamplerPubResult(DataBin(measured=BitArray.from_bool_array(bits, order="little"), shape=(7,)))
    found = estimates_of_samples(request, [result])
    for column, observable in enumerate(request.measurement.observables):
        samples = np.zeros((7, shots))
        for pauli, coefficient in zip(observable.paulis, observable.coeffs.real, strict=True):
            places = [i for i, qubit in enumerate(measured) if (pauli.x | pauli.z)[qubit]]
            samples += coefficient * (-1.0) ** bits[..., places].sum(axis=-1)
        np.testing.assert_allclose(found.values[:, column], samples.mean(axis=1), atol=1e-12)
        np.testing.assert_allclose(found.variances[:, column], samples.var(axis=1, ddof=1) / shots, atol=1e-12)


def test_one_shot_has_no_spread() -> None:
    request = request_of(4, np.random.default_rng(1), 2, 1)
    width = len(np.flatnonzero(request.measurement.bases[0].x | request.measurement.bases[0].z))
    bits = BitArray.from_bool_array(np.ones((2, 1, width), bool), order="little")
    found = estimates_of_samples(request, [SamplerPubResult(DataBin(measured=bits, shape=(2,)))])
    assert np.isfinite(found.values).all()
    assert not found.variances.any()
