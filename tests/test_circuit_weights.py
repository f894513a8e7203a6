"""Circuit weights: found in whatever module they are, with their places."""

import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from torch import nn

import qmm.fusion
from qmm.circuit_weights import Place, circuit_parameters, jacobian, places, weighted_circuits
from qmm.quantum import Circuit, QuantumLayer


def two_turns() -> Circuit:
    x, first, second = Parameter("x"), Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(1)
    for angle, gate in ((x, circuit.rx), (first, circuit.ry), (second, circuit.rz)):
        gate(angle, 0)
    return Circuit.of(circuit, [x], [first, second], [SparsePauliOp("X")])


def test_a_module_of_ones_own() -> None:
    model = nn.Sequential(nn.Linear(2, 1), QuantumLayer(two_turns()), nn.Linear(1, 3))
    assert list(weighted_circuits(model)) == ["1"]
    assert list(circuit_parameters(model)) == ["1.weights"]
    found = weighted_circuits(model)["1"]
    assert places(found.weights, circuit_parameters(model)) == [Place("1.weights", 0), Place("1.weights", 1)]
    model[1].requires_grad_(False)
    assert circuit_parameters(model) == {}
    assert places(found.weights, {}) is None


def test_weights_that_are_made_of_parameters() -> None:
    p = {"p": nn.Parameter(torch.tensor([0.1, 0.2, 0.3])), "q": nn.Parameter(torch.tensor([[1.0], [2.0]]))}
    picked = torch.cat([p["q"][1], p["p"][[2, 0]]])
    assert places(picked, p) == [Place("q", 1), Place("p", 2), Place("p", 0)]
    for made in (p["p"].softmax(0), 2 * p["p"], p["p"][[0, 0]], p["p"] + 1):
        assert places(made, p) is None
    slopes = jacobian(2 * p["p"][:2], p)
    assert list(slopes) == ["p"]
    assert torch.equal(slopes["p"], torch.tensor([[2.0, 0, 0], [0, 2, 0]]))


def test_members_inside_members_are_found_once() -> None:
    mixture = qmm.fusion.MixtureFusion()
    mixture.build({"vision": 2, "audio": 2})
    found = weighted_circuits(mixture)
    assert list(found) == ["members.quantum.fusion"]
    assert list(circuit_parameters(mixture)) == ["members.quantum.weights"]
    assert torch.equal(found["members.quantum.fusion"].weights, mixture.get_parameter("members.quantum.weights"))
