"""How entangled the registers of a circuit are."""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit


def entropy(state_vectors: Tensor, qubits: Sequence[int]) -> Tensor:
    """(B, 2**n) -> (B,): the von Neumann entropy of some of the qubits, in bits, from 0 to their number. In a pure state, as
    here, it is that of all the others, and tells how entangled the two are.

    Raises InputError for qubits that the states do not have, or named twice.
    """
    n_qubits = state_vectors.shape[-1].bit_length() - 1
    if len(set(qubits)) < len(qubits) or not set(qubits) <= set(range(n_qubits)):
        raise InputError(f"the entropy of qubits {list(qubits)}; the states have 0 to {n_qubits - 1}, each once")
    others = [q for q in range(n_qubits) if q not in qubits]
    kept, traced = sorted([list(qubits), others], key=len)
    if not kept:
        return state_vectors.new_zeros(len(state_vectors), dtype=state_vectors.dtype.to_real())
    axes = [1 + n_qubits - 1 - q for q in (*kept, *traced)]
    split = state_vectors.to(torch.complex128).reshape(-1, *[2] * n_qubits).permute(0, *axes).flatten(len(kept) + 1)
    split = split.flatten(1, -2)
    shares = torch.linalg.eigvalsh(split @ split.mH).clamp(min=0)
    return torch.special.entr(shares).sum(-1).to(state_vectors.dtype.to_real()) / math.log(2)


def mutual_information(state_vectors: Tensor, first: Sequence[int], second: Sequence[int]) -> Tensor:
    """(B, 2**n) -> (B,): what two groups of qubits know of each other, in bits: the sum of their entropies less that of both
    together; up to twice the smaller group's number of qubits. Raises InputError as `entropy` does."""
    one, other = entropy(state_vectors, first), entropy(state_vectors, second)
    return one + other - entropy(state_vectors, [*first, *second])


def between_registers(circuit: Circuit | CompiledCircuit, state_vectors: Tensor) -> dict[str, Tensor]:
    """(B,) bits by name: of each register of the circuit the `entropy` ("vision"), of every two, where there are more of them,
    the `mutual_information` ("vision-audio"). Nothing for a circuit of one register.

    Args:
        circuit: Its Qiskit circuit's quantum registers are meant; those of a fusion are named by their modalities.
        state_vectors: (B, 2**n), of `qmm.quantum.states`.
    """
    own = circuit.circuit if isinstance(circuit, CompiledCircuit) else circuit
    registers = registers_of(own)
    if len(registers) < 2:
        return {}
    found = {name: entropy(state_vectors, qubits) for name, qubits in registers.items()}
    if len(registers) > 2:
        for (a, first), (b, second) in combinations(registers.items(), 2):
            found[f"{a}-{b}"] = mutual_information(state_vectors, first, second)
    return found


def registers_of(circuit: Circuit) -> dict[str, list[int]]:
    """Qubits by the name of their quantum register."""
    quantum_circuit = circuit.quantum_circuit
    return {register.name: [quantum_circuit.find_bit(q).index for q in register] for register in quantum_circuit.qregs}
