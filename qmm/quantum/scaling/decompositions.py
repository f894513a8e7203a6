"""What is run in place of a cut gate or wire: signed sums of one-qubit operations on its two sides (arXiv:1909.07534).

The operations are those of qiskit-addon-cutting. Gates of one angle are brought into the form exp(-i angle/2 P P), in which the
operations are the same for every angle and only the coefficients depend on it, so that angles may stay open.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.circuit.library import (
    HGate,
    PhaseGate,
    RXGate,
    RXXGate,
    RYGate,
    RYYGate,
    RZGate,
    RZZGate,
    SdgGate,
    SGate,
)
from qiskit.quantum_info import Operator
from qiskit.synthesis import OneQubitEulerDecomposer

from qmm.quantum.angles import free_parameters
from qmm.quantum.circuit import Circuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.extras import require
from qmm.quantum.lower import is_parametrised
from qmm.quantum.operations import Angle

Placed: TypeAlias = tuple[Any, tuple[int, ...]]
"""An operation, and the qubits that it acts on."""

WIRE = "wire"
_TURNS = {"rxx": RXXGate, "ryy": RYYGate, "rzz": RZZGate}
_ONE_ANGLE = {*_TURNS, "rzx", "crx", "cry", "crz", "cp"}
_ZERO = 1e-12


class Choice(NamedTuple):
    """What is done at one end of a cut: a turn, or a turn, a measurement whose sign counts, and another turn."""

    measured: bool
    before: tuple[float, float, float]
    """theta, phi, lambda of Qiskit's U gate"""
    after: tuple[float, float, float]
    """Zeros where nothing is measured."""


