"""Fragments as ordinary circuits: what is done at their cuts are angles, what is measured midway is copied to another qubit.

A cut asks for one of a few operations at each of its ends. Turns become the angles of one gate, so that all of them run as
bindings of one circuit. A measurement of which only the sign counts is deferred: CX to a fresh qubit, read at the end in Z with
the observables. So a fragment is a circuit like any other, runs wherever those do, and is mitigated as those are.
"""

import math
from collections.abc import Collection, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import PauliList, SparsePauliOp

from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.light_cone import drop_unfelt
from qmm.quantum.scaling.decompositions import Choice
from qmm.quantum.scaling.places import Cut, End, Fragment, is_last

_SAME = 1e-12


class Variant(NamedTuple):
    """One circuit of a fragment: all choices at its cuts that measure at the same ends."""

    compiled: CompiledCircuit
    """Its inputs: `inputs`, then the turns at the cuts; its weights: `weights`."""
    inputs: tuple[Parameter, ...]
    """Those of the whole circuit that it has."""
    weights: tuple[Parameter, ...]
    turns: NDArray[np.float64]
    """(V, turns) radians"""


class FragmentCircuits(NamedTuple):
    """A fragment, ready to run. For each of R choices at its ends, the last end's fastest, it gives the values of S strings."""

    name: str
    n_qubits: int
    """Without those of deferred measurements."""
    ends: tuple[tuple[int, int], ...]
    """The cut and the side of each of its ends."""
    sizes: tuple[int, ...]
    """How many choices there are at each end; R is their product."""
    variants: tuple[Variant, ...]
    entries: NDArray[np.int64]
    """(R, S): where each value stands among all outputs, variant by variant, row by row, that are followed by 0 and 1."""

    @property
    def width(self) -> int:
        """Qubits of the widest circuit."""
        return max([self.n_qubits, *[v.compiled.circuit.quantum_circuit.num_qubits for v in self.variants]])

    @property
    def n_circuits(self) -> int:
        """Bindings of its circuits for each sample."""
        return sum(len(variant.turns) for variant in self.variants)


def fragment_circuits(
    fragment: Fragment, cuts: Sequence[Cut], strings: PauliList, weights: Collection[Parameter]
) -> FragmentCircuits:
    """Args:
    fragment: One of a circuit's.
    cuts: The circuit's.
    strings: S of them on the fragment's qubits, each once.
    weights: The circuit's.
    """
    ends = [step for step, _ in fragment.steps if isinstance(step, End)]
    choices = [cuts[end.cut].decomposition.choices[end.side] for end in ends]
    sizes = tuple(len(own) for own in choices)
    places = np.arange(math.prod(sizes)).reshape(sizes)
    entries = np.full((places.size, len(strings)), -1)
    variants: list[Variant] = []
    n_outputs = 0
    for pattern in product(*[sorted({choice.measured for choice in own}) for own in choices]):
        writer = _Writer(fragment, strings, pattern)
        rows = [[i for i, c in enumerate(own) if c.measured is kind] for own, kind in zip(choices, pattern, strict=True)]
        where = places[np.ix_(*rows)].ravel() if rows else np.zeros(1, np.int64)
        if not any(pattern):
            felt = (strings.x | strings.z).any(axis=1) if fragment.steps else np.zeros(len(strings), dtype=bool)
            entries[np.ix_(where, ~felt)] = np.where(strings.x[~felt].any(axis=1), 0, 1) - 2  # X and Y of |0> are 0, Z is 1
            writer.asked = np.flatnonzero(felt)
        if len(writer.asked):
            variant, row = writer.variant([[own[i] for i in r] for own, r in zip(choices, rows, strict=True)], weights)
            entries[np.ix_(where, writer.asked)] = n_outputs + row[:, None] * len(writer.asked) + np.arange(len(writer.asked))
            n_outputs += len(variant.turns) * len(writer.asked)
            variants.append(variant)
    entries[entries < 0] += n_outputs + 2
    return FragmentCircuits(
        fragment.name, len(fragment.wires), tuple((e.cut, e.side) for e in ends), sizes, tuple(variants), entries
    )


