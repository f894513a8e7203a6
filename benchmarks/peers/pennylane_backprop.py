"""PennyLane default.qubit: torch, backpropagation, the batch by parameter broadcasting."""

from collections.abc import Sequence
from typing import Any

import interface
import pennylane as qml
import torch
from torch import Tensor
from torch_peer import TorchPeer

GATES: dict[str, Any] = {
    **{"h": qml.Hadamard, "x": qml.PauliX, "y": qml.PauliY, "z": qml.PauliZ, "s": qml.S, "t": qml.T, "sx": qml.SX},
    **{
        "rx": qml.RX,
        "ry": qml.RY,
        "rz": qml.RZ,
        "p": qml.PhaseShift,
        "rxx": qml.IsingXX,
        "ryy": qml.IsingYY,
        "rzz": qml.IsingZZ,
    },
    **{"cx": qml.CNOT, "cy": qml.CY, "cz": qml.CZ, "ch": qml.CH, "swap": qml.SWAP, "iswap": qml.ISWAP, "ccx": qml.Toffoli},
    **{"crx": qml.CRX, "cry": qml.CRY, "crz": qml.CRZ, "cp": qml.ControlledPhaseShift, "cswap": qml.CSWAP, "ccz": qml.CCZ},
}
PAULIS = {"X": qml.PauliX, "Y": qml.PauliY, "Z": qml.PauliZ}


def observable(terms: Sequence[tuple[str, float]]) -> Any:
    strings = [qml.prod(*(PAULIS[p](q) for q, p in interface.paulis(label))) for label, _ in terms]
    coefficients = [coefficient for _, coefficient in terms]
    return strings[0] if coefficients == [1.0] else qml.dot(coefficients, strings)


class Peer(TorchPeer):
    GATES = tuple(GATES)
    PACKAGES = ("pennylane", "torch")

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        self.observables = [observable(terms) for terms in circuit.observables]
        self.node = self.made()

    def made(self) -> Any:
        device = qml.device("default.qubit", wires=self.circuit.qubits)
        return qml.QNode(self.measured, device, interface="torch", diff_method="backprop")

    def measured(self, *columns: Tensor) -> list[Any]:
        for name, qubits, angles in self.circuit.gates:
            GATES[name](*(interface.evaluate(angle, columns) for angle in angles), wires=qubits)
        return [qml.expval(o) for o in self.observables]

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor:
        return torch.stack(self.node(*inputs.unbind(1), *weights.unbind(0)), dim=1)
