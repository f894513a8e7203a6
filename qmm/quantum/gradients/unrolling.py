"""A circuit unrolled: each parametrised gate decomposed until every angle is that of a gate with two eigenvalues."""

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import AnnotatedOperation, ControlledGate, Parameter, QuantumCircuit
from qiskit.circuit.library import (
    CUGate,
    PauliEvolutionGate,
    PhaseGate,
    RXGate,
    RXXGate,
    RYGate,
    RYYGate,
    RZGate,
    RZXGate,
    RZZGate,
    XGate,
    ZGate,
)
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

from qmm.quantum.angles import Angles, collect, free_parameters
from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.light_cone import drop_unfelt
from qmm.quantum.lower import is_parametrised, synthesised
from qmm.quantum.operations import Angle

_ROTATIONS = {gate(0.0).name: gate for gate in (RXGate, RYGate, RZGate, RXXGate, RYYGate, RZZGate, RZXGate)}
_BY_AXES = {"X": RXGate, "Y": RYGate, "Z": RZGate, "XX": RXXGate, "YY": RYYGate, "ZZ": RZZGate, "ZX": RZXGate}
_PHASES = ("p", "u1")
_EULER = ("u", "u2", "u3")
_ZERO = 1e-12


class Unrolled(NamedTuple):
    """A circuit whose every angle occurs once, in exp(-i angle G) with two eigenvalues of G that differ by 1."""

    compiled: CompiledCircuit
    """Its inputs are the A angles that reach an observable; it has no weights."""
    angles: Angles
    """The angles as functions of the original circuit's inputs and weights, in float64 on the CPU."""
    of_inputs: NDArray[np.bool_]
    """(A,): which of them depend on inputs."""
    of_weights: NDArray[np.bool_]
    """(A,): which of them depend on weights."""

    def chosen(self, wanted: tuple[bool, bool]) -> NDArray[np.int64]:
        """The places of the angles that derivatives by inputs, and by weights, need where they are wanted."""
        return np.flatnonzero(self.of_inputs & wanted[0] | self.of_weights & wanted[1])

    def slopes(self, chosen: NDArray[np.int64], inputs: Tensor, weights: Tensor) -> Tensor:
        """(B or 1, chosen angles, n_inputs + n_weights): their derivatives by each input, then by each weight.

        Inputs are (B, n_inputs), weights (B, n_weights).
        """
        identity = torch.eye(len(self.of_inputs), dtype=torch.float64)[chosen]
        if not self.angles.formulas:  # those of any sample are those of all
            inputs, weights = inputs[:1], weights[:1]
        count, at = len(inputs), [t.repeat_interleave(len(chosen), dim=0) for t in (inputs, weights)]
        pulled = self.angles.pullback(identity.repeat(count, 1), *at)
        found = [torch.zeros_like(t) if p is None else p for t, p in zip(at, pulled, strict=True)]
        return torch.cat(found, dim=1).unflatten(0, (count, len(chosen)))


_KNOWN: WeakKeyDictionary[CompiledCircuit, Unrolled] = WeakKeyDictionary()


def unroll(circuit: CompiledCircuit) -> Unrolled:
    """The circuit unrolled, once.

    Raises CircuitError for parametrised gates that have no definition, and for time evolutions under terms that do not commute.
    """
    if circuit not in _KNOWN:
        _KNOWN[circuit] = _unroll(circuit.circuit)
    return _KNOWN[circuit]