class _Writer:
    """Writes the circuit of a fragment that measures at some of its ends."""

    def __init__(self, fragment: Fragment, strings: PauliList, pattern: Sequence[bool]):
        self.asked = np.arange(len(strings))
        self._fragment, self._strings, self._pattern = fragment, strings, pattern
        self._circuit = QuantumCircuit(QuantumRegister(len(fragment.wires), fragment.name))
        self._signs: list[int] = []
        self._turns: list[tuple[Parameter, NDArray[np.float64]]] = []

    def variant(self, choices: Sequence[Sequence[Choice]], weights: Collection[Parameter]) -> tuple[Variant, NDArray[np.int64]]:
        """Of choices at each end; and, for every combination of these, the last end's fastest, its row of `turns`."""
        sizes = [len(own) for own in choices]
        combined = np.indices(sizes).reshape(len(sizes), math.prod(sizes)).T
        number = 0
        for place, (step, qubits) in enumerate(self._fragment.steps):
            if isinstance(step, End):
                own = [choices[number][i] for i in combined[:, number]]
                self._end(own, qubits[0], f"{step.cut}.{step.side}", is_last(self._fragment, self._strings, place, qubits[0]))
                number += 1
            else:
                self._circuit.append(step, qubits)
        felt = drop_unfelt(Circuit.of(self._circuit, self._circuit.parameters, (), self._observables())).quantum_circuit
        made, kept = {parameter for parameter, _ in self._turns}, set(felt.parameters)
        own_weights = tuple(p for p in felt.parameters if p in weights)
        own_inputs = tuple(p for p in felt.parameters if p not in weights and p not in made)
        turns = [(p, values) for p, values in self._turns if p in kept]
        columns = np.stack([values for _, values in turns], axis=1) if turns else np.zeros((len(combined), 0))
        distinct, row = np.unique(columns, axis=0, return_inverse=True) if turns else (columns[:1], np.zeros(len(columns), int))
        circuit = Circuit.of(felt, (*own_inputs, *[p for p, _ in turns]), own_weights, self._observables())
        return Variant(CompiledCircuit(circuit), own_inputs, own_weights, distinct), row.reshape(-1)

    def _end(self, choices: Sequence[Choice], qubit: int, name: str, last: bool) -> None:
        self._turn(np.array([choice.before for choice in choices]), qubit, f"{name} before")
        if not choices[0].measured:
            return
        if last:
            self._signs.append(qubit)
            return
        sign = QuantumRegister(1, f"cut {name}")
        self._circuit.add_register(sign)
        self._circuit.cx(qubit, sign[0])
        self._signs.append(self._circuit.num_qubits - 1)
        self._turn(np.array([choice.after for choice in choices]), qubit, f"{name} after")

    def _turn(self, angles: NDArray[np.float64], qubit: int, name: str) -> None:
        """A gate of Euler angles (V, 3), of which those that vary become parameters."""
        if (np.abs(angles[:, 0]) < _SAME).all():
            turn = angles[:, 1] + angles[:, 2]
            if (np.abs(turn) > _SAME).any():
                self._circuit.rz(self._angle(turn, f"{name} lambda"), qubit)
        else:
            self._circuit.u(
                *[self._angle(angles[:, i], f"{name} {of}") for i, of in enumerate(("theta", "phi", "lambda"))], qubit
            )

    def _angle(self, values: NDArray[np.float64], name: str) -> Parameter | float:
        if np.ptp(values) < _SAME:
            return float(values[0])
        parameter = Parameter(name)
        self._turns.append((parameter, values))
        return parameter

    def _observables(self) -> list[SparsePauliOp]:
        own = self._strings[self.asked]
        x, z = np.zeros((2, len(own), self._circuit.num_qubits), dtype=bool)
        x[:, : own.num_qubits], z[:, : own.num_qubits] = own.x, own.z
        z[:, self._signs] ^= True
        return [SparsePauliOp(string) for string in PauliList.from_symplectic(z, x)]
