"""The [[4,2,2]] code: two logical qubits in four, such that any error of one qubit is seen by one of two parities.

Its states are those on which XXXX and ZZZZ are 1. On its qubits 0 to 3, with a and b for the logical ones, X_a = X0 X1,
X_b = X0 X2, Z_a = Z0 Z2, Z_b = Z0 Z1. It was run on superconducting qubits in arXiv:1705.09259.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from qiskit.circuit import CircuitInstruction, QuantumCircuit
from qiskit.quantum_info import Pauli

_LOGICAL = {("X", 0): (0, 1), ("X", 1): (0, 2), ("Z", 0): (0, 2), ("Z", 1): (0, 1)}
_TURNS = {"X": ("Y", -np.pi / 2), "Y": ("X", np.pi / 2)}  # a rotation after which Z reads what that letter did before
_SAME = 1e-9  # radians

Letters = Mapping[int, str]
"""A Pauli string: the letter of each qubit that it acts on."""


class Block:
    """Four qubits of a circuit that hold a pair."""

    def __init__(self, pair: tuple[int, int], first: int):
        self.pair = pair
        self.places = list(range(first, first + 4))
        """Which qubit of the circuit each of the code's is: what permutes these costs nothing."""

    def permute(self, one: int, other: int) -> None:
        self.places[one], self.places[other] = self.places[other], self.places[one]


class Encoder:
    """Writes a circuit with pairs of its qubits encoded; its other qubits stay as they are.

    The encoded circuit has the blocks first, then the other qubits, then ancillas, which read 0 where nothing went wrong.

    Args:
        n_qubits: Of the circuit.
        pairs: Its qubits (a, b) of each block.
        check_preparation: Whether an ancilla of each block sees what goes wrong in its preparation and turns no parity.
        check_other: Whether an ancilla of each block reads, at the end, the parity that the block's own bits do not give.
    """

    def __init__(
        self,
        n_qubits: int,
        pairs: Sequence[tuple[int, int]],
        check_preparation: bool = False,
        check_other: bool = False,
    ):
        bare = sorted(set(range(n_qubits)) - set(chain(*pairs)))
        self.blocks = [Block(pair, 4 * i) for i, pair in enumerate(pairs)]
        self.bare = {qubit: 4 * len(pairs) + i for i, qubit in enumerate(bare)}
        first = 4 * len(pairs) + len(bare)
        self.ancillas = list(range(first, first + len(pairs) * (check_preparation + check_other)))
        self.circuit = QuantumCircuit(first + len(self.ancillas))
        self._block = {qubit: block for block in self.blocks for qubit in block.pair}
        self._at_end = self.ancillas[-len(pairs) :] if check_other else []
        self._turned: set[int] = set()  # qubits that await a Hadamard gate, which costs nothing on both of a pair
        for i, block in enumerate(self.blocks):
            self._prepare(block, self.ancillas[i] if check_preparation else None)

    def _prepare(self, block: Block, ancilla: int | None) -> None:
        """Both logical qubits 0: (|0000> + |1111>) / sqrt 2."""
        q = block.places
        self.circuit.h(q[0])
        for one, other in ((0, 1), (1, 2), (2, 3)):
            self.circuit.cx(q[one], q[other])
        if ancilla is not None:  # what turns no parity flips two neighbours at an end of the chain, so that its ends differ
            self.circuit.cx(q[0], ancilla)
            self.circuit.cx(q[3], ancilla)

    def append(self, item: CircuitInstruction, qubits: Sequence[int]) -> None:
        """A standard gate, on these qubits of the original circuit."""
        name, block = item.operation.name, self._block.get(qubits[0])
        if name == "h" and block is not None:
            self._hadamard(block, qubits[0])
            return
        self._settle(qubits)
        if block is not None and set(qubits) == set(block.pair) and name in ("cx", "swap", "cz"):
            self._within(block, name, qubits[0])
        elif name != "barrier":
            for turn in _rotations(item):
                self.rotate({qubits[i]: letter for i, letter in turn.letters.items()}, turn.angle)

    def rotate(self, letters: Letters, angle: Any) -> None:
        """exp(-i angle P / 2) of a Pauli string over the original circuit's qubits."""
        from qiskit.circuit.library import PauliProductRotationGate

        sign, own = self.representative(letters)
        fixed = None if hasattr(angle, "parameters") else (float(angle) + np.pi) % (2 * np.pi) - np.pi
        if fixed is not None and abs(fixed) > np.pi - _SAME:
            for place, letter in own.items():
                getattr(self.circuit, letter.lower())(place)
        elif own and (fixed is None or abs(fixed) > _SAME):
            self.circuit.append(PauliProductRotationGate(_pauli(list(own.values())), sign * angle), list(own))

    def representative(self, letters: Letters) -> tuple[int, dict[int, str]]:
        """A Pauli string over the original circuit's qubits as one over the encoded circuit's: its sign, and its letters.

        Of those that do the same to encoded states, one with the fewest letters.
        """
        sign, own = 1, {self.bare[qubit]: letter for qubit, letter in letters.items() if qubit in self.bare}
        for block in self.blocks:
            of_block, code = _lightest(*(letters.get(qubit, "I") for qubit in block.pair))
            sign *= of_block
            own |= {block.places[i]: letter for i, letter in enumerate(code) if letter != "I"}
        return sign, own

    def _hadamard(self, block: Block, qubit: int) -> None:
        self._turned ^= {qubit}
        if self._turned >= set(block.pair):
            self._turned -= set(block.pair)
            self.circuit.h(block.places)
            block.permute(1, 2)

    def _settle(self, qubits: Sequence[int]) -> None:
        """Hadamard gates that have waited on these qubits."""
        for qubit in sorted(self._turned & set(qubits)):
            self._turned.discard(qubit)
            self.rotate({qubit: "Y"}, np.pi / 2)
            self.rotate({qubit: "X"}, np.pi)

    def _within(self, block: Block, name: str, first: int) -> None:
        """Gates between a pair that act on each qubit by itself, so that they spread no errors."""
        if name == "swap":
            block.permute(1, 2)
        elif name == "cx":
            block.permute(0, 2 if first == block.pair[0] else 1)
        else:
            self.circuit.s([block.places[i] for i in (0, 3)])
            self.circuit.sdg([block.places[i] for i in (1, 2)])

    def read_out(self, basis: Letters) -> "ReadOut":
        """Ends the circuit with what is needed to read the original circuit's qubits in a basis, and says how to read."""
        self._settle(list(self._block))
        axes = []
        for block in self.blocks:
            wanted = {qubit: basis[qubit] for qubit in block.pair if qubit in basis}
            axes.append("X" if set(wanted.values()) == {"X"} else "Z")
            if axes[-1] == "Z":
                for qubit, letter in wanted.items():
                    if letter in _TURNS:
                        self.rotate({qubit: _TURNS[letter][0]}, _TURNS[letter][1])
        for block, axis, ancilla in zip(self.blocks, axes, self._at_end, strict=False):
            self._check(block, "X" if axis == "Z" else "Z", ancilla)
        return ReadOut(self, axes, basis)

    def _check(self, block: Block, axis: str, ancilla: int) -> None:
        """Makes the ancilla read the parity XXXX or ZZZZ."""
        if axis == "X":
            self.circuit.h(ancilla)
        for place in block.places:
            self.circuit.cx(*((ancilla, place) if axis == "X" else (place, ancilla)))
        if axis == "X":
            self.circuit.h(ancilla)


