"""DeepQuantum: inputs encoded and vmapped over, weights as the parameters of its gates, observables from one state."""

import deepquantum as dq
import interface
import torch
from torch import Tensor
from torch_peer import TorchPeer

FIXED = ("h", "x", "y", "z", "s", "sdg", "t", "tdg", "cx", "cy", "cz", "ch", "swap", "ccx", "cswap")
ROTATIONS = ("rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "crx", "cry", "crz", "cp")


class Peer(TorchPeer):
    GATES = (*FIXED, *ROTATIONS)
    PACKAGES = ("deepquantum", "torch")

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        self.ansatz, self.encoded, self.trained = dq.QubitCircuit(circuit.qubits), [], []
        for name, qubits, angles in circuit.gates:
            self.add(name, qubits, angles[0] if angles else None)
        for terms in circuit.observables:
            for label, _ in terms:
                paulis = interface.paulis(label)
                self.ansatz.observable([qubit for qubit, _ in paulis], "".join(pauli for _, pauli in paulis).lower())
        self.ansatz.to(self.real).to(device)
        coefficients = [[c for _, c in terms] for terms in circuit.observables]
        self.mix = torch.block_diag(*(torch.tensor([row], dtype=self.real) for row in coefficients)).T.to(device)
        self.parameters = list(self.ansatz.parameters())

    def add(self, name: str, qubits: list[int], angle: object) -> None:
        method = {"cx": "cnot", "ccx": "toffoli", "cswap": "fredkin"}.get(name, name)
        places = [qubits] if name in ("rxx", "ryy", "rzz", "swap") else qubits
        if angle is None:
            getattr(self.ansatz, method)(*places)
            return
        constant, terms = angle
        if not terms:
            getattr(self.ansatz, method)(*places, inputs=constant)
        elif any(column < self.circuit.inputs for column, _ in terms):
            getattr(self.ansatz, method)(*places, encode=True)
            self.encoded.append(angle)
        else:
            getattr(self.ansatz, method)(*places)
            self.trained.append(angle)

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor:
        columns = [*inputs.unbind(1), *weights.unbind(0)]
        angles = [interface.evaluate(angle, columns) for angle in self.trained]
        with torch.no_grad():
            for parameter, angle in zip(self.parameters, angles, strict=True):
                parameter.copy_(angle.reshape(parameter.shape))
        self.ansatz(torch.stack([interface.evaluate(angle, columns) for angle in self.encoded], dim=1))
        self.angles = angles
        return self.ansatz.expectation() @ self.mix

    def step(self, inputs: Tensor, weights: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights reach the gates as copies, so their gradient is taken in two steps."""
        values = self.values(inputs, weights)
        grads = torch.autograd.grad(values, (inputs, weights, *self.parameters), mixture, allow_unused=True)
        grad_inputs, direct, *of_gates = grads
        outputs = self.angles
        shaped = [g.reshape(angle.shape) for g, angle in zip(of_gates, outputs, strict=True)]
        (grad_weights,) = torch.autograd.grad(outputs, (weights,), shaped) if outputs else (torch.zeros_like(weights),)
        grad_weights = grad_weights if direct is None else grad_weights + direct
        return self.arrived(values.detach()), self.arrived(grad_inputs), self.arrived(grad_weights)