def _unroll(circuit: Circuit) -> Unrolled:
    unroller = _Unroller(circuit.quantum_circuit)
    for place, item in enumerate(circuit.quantum_circuit.data):
        try:
            unroller.add(item.operation, item.qubits, item.clbits)
        except CircuitError as error:
            raise CircuitError(f"instruction {place} ({item.operation.name!r}): {error}") from error
    felt = drop_unfelt(Circuit.of(unroller.circuit, (), unroller.angles, circuit.observables))
    used = [unroller.angles[parameter] for parameter in felt.weights]
    inputs, weights = set(circuit.inputs), set(circuit.weights)
    return Unrolled(
        CompiledCircuit(felt._replace(inputs=felt.weights, weights=())),
        collect(used, circuit.inputs, circuit.weights),
        np.array([bool(free_parameters(angle) & inputs) for angle in used], dtype=bool),
        np.array([bool(free_parameters(angle) & weights) for angle in used], dtype=bool),
    )


class _Turn(NamedTuple):
    """A parametrised gate of the unrolled circuit."""

    gate: Any
    controls: int
    qubits: tuple[Any, ...]
    parameter: Parameter


class _Unroller:
    """Copies a circuit, gate by gate."""

    def __init__(self, like: QuantumCircuit):
        self.circuit: QuantumCircuit = like.copy_empty_like()
        self.circuit.global_phase = 0.0  # it may have parameters, and no observable sees it
        self.angles: dict[Parameter, Angle] = {}
        self._latest: dict[Any, _Turn | None] = {}

    def add(self, gate: Any, qubits: Any, clbits: Any = ()) -> None:
        if not is_parametrised(gate) and not (gate.name == "PauliEvolution" and free_parameters(gate.time)):
            self._append(gate, qubits, clbits)
        elif isinstance(gate, AnnotatedOperation):
            self._define(synthesised(gate), qubits)
        elif isinstance(gate, PauliEvolutionGate):
            self._evolve(gate, qubits)
        elif isinstance(gate, ControlledGate) and self._is_known(gate):
            self._controlled(gate, qubits)
        elif gate.name in _ROTATIONS:
            self._turn(_ROTATIONS[gate.name], gate.params[0], qubits)
        elif gate.name in _PHASES:
            self._turn(PhaseGate, gate.params[0], qubits)
        elif gate.name in _EULER:
            theta, phi, lam = _euler(gate)
            for rotation, angle in ((RZGate, lam), (RYGate, theta), (RZGate, phi)):
                self._turn(rotation, angle, qubits)
        elif getattr(gate, "definition", None) is not None and not getattr(gate, "blocks", ()):
            self._define(gate.definition, qubits)
        else:
            raise CircuitError(
                f"there is no rule that differentiates {gate.name!r} by shifts; write it with rotations, phases and fixed "
                "gates, or give it a definition of such gates"
            )

    def _define(self, circuit: QuantumCircuit, qubits: Any) -> None:
        for item in circuit.data:
            self.add(item.operation, [qubits[circuit.find_bit(q).index] for q in item.qubits])

    def _append(self, gate: Any, qubits: Any, clbits: Any = (), turn: "_Turn | None" = None) -> None:
        self.circuit.append(gate, qubits, clbits)
        self._latest.update(dict.fromkeys(qubits, turn))

    def _turn(self, gate: Any, angle: Angle, qubits: Any, controls: int = 0) -> None:
        """A gate of one angle, which becomes a parameter of its own where it is not a number.

        A second turn about the same axis right behind a first is one with it: the sum of both angles needs one derivative.
        """
        before = self._latest.get(qubits[0])
        if before is not None and before[:3] == (gate, controls, tuple(qubits)) and self._is_latest(before):
            self.angles[before.parameter] = self.angles[before.parameter] + angle
            return
        turned, turn = gate(angle), None
        if free_parameters(angle):
            parameter = Parameter(f"angle[{len(self.angles)}]")
            self.angles[parameter] = angle
            turned, turn = gate(parameter), _Turn(gate, controls, tuple(qubits), parameter)
        self._append(turned.control(controls, annotated=False) if controls else turned, qubits, turn=turn)

    def _is_latest(self, turn: "_Turn") -> bool:
        return all(self._latest.get(qubit) is turn for qubit in turn.qubits)

    @staticmethod
    def _is_known(gate: ControlledGate) -> bool:
        base = gate.base_gate.name
        return base in _ROTATIONS or base in _PHASES or (base in _EULER and (len(gate.params) < 4 or isinstance(gate, CUGate)))

    def _controlled(self, gate: ControlledGate, qubits: Any) -> None:
        k = gate.num_ctrl_qubits
        controls, targets, base = list(qubits[:k]), list(qubits[k:]), gate.base_gate.name
        opened = [qubit for i, qubit in enumerate(controls) if not gate.ctrl_state >> i & 1]
        for qubit in opened:
            self._append(XGate(), [qubit])
        if base in _PHASES:
            self._turn(PhaseGate, gate.params[0], [*controls, *targets], k)
        elif base in _ROTATIONS:
            self._controlled_turn(_ROTATIONS[base], gate.params[0], controls, targets)
        else:
            theta, phi, lam = _euler(gate)
            phase = (phi + lam) / 2 + (gate.params[3] if isinstance(gate, CUGate) else 0.0)
            for rotation, angle in ((RZGate, lam), (RYGate, theta), (RZGate, phi)):
                self._controlled_turn(rotation, angle, controls, targets)
            self._turn(PhaseGate, phase, controls, k - 1)
        for qubit in opened:
            self._append(XGate(), [qubit])

    def _controlled_turn(self, gate: Any, angle: Angle, controls: Any, targets: Any) -> None:
        """A rotation by half the angle, and one back whose sense the controls turn round, by a Pauli that anticommutes.

        Two rules of two terms have less variance than the one of four terms that the whole gate obeys.
        """
        flip = (ZGate() if gate in (RXGate, RXXGate) else XGate()).control(len(controls), annotated=False)
        self._turn(gate, angle / 2, targets)
        self._append(flip, [*controls, targets[0]])
        self._turn(gate, -angle / 2, targets)
        self._append(flip, [*controls, targets[0]])

    def _evolve(self, gate: PauliEvolutionGate, qubits: Any) -> None:
        for part in gate.operator if isinstance(gate.operator, list) else [gate.operator]:
            terms = part if isinstance(part, SparsePauliOp) else SparsePauliOp.from_sparse_observable(part)
            if np.any(np.abs(terms.coeffs.imag) > _ZERO):
                raise CircuitError("the Hamiltonian has complex coefficients; a time evolution needs real ones")
            if len(terms.paulis.group_commuting()) > 1:
                raise CircuitError(
                    "the terms of the Hamiltonian do not commute, so that its time obeys no shift rule; evolve under each "
                    "group of commuting terms in turn (a product formula), or take FiniteDifference or SPSA"
                )
            for pauli, coefficient in zip(terms.paulis, terms.coeffs.real, strict=True):
                self._pauli_turn(pauli.to_label()[::-1], 2 * coefficient * gate.time, qubits)

    def _pauli_turn(self, axes: str, angle: Angle, qubits: Any) -> None:
        active = [(axis, qubit) for axis, qubit in zip(axes, qubits, strict=True) if axis != "I"]
        axes, own = "".join(axis for axis, _ in active), [qubit for _, qubit in active]
        if axes in _BY_AXES:
            self._turn(_BY_AXES[axes], angle, own)
        elif axes:
            frame = QuantumCircuit(len(own))
            for i, axis in enumerate(axes):
                if axis == "Y":
                    frame.sdg(i)
                if axis != "Z":
                    frame.h(i)
            for i in range(len(own) - 1):
                frame.cx(i, i + 1)
            self._define(frame, own)
            self._turn(RZGate, angle, own[-1:])
            self._define(frame.inverse(), own)


def _euler(gate: Any) -> tuple[Angle, Angle, Angle]:
    """theta, phi, lambda of u, u2, u3, controlled or not."""
    if len(gate.params) == 2:
        return np.pi / 2, gate.params[0], gate.params[1]
    return gate.params[0], gate.params[1], gate.params[2]
