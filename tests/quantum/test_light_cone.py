"""What no observable feels is dropped: values stay, and every weight that stays matters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import (
    CPhaseGate,
    CRXGate,
    CRYGate,
    CRZGate,
    PauliEvolutionGate,
    PhaseGate,
    RXXGate,
    RYYGate,
    RZXGate,
    RZZGate,
    UGate,
)
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

import qmm.quantum.light_cone
from qmm.circuits import drop_unfelt
from qmm.quantum import Circuit, Probabilities, expectations

TURNS = ["rx", "ry", "rz"]
FIXED = ["h", "s", "sx", "t", "cx", "cz", "swap", "iswap", "ccx"]
GATES = {"p": PhaseGate, "rxx": RXXGate, "ryy": RYYGate, "rzz": RZZGate, "rzx": RZXGate}
CONTROLLED = {"crx": CRXGate, "cry": CRYGate, "crz": CRZGate, "cp": CPhaseGate}


def random_circuit(names: list[str], places: list[list[int]], n_qubits: int = 4) -> QuantumCircuit:
    circuit = QuantumCircuit(n_qubits)
    for qubit in range(n_qubits):
        circuit.ry(0.4 + qubit, qubit)
        circuit.rz(1.1 - qubit, qubit)
    for step, (name, order) in enumerate(zip(names, places, strict=True)):
        angle = Parameter(f"w{step:02}")
        if name in TURNS:
            getattr(circuit, name)(angle, order[0])
        elif name in FIXED:
            width = 3 if name == "ccx" else 2 if name in ("cx", "cz", "swap", "iswap") else 1
            getattr(circuit, name)(*order[:width])
        elif name == "u":
            circuit.append(UGate(angle, 0.3, 0.7), [order[0]])
        else:
            gate = {**GATES, **CONTROLLED}[name](angle)
            circuit.append(gate, order[: gate.num_qubits])
    return circuit


def gradients(circuit: Circuit, weights: Tensor) -> Tensor:
    """(n_outputs, W)"""
    return torch.func.jacrev(lambda w: expectations(circuit, torch.zeros(1, 0), w)[0])(weights)


steps = st.integers(1, 14).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([*TURNS, *FIXED, *GATES, *CONTROLLED, "u"]), min_size=n, max_size=n),
        st.lists(st.permutations(range(4)), min_size=n, max_size=n),
    )
)
labels = st.lists(st.text("IXYZ", min_size=4, max_size=4), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(steps, labels, st.booleans())
def test_values_and_gradients_stay(steps: tuple[list[str], list[list[int]]], labels: list[str], probabilities: bool) -> None:
    read: list[str] | Probabilities = Probabilities((1, 3)) if probabilities else labels
    circuit = Circuit.of(random_circuit(*steps), observables=read)
    felt = drop_unfelt(circuit)
    weights = torch.linspace(0.3, 2.9, len(circuit.weights), dtype=torch.float64)
    kept = [circuit.weights.index(w) for w in felt.weights]
    no_inputs = torch.zeros(1, 0)
    expected = expectations(circuit, no_inputs, weights)
    torch.testing.assert_close(expectations(felt, no_inputs, weights[kept]), expected, atol=1e-10, rtol=0)
    dropped = [i for i in range(len(weights)) if i not in kept]
    assert gradients(circuit, weights)[:, dropped].abs().max().item() < 1e-10 if dropped else felt.weights == circuit.weights


@pytest.mark.parametrize("most", [1024, 1])
def test_following_qubits_keeps_at_least_what_following_strings_keeps(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmm.quantum.light_cone, "_MOST_STRINGS", most)
    circuit = QuantumCircuit(3)
    a, b, c, d, e = (Parameter(name) for name in "abcde")
    circuit.ry(a, 0)
    circuit.cx(0, 1)
    circuit.ry(b, 1)  # Z of qubit 0 is read, which was the control: not felt
    circuit.rx(c, 0)
    circuit.ry(d, 0)
    circuit.rz(e, 0)  # commutes with Z
    found = drop_unfelt(Circuit.of(circuit, [], [a, b, c, d, e], ["IIZ"]))
    assert found.weights == (a, c, d)
    assert dict(found.quantum_circuit.count_ops()) == {"ry": 2, "cx": 1, "rx": 1}


def test_parity_of_a_ring_feels_one_qubit() -> None:
    """ZZZ behind CX 0-1, 1-2, 2-0 is Z of qubit 1 before them."""
    circuit, weights = QuantumCircuit(3), [Parameter(f"w{q}") for q in range(3)]
    for qubit, weight in enumerate(weights):
        circuit.ry(weight, qubit)
    for control, target in ((0, 1), (1, 2), (2, 0)):
        circuit.cx(control, target)
    assert drop_unfelt(Circuit.of(circuit, [], weights, ["ZZZ"])).weights == (weights[1],)
    value = expectations(Circuit.of(circuit, [], weights, ["ZZZ"]), torch.zeros(1, 0), torch.tensor([0.3, 0.5, 0.9]).double())
    torch.testing.assert_close(value, torch.tensor([[0.5]]).double().cos())


def test_inputs_stay_and_so_does_what_is_needed() -> None:
    circuit, x, w = QuantumCircuit(2), Parameter("x"), Parameter("w")
    circuit.ry(x, 1)
    circuit.ry(w, 0)
    felt = drop_unfelt(Circuit.of(circuit, [x], [w], [SparsePauliOp("IZ")]))
    assert felt.inputs == (x,)
    assert felt.weights == (w,)
    assert expectations(felt, torch.tensor([[2.0]]), torch.tensor([0.5])).item() == pytest.approx(0.87758, abs=1e-4)


def test_time_evolutions_are_followed() -> None:
    circuit, times = QuantumCircuit(2), [Parameter("s"), Parameter("t")]
    circuit.append(PauliEvolutionGate(SparsePauliOp(["X"]), time=times[0]), [0])
    circuit.append(PauliEvolutionGate(SparsePauliOp(["X"]), time=times[1] ** 2), [1])
    felt = drop_unfelt(Circuit.of(circuit, [], times, [SparsePauliOp("IZ")]))
    assert felt.weights == (times[0],)
