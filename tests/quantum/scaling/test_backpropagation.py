"""Circuits whose end is taken into their observables: the same values, fewer gates, errors within what is told."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Clifford, SparsePauliOp, random_clifford

from qmm.quantum import Circuit, CircuitError, CompiledCircuit, ExactBackend, Probabilities, expectations
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.scaling import CutBackend, OperatorBackpropagation, backpropagate

NONE = torch.empty(0, dtype=torch.float64)


def layered(n: int = 4, layers: int = 2) -> Circuit:
    """Angles written once, then layers of a CX ladder and trained turns."""
    circuit = QuantumCircuit(n)
    inputs = [Parameter(f"x{i}") for i in range(n)]
    weights = []
    for qubit, x in enumerate(inputs):
        circuit.ry(x, qubit)
    for layer in range(layers):
        for qubit in range(n - 1):
            circuit.cx(qubit, qubit + 1)
        for qubit in range(n):
            weights.append(Parameter(f"{layer}.{qubit}"))
            circuit.ry(weights[-1], qubit)
        circuit.barrier()
    z = [SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], n) for q in range(n)]
    return Circuit.of(circuit, inputs, weights, [*z, SparsePauliOp.from_sparse_list([("ZZ", [0, n - 1], 1.0)], n)])


def angles(circuit: Circuit, rows: int = 3, spread: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(1)
    x = torch.randn(rows, len(circuit.inputs), generator=drawn, dtype=torch.float64)
    return x, spread * torch.randn(len(circuit.weights), generator=drawn, dtype=torch.float64)


@pytest.mark.parametrize("max_bases", [1, 4, 20, 1000])
def test_bound_weights_are_taken_in_as_far_as_the_bases_allow(max_bases, reference):
    circuit = layered()
    inputs, weights = angles(circuit)
    shorter, told = backpropagate(circuit, weights, max_bases=max_bases, max_terms=10**6)
    torch.testing.assert_close(expectations(shorter, inputs, NONE), reference(circuit, inputs, weights), atol=1e-9, rtol=0)
    assert told.bases <= max_bases
    assert (told.errors == 0).all()
    left = sum(len(item.qubits) == 2 for item in shorter.quantum_circuit.data if item.operation.name != "barrier")
    assert left == 6 - told.absorbed_two_qubit
    if max_bases == 1000:  # all but the inputs' own gates
        assert set(shorter.quantum_circuit.count_ops()) - {"barrier"} <= {"ry"}
        assert left == 0


def test_open_weights_stay(reference):
    """Of open parameters, only what stands behind all of them on its qubits goes: here the Clifford end."""
    circuit = layered()
    end = random_clifford(4, seed=3)
    whole = circuit._replace(quantum_circuit=circuit.quantum_circuit.compose(end.to_circuit().decompose()))
    inputs, weights = angles(circuit, spread=1)
    shorter, told = backpropagate(whole, max_bases=100)
    assert shorter.weights == whole.weights
    assert told.absorbed_two_qubit > 0
    torch.testing.assert_close(expectations(shorter, inputs, weights), reference(whole, inputs, weights), atol=1e-9, rtol=0)


def test_a_clifford_circuit_is_known_without_a_run():
    clifford = random_clifford(5, seed=1)
    circuit = Circuit.of(clifford.to_circuit().decompose(), (), (), ["ZIIII", "IXYZI", "IIIII"])
    shorter, told = backpropagate(circuit)
    values = expectations(shorter, torch.empty(1, 0), NONE)
    expected = [o.paulis.evolve(Clifford(clifford), frame="h")[0] for o in circuit.observables]
    for value, pauli in zip(values[0].tolist(), expected, strict=True):
        assert value == pytest.approx(0 if pauli.x.any() else (-1) ** (pauli.phase // 2))
    assert told.absorbed == len(circuit.quantum_circuit.data)
    assert not shorter.quantum_circuit.data


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), bases=st.integers(1, 12), error=st.sampled_from([0.0, 0.1]))
def test_random_circuits_change_by_no_more_than_is_told(seed, bases, error, meeting, reference):
    circuit = meeting(seed, (2, 2), [("rzz", 1, 2), ("swap", 3, 0), ("cp", 0, 2)], n_gates=4, n_terms=2)
    inputs, weights = angles(circuit, rows=2, spread=1)
    for own in (None, weights):
        shorter, told = backpropagate(circuit, own, max_bases=bases, max_error=error)
        given_weights = weights if own is None else NONE
        used = [circuit.weights.index(w) for w in shorter.weights]
        found = expectations(shorter, inputs, given_weights[used] if own is None else NONE)
        off = (found - reference(circuit, inputs, weights)).abs().amax(0).numpy()
        assert (off <= told.errors + 1e-9).all()
        assert (told.errors <= error + 1e-12).all()


def test_truncation_goes_further_and_tells_its_error():
    circuit = layered(6, 2)
    inputs, weights = angles(circuit)
    exact = expectations(circuit, inputs, weights)
    _, without = backpropagate(circuit, weights, max_bases=3)
    shorter, told = backpropagate(circuit, weights, max_bases=3, max_error=0.1)
    assert told.absorbed > without.absorbed
    off = (expectations(shorter, inputs, NONE) - exact).abs().max().item()
    assert 0 < off <= told.errors.max() <= 0.1
    assert f"{told.absorbed} gates taken into the observables" in str(told)


def test_fewer_two_qubit_gates_run_on_the_device(reference):
    circuit = CompiledCircuit(layered())
    inputs, weights = angles(circuit.circuit)
    plain, short = (
        PrimitiveBackend(Aer(device="fake_manila", noise=None), shots=100, mitigation=m)
        for m in ([], [OperatorBackpropagation(max_bases=6)])
    )
    counts = [_two_qubit(backend, circuit, inputs, weights) for backend in (plain, short)]
    assert counts[1] < counts[0]
    mitigation = short.mitigation[0]
    assert isinstance(mitigation, OperatorBackpropagation)
    assert mitigation.reports[-1].absorbed_two_qubit > 0


def _two_qubit(backend, circuit, inputs, weights):
    from qmm.quantum.execution.requests import Request
    from qmm.quantum.settings import parts

    bindings = torch.cat([inputs, weights.expand(len(inputs), -1)], dim=1).numpy()
    own = circuit.circuit
    request = Request(own.quantum_circuit, (*own.inputs, *own.weights), bindings, parts(own).measurement, 100)
    expanded = backend.expand(request).requests
    return max(sum(len(i.qubits) == 2 for i in r.circuit.data if i.operation.name != "barrier") for r in expanded)


@pytest.mark.parametrize("bind", [True, False])
def test_as_a_mitigation_it_changes_no_value(bind, reference):
    circuit = CompiledCircuit(layered())
    inputs, weights = angles(circuit.circuit, rows=2)
    mitigation = OperatorBackpropagation(max_bases=8, bind=bind)
    job = PrimitiveBackend(Ideal(), shots=4000, mitigation=[mitigation], seed=2).submit(circuit, inputs, weights)
    off = (job.result() - reference(circuit.circuit, inputs, weights)).abs()
    assert (off <= 5 * job.variances().sqrt() + 1e-9).all()
    assert mitigation.reports[-1].absorbed > 0 or not bind
    assert (mitigation.reports[-1].absorbed_two_qubit > 0) == bind


def test_a_single_sample_may_need_no_device_at_all(reference):
    circuit = CompiledCircuit(layered(3, 1))
    inputs, weights = angles(circuit.circuit, rows=1)
    backend = PrimitiveBackend(Ideal(), shots=10, mitigation=[OperatorBackpropagation(10**4, 10**4)])
    expected = reference(circuit.circuit, inputs, weights)
    clifford = Circuit.of(QuantumCircuit(2), (), (), ["ZZ", "II"])
    constant = backend.submit(CompiledCircuit(clifford), torch.empty(2, 0), torch.empty(0)).result()
    assert constant.tolist() == [[1.0, 1.0]] * 2
    assert expected.shape == backend.submit(circuit, inputs, weights).result().shape


def test_circuits_are_shortened_once():
    circuit = CompiledCircuit(layered())
    inputs, weights = angles(circuit.circuit)
    mitigation = OperatorBackpropagation()
    backend = PrimitiveBackend(Ideal(), shots=10, mitigation=[mitigation])
    for _ in range(2):
        backend.submit(circuit, inputs, weights).result()
    assert len(mitigation.reports) == 1
    backend.submit(circuit, inputs, weights + 1).result()
    assert len(mitigation.reports) == 2


def test_fragments_of_a_cut_circuit_are_shortened_too(meeting):
    circuit = CompiledCircuit(meeting(3, (2, 2), [("cx", 1, 2)]))
    inputs, weights = angles(circuit.circuit, rows=1)
    inner = PrimitiveBackend(Ideal(), shots=3000, mitigation=[OperatorBackpropagation(max_bases=4)])
    job = CutBackend(inner).submit(circuit, inputs, weights)
    off = (job.result() - expectations(circuit, inputs, weights, ExactBackend())).abs()
    assert (off <= 5 * job.variances().sqrt() + 1e-9).all()


def test_what_is_refused(monkeypatch):
    circuit = layered()
    with pytest.raises(CircuitError, match="max_bases=0; there is at least one"):
        OperatorBackpropagation(max_bases=0)
    with pytest.raises(CircuitError, match="max_error=nan; it is how much a value may change"):
        backpropagate(circuit, max_error=np.nan)
    with pytest.raises(CircuitError, match="probabilities are no observables"):
        backpropagate(circuit._replace(observables=Probabilities((0,))))
    monkeypatch.setitem(sys.modules, "qiskit_addon_obp", None)
    with pytest.raises(CircuitError, match=r'back-propagated circuits need qiskit-addon-obp, .*pip install "qmm\[scaling\]"'):
        backpropagate(circuit, angles(circuit)[1])
