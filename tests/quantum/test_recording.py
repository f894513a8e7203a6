"""Recording: what is evaluated, in order, in threads too, with its graph."""

import math

import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qmm.quantum import Circuit, CompiledCircuit, QuantumLayer, expectations, recording, states
from qmm.quantum.background import in_background


def turned() -> Circuit:
    x, w = Parameter("x"), Parameter("w")
    circuit = QuantumCircuit(1)
    circuit.ry(x, 0)
    circuit.ry(w, 0)
    return Circuit.of(circuit, [x], [w], [SparsePauliOp("Z")])


def test_layers_values_and_states_are_recorded_with_their_graph() -> None:
    layer, compiled = QuantumLayer(turned()), CompiledCircuit(turned())
    x, w = torch.rand(3, 1), torch.rand(1, requires_grad=True)
    layer(x)
    with recording() as tape:
        layer(x)
        with recording() as inner:
            states(compiled, x, 2 * w)
        expectations(compiled, x, w)
    assert [e.circuit for e in tape] == [layer.compiled, compiled, compiled]
    assert [e.circuit for e in inner] == [compiled]
    assert torch.equal(tape[0].inputs, x)
    (slope,) = torch.autograd.grad(inner[0].weights.sum(), w)
    assert slope.item() == 2


def test_threads_record_where_they_were_begun() -> None:
    layer = QuantumLayer(turned())
    with recording() as tape:
        in_background(lambda: layer(torch.zeros(1, 1))).result()
    assert len(tape) == 1
    in_background(lambda: layer(torch.zeros(1, 1))).result()
    assert len(tape) == 1


def test_values_are_those_without_a_recording() -> None:
    layer = QuantumLayer(turned(), init=torch.tensor([0.3]))
    with recording():
        assert math.isclose(layer(torch.tensor([[0.2]])).item(), math.cos(0.5), abs_tol=1e-6)
