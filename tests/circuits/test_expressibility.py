"""Expressibility, entanglement and effective dimension against the papers' values and independent formulas."""

import math
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import Statevector, partial_trace, random_statevector
from qiskit_machine_learning.neural_networks import EffectiveDimension, EstimatorQNN

from qmm.circuits import effective_dimension, entangling_capability, expressibility, haar_divergence, meyer_wallach
from qmm.errors import InputError
from qmm.quantum import Circuit, ExactEstimator, Probabilities, expectations

A, B, C = ParameterVector("w", 3)


def circuit_of(add: Callable[[QuantumCircuit], object], n_qubits: int = 1) -> Circuit:
    circuit = QuantumCircuit(n_qubits)
    add(circuit)
    return Circuit.of(circuit, observables=["Z" * n_qubits])


def haar(n_qubits: int, rows: int) -> NDArray[np.complex128]:
    return np.stack([random_statevector(2**n_qubits, seed=row).data for row in range(rows)])


def test_the_papers_single_qubit_circuits() -> None:
    """arXiv:1905.10876: about 4.30, 0.22, 0.02, and 0.007 for arbitrary unitaries, which is what 5000 Haar pairs make."""
    idle = circuit_of(lambda q: q.id(0))
    a = circuit_of(lambda q: (q.h(0), q.rz(A, 0)))
    b = circuit_of(lambda q: (q.h(0), q.rz(A, 0), q.rx(B, 0)))
    assert expressibility(idle) == pytest.approx(math.log(75), abs=1e-6)
    assert expressibility(a) == pytest.approx(0.22, abs=0.02)
    assert expressibility(b) == pytest.approx(0.02, abs=0.01)
    states = np.random.default_rng(0).normal(size=(2, 5000, 2, 2)) @ [1, 1j]
    states /= np.linalg.norm(states, axis=2, keepdims=True)
    assert haar_divergence(np.abs((states[0].conj() * states[1]).sum(axis=1)) ** 2, 1) == pytest.approx(0.007, abs=0.004)


def test_haar_random_states_diverge_by_chance_alone() -> None:
    for n_qubits in (1, 3):
        states = haar(n_qubits, 4000)
        fidelities = np.abs((states[::2].conj() * states[1::2]).sum(axis=1)) ** 2
        assert haar_divergence(fidelities, n_qubits, 10) == pytest.approx(0, abs=2 * 9 / (2 * 2000))


def test_haar_divergence_by_quadrature() -> None:
    """Histograms of the exact density itself diverge by nothing; all in the last bin, by minus the log of its share."""
    for n_qubits, bins in ((1, 75), (2, 10), (4, 5)):
        size = 2**n_qubits
        middle = np.repeat((np.arange(bins) + 0.5) / bins, 2)
        edges = np.linspace(0, 1, bins + 1)
        share = (1 - edges[:-1]) ** (size - 1) - (1 - edges[1:]) ** (size - 1)
        counts = np.round(share * 10**6).astype(int)
        assert haar_divergence(np.repeat(middle[::2], counts), n_qubits, bins) == pytest.approx(0, abs=1e-5)
        assert haar_divergence(np.ones(3), n_qubits, bins) == pytest.approx(-math.log(share[-1]))
    assert haar_divergence(np.ones(3), 12) == pytest.approx(4095 * math.log(75))  # where the share itself is 0 to a float


def test_samples_are_seeded_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = circuit_of(lambda q: (q.h(0), q.ry(A, 1), q.cx(0, 1), q.rz(B, 1)), 2)
    first = expressibility(circuit, 200, seed=1)
    assert first == expressibility(circuit, 200, seed=1) != expressibility(circuit, 200, seed=2)
    entangled = entangling_capability(circuit, 101)
    monkeypatch.setattr(sys.modules["qmm.circuits.expressibility"], "_AMPLITUDES", 4 * 16)  # 16 states a chunk
    assert expressibility(circuit, 200, seed=1) == pytest.approx(first)
    assert entangling_capability(circuit, 101) == pytest.approx(entangled, abs=1e-6)


def test_meyer_wallach_by_partial_traces() -> None:
    states = haar(3, 4)
    expected = [
        2 * (1 - np.mean([partial_trace(Statevector(s), [q for q in range(3) if q != k]).purity().real for k in range(3)]))
        for s in states
    ]
    np.testing.assert_allclose(meyer_wallach(states), expected, atol=1e-12)


def test_entanglement_of_known_states() -> None:
    ghz = circuit_of(lambda q: (q.h(0), q.cx(0, 1), q.cx(1, 2)), 3)
    product = circuit_of(lambda q: (q.ry(A, 0), q.rx(B, 1), q.h(2)), 3)
    bell_and_one = circuit_of(lambda q: (q.h(0), q.cx(0, 1), q.ry(A, 2)), 3)
    assert entangling_capability(ghz, 3) == pytest.approx(1, abs=1e-6)
    assert entangling_capability(product, 20) == pytest.approx(0, abs=1e-6)
    assert entangling_capability(bell_and_one, 20) == pytest.approx(2 / 3, abs=1e-6)


