"""Less is sent, and values stay the same."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.providers.fake_provider import GenericBackendV2
from torch import Tensor

from qmm.quantum import Circuit, CompiledCircuit, ExactEstimator, Probabilities, expectations
from qmm.quantum.execution import Given, PrimitiveBackend
from qmm.quantum.execution.simplify import Simplifier, simplified

GATES = ("rx", "ry", "rz", "h", "x", "s", "cx", "cz", "swap", "cry", "rzz", "barrier")
ATOL = 1e-9


def circuit_of(gates: list[str], places: list[list[int]], outputs: Any) -> Circuit:
    """Four qubits; inputs and weights take turns."""
    made, parameters = QuantumCircuit(4), []
    made.global_phase = Parameter("phase")
    for step, (name, order) in enumerate(zip(gates, places, strict=True)):
        if name == "barrier":
            made.barrier(order[:2])
            continue
        angles = []
        if name in ("rx", "ry", "rz", "cry", "rzz"):
            parameters.append(Parameter(f"p{step:02}"))
            angles = [parameters[-1]]
        width = 2 if name in ("cx", "cz", "swap", "cry", "rzz") else 1
        getattr(made, name)(*angles, *order[:width])
    return Circuit.of(made, [*parameters[::2], made.global_phase], parameters[1::2], outputs)


def angles(circuit: Circuit, rows: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (rows, len(circuit.inputs)), (len(circuit.weights),)
    inputs, weights = (6 * torch.rand(size, generator=generator, dtype=torch.float64) - 3 for size in sizes)
    return inputs, weights


steps = st.integers(0, 10).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from(GATES), min_size=n, max_size=n),
        st.lists(st.permutations(range(4)), min_size=n, max_size=n),
    )
)
observables = st.lists(st.text("IXYZ", min_size=4, max_size=4), min_size=1, max_size=3)
outputs = st.one_of(
    observables, st.sampled_from([Probabilities((2, 0)), Probabilities((3,)), Probabilities((1, 2), (0, 1, 1, 2))])
)


@settings(max_examples=60, deadline=None)
@given(steps, outputs)
def test_values_stay(steps: tuple[list[str], list[list[int]]], outputs: Any) -> None:
    circuit = circuit_of(*steps, outputs)
    inputs, weights = angles(circuit)
    expected = expectations(circuit, inputs, weights)
    less = simplified(circuit)
    assert len(less.quantum_circuit.data) <= len(circuit.quantum_circuit.data)
    assert less.quantum_circuit.num_qubits <= 4
    kept_inputs, kept_weights = (
        [named.index(p) for p in kept] for named, kept in ((circuit.inputs, less.inputs), (circuit.weights, less.weights))
    )
    found = expectations(less, inputs[:, kept_inputs], weights[kept_weights])
    torch.testing.assert_close(found, expected, atol=ATOL, rtol=0)
    backend = PrimitiveBackend(ExactEstimator())
    torch.testing.assert_close(backend.submit(CompiledCircuit(circuit), inputs, weights).result(), expected, atol=ATOL, rtol=0)
    folded = Simplifier(circuit).folded(weights.numpy())
    assert not set(folded.parameters) & set(circuit.weights)
    both = torch.cat([inputs, weights.expand(len(inputs), -1)], dim=1)[:, folded.columns]
    own = Circuit.of(folded.quantum_circuit, folded.parameters, (), less.observables)
    torch.testing.assert_close(expectations(own, both, torch.empty(0).double()), expected, atol=ATOL, rtol=0)


def test_qubits_without_gates_are_0() -> None:
    circuit, w = QuantumCircuit(3), Parameter("w")
    circuit.ry(w, 1)
    less = simplified(Circuit.of(circuit, [], [w], ["ZZZ", "XZI", "YXZ", "IIZ", "IXI"]))
    assert less.quantum_circuit.num_qubits == 1
    assert [str(o.paulis[0]) for o in less.observables] == ["Z", "I", "I", "I", "X"]
    assert [o.coeffs[0].real for o in less.observables] == [1, 0, 0, 1, 1]


def test_what_stood_behind_strings_that_are_0_is_unfelt_too() -> None:
    circuit, w = QuantumCircuit(3), Parameter("w")
    circuit.ry(w, 0)
    circuit.rx(0.3, 1)
    less = simplified(Circuit.of(circuit, [], [w], ["XZI", "IIZ"]))  # <X> of qubit 2 is 0, so that qubit 1 does not matter
    assert dict(less.quantum_circuit.count_ops()) == {"ry": 1}
    assert less.quantum_circuit.num_qubits == 1


def wasteful() -> CompiledCircuit:
    """Of five qubits two are felt; of six layers, by one observable, three."""
    circuit, inputs, weights = QuantumCircuit(5), [Parameter(f"x{i}") for i in range(5)], []
    for qubit, x in enumerate(inputs):
        circuit.ry(x, qubit)
    for layer in range(6):
        for qubit in range(5):
            weights.append(Parameter(f"w{layer}.{qubit}"))
            circuit.ry(weights[-1], qubit)
        if layer < 3:
            circuit.cx(0, 1)
        circuit.cx(2, 3)
        circuit.cx(3, 4)
    return CompiledCircuit(Circuit.of(circuit, inputs, weights, ["IIIZZ"]))


def sent(backend: PrimitiveBackend, compiled: CompiledCircuit, weights: Tensor, inputs: Tensor) -> tuple[Tensor, int]:
    """Values, and gates executed."""
    return backend.submit(compiled, inputs, weights).result(), backend.ledger.snapshot().qin


def test_fewer_gates_run_on_a_device_and_weights_go_as_numbers() -> None:
    compiled = wasteful()
    inputs, weights = angles(compiled.circuit)
    expected = expectations(compiled, inputs, weights)
    gates = {}
    for name, simplify, at in (
        ("all", False, weights),
        ("felt", True, weights.clone().requires_grad_()),
        ("folded", True, weights),
    ):
        provider = Given(ExactEstimator(), GenericBackendV2(5, seed=1))
        values, gates[name] = sent(PrimitiveBackend(provider, simplify=simplify), compiled, at, inputs)
        torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)
    assert gates["folded"] < gates["felt"] < gates["all"] / 2


def test_a_set_of_weights_is_transpiled_once_and_trained_ones_never() -> None:
    compiled = wasteful()
    inputs, weights = angles(compiled.circuit)
    backend = PrimitiveBackend(Given(ExactEstimator(), GenericBackendV2(5, seed=1)))
    transpiled, transpile = [], backend.transpiler._transpile
    backend.transpiler._transpile = lambda *given: transpiled.append(1) or transpile(*given)  # type: ignore[method-assign,func-returns-value]
    for at, so_far in ((weights, 1), (weights, 1), (weights + 1, 2), (weights, 2)):
        backend.submit(compiled, inputs, at).result()
        assert len(transpiled) == so_far
    for shift in range(3):
        backend.submit(compiled, inputs, (weights + shift).requires_grad_()).result()
        backend.submit(compiled, inputs, weights.repeat(3, 1) + shift).result()
    assert len(transpiled) == 3


def test_what_needs_no_circuit_sends_none() -> None:
    circuit, w = QuantumCircuit(2), Parameter("w")
    circuit.ry(w, 0)
    backend = PrimitiveBackend(ExactEstimator())
    values = backend.submit(CompiledCircuit(Circuit.of(circuit, [], [w], ["ZI", "XI"])), torch.zeros(2, 0), torch.ones(1))
    torch.testing.assert_close(values.result(), torch.tensor([[1.0, 0.0]] * 2))
    assert backend.ledger.snapshot().circuits == 0


@pytest.mark.parametrize("simplify", [True, False])
def test_inputs_and_weights_without_effect_are_taken_all_the_same(simplify: bool) -> None:
    compiled = wasteful()
    inputs, weights = angles(compiled.circuit)
    backend = PrimitiveBackend(ExactEstimator(), simplify=simplify)
    own = weights.repeat(3, 1) + torch.arange(3)[:, None]
    torch.testing.assert_close(
        backend.submit(compiled, inputs, own).result(), expectations(compiled, inputs, own), atol=ATOL, rtol=0
    )
