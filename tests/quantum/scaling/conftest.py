"""Random circuits on registers that meet at a few gates."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.random import Generator
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.quantum_info import SparsePauliOp

from qmm.quantum import Circuit

_GATES = get_standard_gate_name_mapping()
_INSIDE = ("ry", "rx", "u", "h", "sx", "t", "cx", "crz", "rxx", "swap")


def registered(
    rng: Generator, sizes: Sequence[int], meetings: Sequence[tuple[str, int, int]], n_gates: int = 8, n_terms: int = 1
) -> Circuit:
    """Random gates inside the registers "r0", "r1", ..., and between them the meetings (gate, qubit, qubit), in this order."""
    registers = [QuantumRegister(size, f"r{i}") for i, size in enumerate(sizes)]
    circuit = QuantumCircuit(*registers)
    inputs, weights = ([Parameter(f"{kind}{i}") for i in range(3)] for kind in "xw")

    def add(name: str, qubits: Sequence[int]) -> None:
        gate = _GATES[name].to_mutable()
        a, b = (([*inputs, *weights])[i] for i in rng.integers(6, size=2))
        gate.params = [rng.choice([a, a - 2 * b, (a + b).sin() * 3]) for _ in gate.params]
        circuit.append(gate, qubits)

    def fill(number: int) -> None:
        for _ in range(number):
            own = [circuit.find_bit(q).index for q in registers[rng.integers(len(registers))]]
            name = str(rng.choice(_INSIDE))
            width = _GATES[name].num_qubits
            if width <= len(own):
                add(name, rng.permutation(own)[:width].tolist())

    for qubit, parameter in enumerate([*inputs, *weights]):
        circuit.ry(parameter, qubit % circuit.num_qubits)
    for name, first, second in meetings:
        fill(n_gates)
        add(name, (first, second))
    fill(n_gates)
    labels = [["".join(rng.choice(list("IIXYZ"), circuit.num_qubits)) for _ in range(n_terms)] for _ in range(3)]
    return Circuit.of(circuit, inputs, weights, [SparsePauliOp(own, rng.normal(size=n_terms)) for own in labels])


@pytest.fixture
def meeting() -> Callable[..., Circuit]:
    """(seed, sizes, meetings, n_gates=8, n_terms=1) -> a circuit of three inputs, three weights, three observables."""
    return lambda seed, *arguments, **options: registered(np.random.default_rng(seed), *arguments, **options)