class ReadOut(NamedTuple):
    """How an encoded circuit is measured, in Pauli strings over its qubits."""

    encoder: Encoder
    axes: list[str]
    """X or Z, in which all four qubits of each block are measured."""
    basis: Letters
    """Of the original circuit."""

    def measured(self) -> Pauli:
        own = {self.encoder.bare[qubit]: letter for qubit, letter in self.basis.items() if qubit in self.encoder.bare}
        for check in self._checks():
            own |= check
        return self._string(own)

    def checks(self) -> list[Pauli]:
        """They are 1 where nothing went wrong."""
        return [self._string(check) for check in self._checks()]

    def string(self, letters: Letters) -> Pauli:
        """What reads a Pauli string of the original circuit, whose letters are those of the basis."""
        read = dict(letters)
        for block, axis in zip(self.encoder.blocks, self.axes, strict=True):
            read |= {qubit: axis for qubit in block.pair if qubit in letters}
        return self._string(self.encoder.representative(read)[1])  # in X or Z alone: the sign is 1

    def _checks(self) -> list[dict[int, str]]:
        blocks = zip(self.encoder.blocks, self.axes, strict=True)
        return [*(dict.fromkeys(b.places, axis) for b, axis in blocks), *({a: "Z"} for a in self.encoder.ancillas)]

    def _string(self, letters: Letters) -> Pauli:
        return _pauli([letters.get(i, "I") for i in range(self.encoder.circuit.num_qubits)])


class _Turn(NamedTuple):
    letters: dict[int, str]
    angle: Any


def _rotations(item: CircuitInstruction) -> list[_Turn]:
    """A standard gate as rotations, on its own qubits 0, 1, ...; the first is done first."""
    from qiskit.transpiler.passes import ConvertToPauliRotations

    alone = QuantumCircuit(len(item.qubits))
    alone.append(item.operation, range(len(item.qubits)))
    return [
        _Turn(
            {alone.find_bit(q).index: letter for q, letter in zip(turn.qubits, _label(turn.operation.pauli()), strict=True)},
            turn.operation.params[0],
        )
        for turn in ConvertToPauliRotations()(alone).data
    ]


@cache
def _lightest(first: str, second: str) -> tuple[int, str]:
    """Of a logical string: the sign and the four letters of a representative with the fewest of them.

    Of logical X alone it has X alone, of Z alone Z alone, with the sign 1.
    """
    own = Pauli("IIII")
    for i, letter in enumerate((first, second)):
        for axis in "XZ":
            if letter in (axis, "Y"):
                own = own.dot(_pauli([axis if k in _LOGICAL[axis, i] else "I" for k in range(4)]))
        if letter == "Y":
            own.phase -= 1  # Y = i X Z
    same = [own.dot(Pauli(x)).dot(Pauli(z)) for x in ("IIII", "XXXX") for z in ("IIII", "ZZZZ")]
    best = min(same, key=lambda pauli: int((pauli.x | pauli.z).sum()))
    return (-1 if best.phase == 2 else 1), _label(best)


def _pauli(letters: Sequence[str]) -> Pauli:
    """From the letter of qubit 0 on."""
    return Pauli("".join(reversed(letters)))


def _label(pauli: Pauli) -> str:
    """Letters from that of qubit 0 on, without the sign."""
    return Pauli((pauli.z, pauli.x)).to_label()[::-1]
