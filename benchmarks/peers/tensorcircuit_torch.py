"""TensorCircuit-NG on torch: one circuit vmapped over the samples, every observable from its cached state."""

from typing import Any

import interface
import tensorcircuit as tc
import torch
from torch import Tensor
from torch_peer import TorchPeer

FIXED = ("h", "x", "y", "z", "s", "sdg", "t", "tdg", "cx", "cy", "cz", "swap", "ccx", "cswap")
ROTATIONS = ("rx", "ry", "rz", "p", "crx", "cry", "crz", "cp", "rxx", "ryy", "rzz")
NAMES = {"sdg": "sd", "tdg": "td", "cx": "cnot", "ccx": "toffoli", "cswap": "fredkin", "p": "phase", "cp": "cphase"}


def sample(circuit: interface.Description, columns: Any) -> list[Any]:
    """Expectation values of one sample: scalars of whatever backend is set."""
    ansatz = tc.Circuit(circuit.qubits)
    for name, qubits, angles in circuit.gates:
        gate = getattr(ansatz, NAMES.get(name, name))
        gate(*qubits, theta=interface.evaluate(angles[0], columns)) if angles else gate(*qubits)
    values = []
    for terms in circuit.observables:
        total = 0.0
        for label, coefficient in terms:
            where: dict[str, list[int]] = {"x": [], "y": [], "z": []}
            for qubit, pauli in interface.paulis(label):
                where[pauli.lower()].append(qubit)
            total = total + coefficient * ansatz.expectation_ps(**where)
        values.append(tc.backend.real(total))
    return values


class Peer(TorchPeer):
    GATES = (*FIXED, *ROTATIONS)
    PACKAGES = ("tensorcircuit-ng", "torch")

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        tc.set_backend("pytorch")
        tc.set_dtype(dtype)

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor:
        def one(x: Tensor) -> Tensor:
            return torch.stack(sample(self.circuit, [*x.unbind(0), *weights.unbind(0)]))

        with torch.device(self.device):
            return torch.func.vmap(one)(inputs)
