"""qmm.quantum: the Qiskit circuit itself, as QuantumLayer takes it."""

import interface
from torch import Tensor
from torch_peer import TorchPeer

from qmm.quantum import Circuit, CompiledCircuit, expectations


class Peer(TorchPeer):
    PACKAGES = ("qmm", "torch", "numba", "qiskit")

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        self.compiled = CompiledCircuit(Circuit.from_json(circuit.source))

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor:
        return expectations(self.compiled, inputs, weights)
