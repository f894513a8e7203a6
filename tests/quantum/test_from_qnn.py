"""QuantumLayer.from_qnn against Qiskit Machine Learning's own forward and backward, and TorchConnector."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import real_amplitudes, zz_feature_map
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import Pauli, SparsePauliOp
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_machine_learning.circuit.library import qnn_circuit
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN

from qmm.quantum import Circuit, CircuitError, Probabilities, QuantumLayer

X, W = ParameterVector("x", 2), ParameterVector("a weight", 4)
B = 2


def _circuit(n_qubits: int = 3) -> QuantumCircuit:
    """Two inputs, four weights; an idle qubit where there is a fourth."""
    circuit = QuantumCircuit(n_qubits)
    for i in range(2):
        circuit.ry(X[i], i)
        circuit.rz(X[i] * X[1 - i] / 2, i)
    for i in range(3):
        circuit.rx(W[i], i)
    circuit.cx(0, 1)
    circuit.rzz(W[3], 1, 2)
    circuit.ry(W[0] / 2, 2)
    return circuit


def _nested() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.append(zz_feature_map(2, reps=1).assign_parameters(X).to_instruction(), [1, 0])
    circuit.append(real_amplitudes(2, reps=1).assign_parameters(W).to_gate(), [0, 1])
    return circuit


def _measured(*registers: ClassicalRegister) -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(4, "q"), *registers)
    circuit.compose(_circuit(4), inplace=True)
    return circuit


def _estimator(circuit: QuantumCircuit, observables=None, inputs=X, weights=W, **options) -> EstimatorQNN:
    return EstimatorQNN(
        circuit=circuit,
        observables=observables,
        input_params=inputs,
        weight_params=weights,
        input_gradients=inputs is not None,
        **options,
    )


def _sampler(circuit: QuantumCircuit, **options) -> SamplerQNN:
    return SamplerQNN(circuit=circuit, input_params=X, weight_params=W, input_gradients=True, **options)


def _parity(x: int) -> int:
    return f"{x:b}".count("1") % 2


def _with_registers() -> QuantumCircuit:
    circuit = _measured(ClassicalRegister(2, "other"), ClassicalRegister(3, "meas"))
    circuit.barrier()
    circuit.measure([2, 0, 1, 1], [4, 2, 3, 0])  # the register "meas" is read alone
    return circuit


def _with_part() -> QuantumCircuit:
    circuit = _measured(ClassicalRegister(2, "meas"))
    circuit.measure(2, 0)
    circuit.measure(2, 1)
    circuit.measure(0, 1)  # overwrites
    return circuit


def _transpiled(circuit: QuantumCircuit) -> QuantumCircuit:
    line = [[0, 1], [1, 0], [1, 2], [2, 1], [2, 3], [3, 2]]
    manager = generate_preset_pass_manager(1, basis_gates=["rz", "sx", "x", "cx"], coupling_map=line, initial_layout=[3, 1, 0])
    return manager.run(circuit)


def _library() -> EstimatorQNN:
    circuit, inputs, weights = qnn_circuit(feature_map=zz_feature_map(2), ansatz=real_amplitudes(2))
    return _estimator(circuit, None, inputs, weights)


NETWORKS = {
    "one observable by default": lambda: _estimator(_circuit()),
    "X, Y and Z": lambda: _estimator(
        _circuit(), [SparsePauliOp(["ZZI", "XIY"], [0.5, -2]), SparsePauliOp("IIY"), SparsePauliOp("III")]
    ),
    "one observable": lambda: _estimator(_circuit(), SparsePauliOp("XYZ")),
    "a Pauli": lambda: _estimator(_circuit(), [Pauli("-ZXI")]),
    "parameters in any order": lambda: _estimator(_circuit(), None, [W[2], X[1]], [W[3], X[0], W[0], W[1]]),
    "no inputs": lambda: _estimator(_circuit().assign_parameters({X[0]: 0.3, X[1]: 1}), None, None, list(W)),
    "no weights": lambda: _estimator(_circuit().assign_parameters(dict.fromkeys(W, 0.3)), None, list(X), None),
    "nested": lambda: _estimator(_nested(), [SparsePauliOp("XZ"), SparsePauliOp("ZI")]),
    "of the library": _library,
    "transpiled": lambda: _estimator(_transpiled(_circuit())),
    "all bit strings": lambda: _sampler(_circuit()),
    "nested, sampled": lambda: _sampler(_nested()),
    "parity": lambda: _sampler(_circuit(), interpret=_parity, output_shape=2),
    "outputs that are never reached": lambda: _sampler(_circuit(), interpret=_parity, output_shape=5),
    "tuples of one index": lambda: _sampler(_circuit(), interpret=lambda x: (x % 3,), output_shape=(3,)),
    "registers": lambda: _sampler(_with_registers()),
    "part of the qubits": lambda: _sampler(_with_part(), interpret=lambda x: x, output_shape=4),
    "part of the qubits, no interpret": lambda: _sampler(_with_part()),
    "transpiled, sampled": lambda: _sampler(_transpiled(_circuit())),
}


@pytest.fixture
def values() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_outputs_and_gradients_are_those_of_the_network(build, values):
    qnn = build()
    layer = QuantumLayer.from_qnn(qnn, values.normal(size=qnn.num_weights), dtype=torch.complex128)
    weights = layer.weights.detach().numpy()
    inputs = torch.tensor(values.normal(size=(B, qnn.num_inputs)), requires_grad=True)
    expected = qnn.forward(inputs.detach().numpy(), weights)
    output = layer(inputs)
    np.testing.assert_allclose(output.detach(), expected, atol=1e-9)
    cotangent = torch.tensor(values.normal(size=expected.shape))
    output.backward(cotangent)
    if qnn.circuit.layout is not None and isinstance(qnn, SamplerQNN):
        return  # its backward, unlike its forward, reads physical qubits
    for got, jacobian in zip((inputs.grad, layer.weights.grad), qnn.backward(inputs.detach().numpy(), weights), strict=True):
        if jacobian is None:
            continue
        assert got is not None
        subscripts = "bo,bop->bp" if got is inputs.grad else "bo,bop->p"
        np.testing.assert_allclose(got, np.einsum(subscripts, cotangent, jacobian), atol=1e-8)


def test_a_transpiled_sampler_network_has_the_gradients_of_the_original(values):
    layers = [
        QuantumLayer.from_qnn(_sampler(circuit), np.arange(4.0), dtype=torch.complex128)
        for circuit in (_circuit(), _transpiled(_circuit()))
    ]
    inputs = torch.tensor(values.normal(size=(B, 2)))
    gradients = [torch.autograd.grad((layer(inputs) ** 2).sum(), layer.weights)[0] for layer in layers]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("sampler", [None, StatevectorSampler(default_shots=200_000, seed=1)], ids=["exact", "shots"])
def test_registers_are_joined_as_a_sampler_joins_them(sampler, values):
    circuit = _measured(ClassicalRegister(1, "first"), ClassicalRegister(2, "second"))
    circuit.measure([0, 1, 2], [0, 1, 2])
    qnn = _sampler(circuit, sampler=sampler)
    layer = QuantumLayer.from_qnn(qnn, values.normal(size=4), dtype=torch.complex128)
    inputs = values.normal(size=(1, 2))  # of several samples the network returns the average, not asking a register
    expected = qnn.forward(inputs, layer.weights.detach().numpy())
    np.testing.assert_allclose(layer(torch.tensor(inputs)).detach(), expected, atol=1e-9 if sampler is None else 6e-3)


@pytest.mark.parametrize("build", [_estimator, _sampler])
def test_it_takes_the_place_of_torch_connector(build, values):
    qnn, initial = build(_circuit()), values.normal(size=4)
    connector, layer = TorchConnector(qnn, initial), QuantumLayer.from_qnn(qnn, initial)
    gradients = []
    for module in (connector, layer):
        inputs = torch.tensor(np.random.default_rng(1).normal(size=(B, 2)), dtype=torch.float32, requires_grad=True)
        (module(inputs) ** 2).sum().backward()
        gradients.append((*(p.grad for p in module.parameters()), inputs.grad))
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=0)
    torch.testing.assert_close(connector(inputs), layer(inputs), atol=1e-5, rtol=0)
    continued = QuantumLayer.from_qnn(qnn, connector.weight)
    assert torch.equal(continued.weights, connector.weight)
    assert continued.weights is not connector.weight


def test_the_network_stays_as_it_is():
    circuit = _with_registers()
    before = circuit.copy()
    qnn = _sampler(circuit)
    QuantumLayer.from_qnn(qnn)
    assert circuit == before
    assert qnn.circuit == before


def _middle() -> QuantumCircuit:
    circuit = _measured(ClassicalRegister(1, "meas"))
    circuit.measure(1, 0)
    circuit.x(1)
    return circuit


def _too_high() -> QuantumCircuit:
    circuit = _measured(ClassicalRegister(5, "meas"))
    circuit.measure(0, 4)
    return circuit


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: _sampler(_middle()), r"instruction 10 \('measure' on qubits \[1\]\) is followed by others"),
        (lambda: _sampler(_too_high()), "drops what it reads above 15, and its circuit measures 16"),
        (lambda: _sampler(_measured(ClassicalRegister(2, "c"))), "measures no qubit"),
        (lambda: _sampler(_circuit(), interpret=lambda x: (x % 2, x // 4), output_shape=(2, 2)), "one axis of outputs"),
        (lambda: _sampler(_circuit(), interpret=lambda x: x, output_shape=4), r"interpret\(4\) is 4; .* has places 0 to 3"),
        (lambda: _sampler(_circuit(), interpret=lambda x: -1, output_shape=4), r"interpret\(0\) is -1"),
        (lambda: TorchConnector(_sampler(_circuit())), "got TorchConnector; .* pass its .neural_network"),
        (lambda: 3, "got int; an EstimatorQNN or a SamplerQNN is expected"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(build, message):
    with pytest.raises(CircuitError, match=message):
        QuantumLayer.from_qnn(build())


def test_sparse_outputs_are_refused(monkeypatch):
    qnn = _sampler(_circuit())
    monkeypatch.setattr(qnn, "_sparse", True)  # building one needs the package `sparse`
    with pytest.raises(CircuitError, match="sparse=False"):
        QuantumLayer.from_qnn(qnn)


def test_a_measured_estimator_network_is_refused():
    circuit = _circuit()
    circuit.measure_all()
    with pytest.raises(CircuitError, match=r"'measure' on qubits \[0\].*remove_final_measurements"):
        QuantumLayer.from_qnn(_estimator(circuit))


def test_outputs_that_no_outcome_reaches():
    read_out = Probabilities((0,), width=4)
    circuit = Circuit.of(QuantumCircuit(2), observables=read_out)
    assert Circuit.from_json(circuit.to_json()).observables == read_out
    assert QuantumLayer(circuit)(torch.zeros(3, 0)).tolist() == [[1, 0, 0, 0]] * 3
    with pytest.raises(CircuitError, match="width=1; the outcomes need at least 2 outputs"):
        Circuit.of(QuantumCircuit(2), observables=Probabilities((0,), width=1))


def test_importing_the_core_does_not_load_qiskit_machine_learning():
    code = "import sys, qmm.quantum; print('qiskit_machine_learning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
