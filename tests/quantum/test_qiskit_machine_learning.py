"""Qiskit Machine Learning on our primitives and layers: its gradients and kernels, and the networks of its tutorials."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import real_amplitudes, z_feature_map, zz_feature_map
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_machine_learning.algorithms.classifiers import NeuralNetworkClassifier
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import (
    LinCombEstimatorGradient,
    LinCombSamplerGradient,
    ParamShiftEstimatorGradient,
    ParamShiftSamplerGradient,
    SPSAEstimatorGradient,
    SPSASamplerGradient,
)
from qiskit_machine_learning.kernels import FidelityQuantumKernel
from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN
from qiskit_machine_learning.optimizers import CG
from qiskit_machine_learning.state_fidelities import ComputeUncompute
from torch import Tensor, nn
from torch.nn import functional as F

from qmm.quantum import ExactEstimator, ExactSampler, QuantumLayer

N = 2


def _parts(n_qubits: int = N) -> tuple[QuantumCircuit, Any, Any]:
    feature_map, ansatz = zz_feature_map(n_qubits), real_amplitudes(n_qubits, reps=1)
    return feature_map.compose(ansatz), feature_map.parameters, ansatz.parameters


def _estimator_qnn(**options: Any) -> EstimatorQNN:
    circuit, inputs, weights = _parts()
    options = {"observables": [SparsePauliOp("ZZ"), SparsePauliOp("XI")], "input_gradients": True, **options}
    return EstimatorQNN(circuit=circuit, input_params=inputs, weight_params=weights, **options)


def _sampler_qnn(**options: Any) -> SamplerQNN:
    circuit, inputs, weights = _parts()
    return SamplerQNN(circuit=circuit, input_params=inputs, weight_params=weights, input_gradients=True, **options)


def _data(n_samples: int, n_weights: int, n_inputs: int = N) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_samples, n_inputs)), rng.normal(size=n_weights)


def _same(got: Any, expected: Any, tolerance: float = 1e-10) -> None:
    """Outputs, or gradients of inputs and weights."""
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


ESTIMATOR_GRADIENTS = {
    "parameter shift": ParamShiftEstimatorGradient,
    "linear combination": LinCombEstimatorGradient,
    "SPSA": lambda estimator: SPSAEstimatorGradient(estimator, epsilon=0.1, batch_size=3, seed=1),
}
SAMPLER_GRADIENTS = {
    "parameter shift": ParamShiftSamplerGradient,
    "linear combination": LinCombSamplerGradient,
    "SPSA": lambda sampler: SPSASamplerGradient(sampler, epsilon=0.1, batch_size=3, seed=1),
}


@pytest.mark.parametrize("gradient", ESTIMATOR_GRADIENTS.values(), ids=ESTIMATOR_GRADIENTS)
def test_estimator_networks(gradient):
    data = _data(2, 4)
    ours, theirs = (
        _estimator_qnn(estimator=e, gradient=gradient(e), default_precision=0)  # Qiskit's would add noise of 1/64
        for e in (ExactEstimator(), StatevectorEstimator())
    )
    _same(ours.forward(*data), theirs.forward(*data))
    _same(ours.backward(*data), theirs.backward(*data))


def test_an_estimator_network_is_exact_without_a_word_about_precision():
    data = _data(3, 4)
    _same(_estimator_qnn(estimator=ExactEstimator()).forward(*data), _estimator_qnn().forward(*data))


@pytest.mark.parametrize("gradient", SAMPLER_GRADIENTS.values(), ids=SAMPLER_GRADIENTS)
def test_sampler_networks(gradient):
    data = _data(2, 4)
    ours, theirs = (_sampler_qnn(sampler=s, gradient=gradient(s)) for s in (ExactSampler(seed=7), StatevectorSampler(seed=7)))
    _same(ours.forward(*data), theirs.forward(*data), 0)
    _same(ours.backward(*data), theirs.backward(*data), 1e-12)


@pytest.mark.parametrize("local", [False, True])
def test_fidelity_kernels(local):
    inputs, _ = _data(5, 0)
    feature_map = zz_feature_map(N)
    matrices = [
        FidelityQuantumKernel(
            feature_map=feature_map, fidelity=ComputeUncompute(sampler, local=local), enforce_psd=False
        ).evaluate(inputs, inputs[:3])
        for sampler in (ExactSampler(seed=3), StatevectorSampler(seed=3), ExactSampler(seed=4, default_shots=100_000))
    ]
    np.testing.assert_array_equal(matrices[0], matrices[1])
    if not local:
        states = np.array([Statevector(feature_map.assign_parameters(x)).data for x in inputs])
        np.testing.assert_allclose(matrices[2], np.abs(states.conj() @ states[:3].T) ** 2, atol=0.01)


def _two_classes(n_samples: int = 20) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of the tutorial on classifiers: 1 where the sum of two features is positive, else -1."""
    inputs = 2 * np.random.default_rng(42).random((n_samples, N)) - 1
    return inputs, np.where(inputs.sum(1) >= 0, 1, -1)


def test_a_classifier_learns_the_same_on_our_estimator():
    inputs, targets = _two_classes()
    fitted = []
    for estimator in (ExactEstimator(), None):
        qnn = _estimator_qnn(estimator=estimator, observables=None)
        classifier = NeuralNetworkClassifier(qnn, optimizer=CG(maxiter=3), initial_point=np.full(4, 0.5))
        fitted.append(classifier.fit(inputs, targets))
    np.testing.assert_allclose(fitted[0].weights, fitted[1].weights, atol=1e-6)
    assert fitted[0].score(inputs, targets) == fitted[1].score(inputs, targets) > 0.5