def test_entanglement_that_depends_on_an_angle() -> None:
    """RY(w), CX: the reduced states have purity 1 - sin(w)**2 / 2, so Q = sin(w)**2, on average 1/2."""
    circuit, (x,) = QuantumCircuit(2), ParameterVector("x", 1)
    circuit.ry(x, 0)
    circuit.cx(0, 1)
    read = Circuit.of(circuit, [x], [], ["ZZ"])
    assert entangling_capability(read, 3, inputs=torch.tensor([0.7])) == pytest.approx(math.sin(0.7) ** 2, abs=1e-5)
    assert entangling_capability(read, 4000) == pytest.approx(0.5, abs=5 * math.sqrt(1 / 8 / 4000))


def network(observables: list[str] | Probabilities) -> Circuit:
    circuit, x, w = QuantumCircuit(2), ParameterVector("x", 2), ParameterVector("w", 4)
    for qubit in range(2):
        circuit.ry(x[qubit], qubit)
        circuit.rz(w[2 * qubit], qubit)
        circuit.ry(w[2 * qubit + 1], qubit)
    circuit.cx(0, 1)
    return Circuit.of(circuit, list(x), list(w), observables)


def abbas(fisher: NDArray[np.float64], data_size: int) -> float:
    """(weight samples, W, W) -> the effective dimension, term by term from the definition."""
    n_weights = fisher.shape[-1]
    normalised = n_weights * fisher / np.trace(fisher, axis1=1, axis2=2).mean()
    factor = data_size / (2 * math.pi * math.log(data_size))
    roots = [math.sqrt(np.linalg.det(np.eye(n_weights) + factor * f)) for f in normalised]
    return 2 * math.log(np.mean(roots)) / math.log(factor)


@pytest.mark.parametrize("read", [["ZZ", "IX"], Probabilities((0, 1)), Probabilities((0, 1), (0, 1, 1, 0))])
def test_effective_dimension_by_definition(read: list[str] | Probabilities) -> None:
    circuit, inputs = network(read), torch.rand(3, 2, dtype=torch.float64)
    weights = 2 * math.pi * torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def outcomes(w: torch.Tensor) -> torch.Tensor:
        values = expectations(circuit, inputs, w)
        return values if isinstance(read, Probabilities) else torch.cat([(1 + values) / 2, (1 - values) / 2], dim=1)

    fisher = []
    for w in weights:
        slopes = torch.func.jacrev(outcomes)(w) / outcomes(w).sqrt().unsqueeze(-1)
        fisher.append((torch.einsum("boi,boj->ij", slopes, slopes) / len(inputs)).numpy())
    found = effective_dimension(circuit, 1000, inputs, samples=4, seed=5)
    assert found.effective == pytest.approx(abbas(np.stack(fisher), 1000))
    assert found.parameters == 4
    assert found.share == found.effective / 4


def test_effective_dimension_as_qiskit_machine_learning_has_it() -> None:
    circuit, inputs = network(["ZZ"]), np.random.default_rng(0).uniform(size=(2, 2))
    weights = (2 * math.pi * torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).numpy()
    qnn = EstimatorQNN(
        circuit=circuit.quantum_circuit,
        estimator=ExactEstimator(),
        observables=circuit.observables[0],
        input_params=circuit.inputs,
        weight_params=circuit.weights,
    )
    expected = EffectiveDimension(qnn, weights, inputs).get_effective_dimension(500)
    assert effective_dimension(circuit, 500, torch.as_tensor(inputs), 3, 1).effective == pytest.approx(
        float(expected), abs=1e-6
    )


def test_a_weight_that_changes_nothing_does_not_count() -> None:
    circuit = QuantumCircuit(1)
    circuit.ry(A, 0)
    circuit.rz(B, 0)
    found = effective_dimension(Circuit.of(circuit, observables=["Z"]), 10**6)
    assert found.parameters == 2
    assert found.effective < 1.2
    both = effective_dimension(Circuit.of(circuit, observables=["Z", "X"]), 10**6)
    assert both.effective > 1.5


def test_coefficients_of_one_string_are_no_information() -> None:
    circuit = network(["ZZ"])
    scaled = circuit._replace(observables=tuple(3 * o for o in circuit.observables))
    assert effective_dimension(scaled, samples=3) == pytest.approx(effective_dimension(circuit, samples=3))


def test_bad_input() -> None:
    circuit = network(["ZZ"])
    with pytest.raises(InputError, match="pairs=0"):
        expressibility(circuit, 0)
    with pytest.raises(InputError, match="bins=0"):
        expressibility(circuit, 1, 0)
    with pytest.raises(InputError, match="samples=0"):
        entangling_capability(circuit, 0)
    with pytest.raises(InputError, match=r"\(3,\); give \(2,\)"):
        expressibility(circuit, 1, inputs=torch.zeros(3))
    with pytest.raises(InputError, match=r"give \(B, 2\)"):
        effective_dimension(circuit, inputs=torch.zeros(2))
    with pytest.raises(InputError, match="19 or more"):
        effective_dimension(circuit, 18)
    with pytest.raises(InputError, match="without weights"):
        effective_dimension(Circuit.of(QuantumCircuit(1), observables=["Z"]))
