"""How registers meet. Every instruction here touches two registers, so it goes when one of them is missing."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from qiskit.circuit import Parameter, QuantumCircuit

from qmm.config import Configurable
from qmm.registers import RegisterLayout


class Entangler(Configurable, ABC):
    """How registers meet in each layer."""

    reference: str = ""

    @abstractmethod
    def circuit(self, layout: RegisterLayout) -> QuantumCircuit:
        """On the layout's qubits, instructions across registers alone; what is trained is named, unique within the layer."""


def register_ring(layout: RegisterLayout) -> Iterator[tuple[int, int]]:
    """From the last qubit of each register to the first of the next, round all registers; no two qubits meet twice.

    Two registers meet at both ends (a's last with b's first, b's last with a's first), one register meets nobody.
    """
    registers = [layout.qubits(modality) for modality in layout.modalities]
    met: set[frozenset[int]] = set()
    for place, register in enumerate(registers):
        following = registers[(place + 1) % len(registers)]
        pair = (register[-1], following[0])
        if following is not register and frozenset(pair) not in met:
            met.add(frozenset(pair))
            yield pair


def side_by_side(layout: RegisterLayout) -> Iterator[tuple[int, int]]:
    """Of every two registers, qubit i of the one with qubit i of the other; the shorter one starts again at its end."""
    for first, second in layout.pairs():
        a, b = layout.qubits(first), layout.qubits(second)
        yield from ((a[i % len(a)], b[i % len(b)]) for i in range(max(len(a), len(b))))


def cx_ring(layout: RegisterLayout) -> QuantumCircuit:
    """CX along `register_ring`: nothing to train, full strength from the first step."""
    circuit = QuantumCircuit(layout.n_qubits)
    for control, target in register_ring(layout):
        circuit.cx(control, target)
    return circuit


def rzz_couplings(layout: RegisterLayout) -> QuantumCircuit:
    """RZZ along `side_by_side`, one trained angle each: how strongly registers meet is learnt; at 0 they do not."""
    circuit = QuantumCircuit(layout.n_qubits)
    for a, b in side_by_side(layout):
        circuit.rzz(Parameter(f"{layout.label(a)}-{layout.label(b)}.zz"), a, b)
    return circuit


class Ring(Entangler):
    """`cx_ring`."""

    def circuit(self, layout: RegisterLayout) -> QuantumCircuit:
        return cx_ring(layout)


class Pairs(Entangler):
    """`rzz_couplings`."""

    def circuit(self, layout: RegisterLayout) -> QuantumCircuit:
        return rzz_couplings(layout)