def _trained(module: nn.Module, inputs: Tensor, loss: Callable[[Tensor], Tensor], steps: int) -> list[Tensor]:
    """The parameters after some steps of Adam."""
    optimiser = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(module(inputs)).backward()
        optimiser.step()
    return [p.detach() for p in module.parameters()]


def test_a_torch_classifier_learns_the_same_as_a_layer():
    data, targets = _two_classes(6)
    inputs, labels = torch.tensor(data, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32)
    qnn = _estimator_qnn(observables=None)
    (connector,), (layer,) = (
        _trained(module, inputs, lambda output: F.mse_loss(output[:, 0], labels), steps=3)
        for module in (TorchConnector(qnn, np.full(4, 0.5)), QuantumLayer.from_qnn(qnn, np.full(4, 0.5)))
    )
    torch.testing.assert_close(connector, layer, atol=1e-4, rtol=0)
    assert (layer - 0.5).abs().min() > 0.05


class _HybridNet(nn.Module):
    """Of the tutorial on hybrid networks: a convolutional net, two angles, a circuit, one number, two classes."""

    def __init__(self, quantum: nn.Module):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 2, 5), nn.Conv2d(2, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 64), nn.Linear(64, 2), nn.Linear(1, 1)
        self.qnn = quantum

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(images)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.fc3(self.qnn(self.fc2(F.relu(self.fc1(x.flatten(1))))))
        return torch.cat((x, 1 - x), -1)


def test_a_hybrid_network_takes_the_same_steps():
    images, labels = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0])
    qnn = _estimator_qnn(observables=None)
    trained = []
    for connect in (TorchConnector, QuantumLayer.from_qnn):
        torch.manual_seed(1)
        net = _HybridNet(connect(qnn, np.full(4, 0.5)))
        trained.append(_trained(net, images, lambda output: F.nll_loss(output, labels), steps=1))
    torch.testing.assert_close(*trained, atol=1e-4, rtol=0)


def _convolution(angles: Any) -> QuantumCircuit:
    circuit = _pooling(angles)
    circuit.cx(1, 0)
    circuit.rz(np.pi / 2, 0)
    return circuit


def _pooling(angles: Any) -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.rz(-np.pi / 2, 1)
    circuit.cx(1, 0)
    circuit.rz(angles[0], 0)
    circuit.ry(angles[1], 1)
    circuit.cx(0, 1)
    circuit.ry(angles[2], 1)
    return circuit


def _convolutional_layer(qubits: list[int], prefix: str) -> QuantumCircuit:
    pairs = list(zip(qubits[0::2], qubits[1::2], strict=True)) + list(
        zip(qubits[1::2], [*qubits[2::2], qubits[0]], strict=True)
    )
    circuit, angles = QuantumCircuit(8, name="convolution"), ParameterVector(prefix, 3 * len(pairs))
    for i, pair in enumerate(pairs):
        circuit.append(_convolution(angles[3 * i : 3 * i + 3]).to_instruction(), pair)
        circuit.barrier()
    return circuit


def _pooling_layer(sources: list[int], sinks: list[int], prefix: str) -> QuantumCircuit:
    circuit, angles = QuantumCircuit(8, name="pooling"), ParameterVector(prefix, 3 * len(sources))
    for i, pair in enumerate(zip(sources, sinks, strict=True)):
        circuit.append(_pooling(angles[3 * i : 3 * i + 3]).to_instruction(), pair)
        circuit.barrier()
    return circuit


def _qcnn(estimator: Any) -> EstimatorQNN:
    """Of the tutorial on quantum convolutional networks, its layers as single nested instructions (arXiv:1810.03787)."""
    feature_map, ansatz = z_feature_map(8), QuantumCircuit(8)
    for layer in (
        _convolutional_layer(list(range(8)), "c1"),
        _pooling_layer([0, 1, 2, 3], [4, 5, 6, 7], "p1"),
        _convolutional_layer([4, 5, 6, 7], "c2"),
        _pooling_layer([4, 5], [6, 7], "p2"),
        _convolutional_layer([6, 7], "c3"),
        _pooling_layer([6], [7], "p3"),
    ):
        ansatz.append(layer.to_instruction(), range(8))
    circuit = QuantumCircuit(8)
    circuit.append(feature_map.to_instruction(), range(8))
    circuit.append(ansatz.to_instruction(), range(8))
    return EstimatorQNN(
        circuit=circuit.decompose(),
        observables=SparsePauliOp("Z" + "I" * 7),
        input_params=feature_map.parameters,
        weight_params=ansatz.parameters,
        estimator=estimator,
        input_gradients=True,
    )


@pytest.mark.parametrize("estimator", [ExactEstimator(), None], ids=["ours", "theirs"])
def test_a_quantum_convolutional_network(estimator):
    qnn = _qcnn(estimator)
    data, weights = _data(2, qnn.num_weights, 8)
    inputs = torch.tensor(data, requires_grad=True)
    layer = QuantumLayer.from_qnn(qnn, weights, dtype=torch.complex128)
    outputs = layer(inputs)
    outputs.sum().backward()
    _same(outputs.detach(), qnn.forward(data, weights))
    of_inputs, of_weights = map(np.asarray, qnn.backward(data, weights))
    _same((inputs.grad, layer.weights.grad), (of_inputs[:, 0], of_weights.sum((0, 1))))
    reached = {p.name[:2] for p, g in zip(layer.circuit.weights, of_weights.sum((0, 1)), strict=True) if abs(g) > 1e-6}
    assert reached == {"c1", "p1", "c2", "p2", "c3", "p3"}  # a layer on qubits that are read no more would compare zeros