class Decomposition(NamedTuple):
    """A gate between two qubits, or a wire from one to the other, as a sum over M pairs of local operations."""

    name: str
    """The gate's, or WIRE."""
    angle: Angle | None
    """Of exp(-i angle/2 P P), where it is open; None where the coefficients are fixed."""
    fixed: NDArray[np.float64]
    """(M,): the coefficients, at an open angle those of pi/2, where they are the largest."""
    choices: tuple[tuple[Choice, ...], tuple[Choice, ...]]
    """The different operations at either end."""
    maps: NDArray[np.int64]
    """(M, 2): which of these each pair consists of."""

    @property
    def gamma(self) -> float:
        """The sum of the coefficients' absolute values, at an open angle the largest that there is: 3 for CX, 4 for a wire."""
        return float(np.abs(self.fixed).sum())

    def coefficients(self, angles: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) radians, of no effect where the coefficients are fixed -> (N, M)"""
        if self.angle is None:
            return np.tile(self.fixed, (len(angles), 1))
        half = angles / 2
        both = self.fixed[2:] * 2 * (np.sin(half) * np.cos(half))[:, None]
        return np.concatenate([np.cos(half)[:, None] ** 2, np.sin(half)[:, None] ** 2, both], axis=1)


def decompose(gate: Any) -> Decomposition:
    """Of a gate that `is_known`, without controls around an angle. Raises CircuitError without the extra "scaling"."""
    instructions = require("qiskit_addon_cutting.qpd", "scaling", "cuts")
    if gate.name in _TURNS and free_parameters(gate.params[0]):
        return _decomposition(gate.name, gate.params[0], instructions.QPDBasis.from_instruction(_TURNS[gate.name](np.pi / 2)))
    return _decomposition(gate.name, None, instructions.QPDBasis.from_instruction(gate))


def decompose_wire() -> Decomposition:
    """A wire from one qubit to another (arXiv:1904.00102). Raises CircuitError without the extra "scaling"."""
    move = require("qiskit_addon_cutting.instructions", "scaling", "cuts").Move()
    return _decomposition(WIRE, None, require("qiskit_addon_cutting.qpd", "scaling", "cuts").QPDBasis.from_instruction(move))


def is_known(gate: Any) -> bool:
    """Whether a gate of two qubits can be cut as it is, or once it `as_turns`."""
    return isinstance(gate, Gate) and (gate.name in _ONE_ANGLE or (not is_parametrised(gate) and hasattr(gate, "__array__")))


def expand(operation: Any, qubits: tuple[int, ...]) -> Iterator[Placed]:
    """Gates of one qubit, and those of two that can be cut, that make up the operation.

    Raises CircuitError where it has no such definition.
    """
    if len(qubits) == 1 or (len(qubits) == 2 and is_known(operation)):
        yield operation, qubits
        return
    definition = None if getattr(operation, "blocks", ()) else getattr(operation, "definition", None)
    if not isinstance(definition, QuantumCircuit):
        raise CircuitError(
            f"{operation.name!r} on {len(qubits)} qubits cannot be cut: no decomposition into operations on either side is "
            "known; write it with gates of two qubits, or give it a definition of such gates"
        )
    for item in definition.data:
        yield from expand(item.operation, tuple(qubits[definition.find_bit(q).index] for q in item.qubits))


def as_turns(gate: Any, qubits: tuple[int, ...]) -> Iterator[Placed]:
    """A gate of one angle as RXX, RYY or RZZ of the same gamma, between gates of one qubit; any other as it is.

    A controlled rotation costs (1 + 2 |sin(angle / 2)|)**2 so, where its definition by two CX costs 81.
    """
    if gate.name == "rzx":
        yield from _zx(gate.params[0], *qubits)
    elif gate.name == "crx":
        yield RXGate(gate.params[0] / 2), qubits[1:]
        yield from _zx(-gate.params[0] / 2, *qubits)
    elif gate.name == "cry":
        yield RYGate(gate.params[0] / 2), qubits[1:]
        yield SdgGate(), qubits[1:]
        yield from _zx(-gate.params[0] / 2, *qubits)
        yield SGate(), qubits[1:]
    elif gate.name in ("crz", "cp"):
        turn = RZGate if gate.name == "crz" else PhaseGate
        for qubit in qubits[gate.name == "crz" :]:
            yield turn(gate.params[0] / 2), (qubit,)
        yield RZZGate(-gate.params[0] / 2), qubits
    else:
        yield gate, qubits


def in_turns(circuit: Circuit) -> Circuit:
    """The circuit with its gates of two qubits and open angles `as_turns`, where they have a definition."""
    quantum_circuit = circuit.quantum_circuit
    turned: QuantumCircuit = quantum_circuit.copy_empty_like()
    for item in quantum_circuit.data:
        own = [(item.operation, tuple(quantum_circuit.find_bit(q).index for q in item.qubits))]
        if len(item.qubits) == 2 and is_parametrised(item.operation):
            with suppress(CircuitError):
                own = [part for known in expand(*own[0]) for part in as_turns(*known)]
        for operation, qubits in own:
            turned.append(operation, qubits, item.clbits)
    return circuit._replace(quantum_circuit=turned)


def _zx(angle: Angle, control: int, target: int) -> Iterator[Placed]:
    yield HGate(), (target,)
    yield RZZGate(angle), (control, target)
    yield HGate(), (target,)


def _decomposition(name: str, angle: Angle | None, basis: Any) -> Decomposition:
    coefficients = np.array(basis.coeffs, dtype=float)
    kept = np.flatnonzero(np.abs(coefficients) > _ZERO)
    choices: tuple[list[Choice], list[Choice]] = ([], [])
    maps = np.empty((len(kept), 2), np.int64)
    for side, known in enumerate(choices):
        places: dict[bytes, int] = {}
        for row, m in enumerate(kept.tolist()):
            measured, before, after = _matrices(basis.maps[m][side])
            key = bytes([measured]) + _without_phase(before) + _without_phase(after)
            maps[row, side] = places.setdefault(key, len(known))
            if places[key] == len(known):
                known.append(Choice(measured, _euler(before), _euler(after)))
    return Decomposition(name, angle, coefficients[kept], (tuple(choices[0]), tuple(choices[1])), maps)


def _matrices(operations: Sequence[Any]) -> tuple[bool, NDArray[np.complex128], NDArray[np.complex128]]:
    """Whether something is measured, and what happens before and after. Resets stand at the ends of wires, and do nothing."""
    measured, matrices = False, [np.eye(2, dtype=complex), np.eye(2, dtype=complex)]
    for operation in operations:
        if operation.name == "qpd_measure":
            measured = True
        elif operation.name != "reset":
            matrices[measured] = Operator(operation).data @ matrices[measured]
    return measured, matrices[0], matrices[1]


def _without_phase(matrix: NDArray[np.complex128]) -> bytes:
    flat = matrix.ravel()
    first = flat[np.argmax(np.abs(flat) > 0.5)]
    return (np.round(flat * np.abs(first) / first, 9) + 0.0).tobytes()  # + 0.0: no negative zeros


def _euler(matrix: NDArray[np.complex128]) -> tuple[float, float, float]:
    theta, phi, lam = OneQubitEulerDecomposer("U").angles(matrix)
    return float(theta), float(phi), float(lam)
