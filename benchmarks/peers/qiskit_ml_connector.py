"""Qiskit Machine Learning: EstimatorQNN under its TorchConnector, with the reverse gradient of qiskit-algorithms."""

import interface
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_algorithms.gradients import ReverseEstimatorGradient
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from torch import Tensor
from torch_peer import TorchPeer


class Peer(TorchPeer):
    GATES = ("h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "cx", "cz", "swap", "rx", "ry", "rz", "cp", "crx", "cry", "crz")
    PACKAGES = ("qiskit-machine-learning", "qiskit-algorithms", "qiskit", "torch")
    DTYPES = ("complex64",)  # it returns float32 whatever goes in
    DEVICES = ("cpu",)

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        inputs = [Parameter(f"x{i:05}") for i in range(circuit.inputs)]
        weights = [Parameter(f"w{i:05}") for i in range(circuit.weights)]
        ansatz = QuantumCircuit(circuit.qubits)
        for name, qubits, angles in circuit.gates:
            getattr(ansatz, name)(*(interface.evaluate(angle, [*inputs, *weights]) for angle in angles), *qubits)
        network = EstimatorQNN(
            circuit=ansatz,
            estimator=StatevectorEstimator(),
            observables=[SparsePauliOp.from_list(terms) for terms in circuit.observables],
            input_params=inputs,
            weight_params=weights,
            gradient=ReverseEstimatorGradient(),
            input_gradients=True,
            default_precision=0.0,
        )
        self.layer = TorchConnector(network)

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor:
        self.layer.weight.data.copy_(weights.detach())
        return self.layer(inputs)

    def step(self, inputs: Tensor, weights: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The connector holds the weights itself, so their gradient is that of its own parameter."""
        values = self.values(inputs, weights)
        self.layer.zero_grad()
        inputs.grad = None
        values.backward(mixture)
        return values.detach(), inputs.grad, self.layer.weight.grad
