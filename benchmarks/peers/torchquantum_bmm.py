"""TorchQuantum: its functional gates on a batched device. Its own joint read-out builds a dense 4**n matrix a Pauli string,
so strings are read here from the probabilities of its state, a rotation of the basis for all those that commute."""

import interface
import torch
import torchquantum as tq
import torchquantum.functional as tqf
from torch import Tensor
from torch_peer import TorchPeer

FIXED = {"h": "hadamard", "x": "paulix", "y": "pauliy", "z": "pauliz", "s": "s", "t": "t", "cx": "cnot"}
FIXED |= {"cy": "cy", "cz": "cz", "swap": "swap", "cswap": "cswap"}
ROTATIONS = ("rx", "ry", "rz", "crx", "cry", "crz", "rxx", "ryy", "rzz", "rzx")


class Peer(TorchPeer):
    GATES = (*FIXED, *ROTATIONS)
    PACKAGES = ("torchquantum", "torch")
    DTYPES = ("complex64",)

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        self.bases: list[dict[int, str]] = []
        self.strings: list[list[tuple[int, list[int], float]]] = []
        for output, terms in enumerate(circuit.observables):
            for label, coefficient in terms:
                paulis = dict(interface.paulis(label))
                self.strings[self.basis(paulis)].append((output, list(paulis), coefficient))
        self.signs = [self.table(strings) for strings in self.strings]

    def basis(self, paulis: dict[int, str]) -> int:
        """The first basis that a string can be read in, a new one if there is none."""
        for index, basis in enumerate(self.bases):
            if all(basis.get(qubit, pauli) == pauli for qubit, pauli in paulis.items()):
                basis.update(paulis)
                return index
        self.bases.append(dict(paulis))
        self.strings.append([])
        return len(self.bases) - 1

    def table(self, strings: list[tuple[int, list[int], float]]) -> Tensor:
        """(2**n, n_observables): what each basis state adds to each; wire 0 is the highest bit."""
        states, n = torch.arange(2**self.circuit.qubits), self.circuit.qubits
        table = torch.zeros(2**n, len(self.circuit.observables))
        for output, qubits, coefficient in strings:
            parity = sum((states >> (n - 1 - q)) & 1 for q in qubits) % 2
            table[:, output] += coefficient * (1 - 2 * parity)
        return table.to(self.device)

    def values(self, inputs: Tensor, weights: Tensor) -> Tensor:
        qdev = tq.QuantumDevice(n_wires=self.circuit.qubits, bsz=len(inputs), device=self.device)
        columns = [*inputs.unbind(1), *weights.unbind(0)]
        for name, qubits, angles in self.circuit.gates:
            if not angles:
                getattr(tqf, FIXED[name])(qdev, wires=qubits)
                continue
            angle = torch.as_tensor(interface.evaluate(angles[0], columns), dtype=self.real, device=self.device)
            getattr(tqf, name)(qdev, wires=qubits, params=angle.reshape(-1, 1))
        state, values = qdev.states, torch.zeros((), device=self.device)
        for basis, signs in zip(self.bases, self.signs, strict=True):
            qdev.states = state
            for qubit, pauli in basis.items():
                if pauli == "Y":
                    tqf.sdg(qdev, wires=qubit)
                if pauli in "XY":
                    tqf.hadamard(qdev, wires=qubit)
            values = values + qdev.states.abs().square().reshape(len(inputs), -1) @ signs
        return values
