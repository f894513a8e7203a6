"""Clifford data regression (CDR): a line from noisy to exact values, fitted on circuits that a computer can follow."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from qiskit.circuit import Operation, Parameter, ParameterExpression, QuantumCircuit

from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Request
from qmm.quantum.execution.transpiling import Transpiler
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.gradients.unrolling import Unrolled, unroll
from qmm.quantum.layer import expectations
from qmm.quantum.mitigation.near_clifford import NearClifford
from qmm.quantum.mitigation.randomizing import positive
from qmm.quantum.pubs import Cache

_WIDEST_STATE = 16  # qubits of which whole states are simulated, some hundred in a minute; beyond, few angles may be left
_LEFT = 10  # of them: of one Pauli string they make at most 2**10
_CHOICE = 8  # circuits to choose each of those from that are to differ
_TURNS = ("rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "rzx", "crx", "cry", "crz", "cp", "u")
_NEARNESS = 0.5  # radians: angles are replaced by near multiples rather than far ones, as in arXiv:2005.10189


class CliffordDataRegression(Mitigation):
    """Learned mitigation (arXiv:2005.10189): what the device makes of near-Clifford circuits tells what it makes of others.

    The first time that a circuit is run, training circuits run with it: the same gates, most of their angles moved to multiples
    of pi/2, in one half of them to near ones, in the other such that their values differ much. Exact values are computed, and a
    line from noisy to exact ones is fitted for each observable; it is kept for the circuit and its observables, and all later
    values go through it. Where training circuits' values differ by no more than the noise of shots, the slope stays near 1.

    Shots: each training circuit takes as many as a sample. The stated variance holds the error of the fit, and by how much the
    training circuits lie off the line.

    Args:
        circuits: Training circuits for each circuit.
        replaced: The share of their angles that are moved. Beyond 16 qubits, all but at most 10 are.
    """

    stage: ClassVar[int] = 10

    def __init__(self, circuits: int = 32, replaced: float = 0.75):
        """Raises CircuitError for fewer than three circuits, and for a share that is none."""
        if positive("circuits", circuits) < 3 or not 0 <= replaced <= 1:
            raise CircuitError(f"circuits={circuits}, replaced={replaced}; take at least 3, and a share from 0 to 1")
        self.circuits, self.replaced = circuits, replaced

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError for gates that are no rotations and, beyond 16 qubits, for many fixed non-Clifford gates."""
        if not len(request.bindings) or not request.measurement.observables:
            return Expansion([request], lambda estimates: estimates[0])
        cache: Cache[_Family] = execution.memory.setdefault((type(self).__name__, self), Cache())
        key = Fingerprint(request.circuit), request.parameters, _observed(request)
        family = cache.get(key, lambda: _Family(request))
        rows = family.angles(request.bindings)
        own = request._replace(circuit=family.circuit, parameters=family.parameters, bindings=rows)
        if family.line is not None:
            return Expansion([own], lambda estimates: family.mitigated(estimates[0]))
        n = len(rows)
        training, exact = family.training(rows, self.circuits, self.replaced, execution.rng)

        def combine(estimates: Sequence[Estimates]) -> Estimates:
            values, variances = estimates[0]
            family.line = fit(values[n:], variances[n:], exact)
            return family.mitigated(Estimates(values[:n], variances[:n]))

        return Expansion([own._replace(bindings=np.concatenate([rows, training]))], combine)


class Line(NamedTuple):
    """P lines from noisy values x to exact ones: exact = intercept + slope (x - centre), each field (P,)."""

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]
    centre: NDArray[np.float64]
    of_slope: NDArray[np.float64]
    """The variance of the slope."""
    of_intercept: NDArray[np.float64]
    """The variance of the intercept, and of what lies off the line."""

    def __call__(self, noisy: Estimates) -> Estimates:
        off = noisy.values - self.centre
        values = self.intercept + self.slope * off
        return Estimates(values, self.slope**2 * noisy.variances + self.of_intercept + off**2 * self.of_slope)


def fit(noisy: NDArray[np.float64], variances: NDArray[np.float64], exact: NDArray[np.float64]) -> Line:
    """Least squares of exact - noisy on noisy values, (K, P) each, freed of the bias that the variances of the latter cause.

    The correction is shrunk by the share of chance in the spread of noisy values: where they differ by chance alone the slope
    is 1, not 0 as that of exact on noisy values.
    """
    k, centre = len(noisy), noisy.mean(axis=0)
    x, y = noisy - centre, exact - exact.mean(axis=0)
    spread, by_chance = (x**2).sum(axis=0), variances.sum(axis=0) * (k - 1) / k
    told = spread > 1e-12
    slope = np.where(told, ((x * y).sum(axis=0) + by_chance) / np.where(told, spread, 1.0), 1.0)
    residual = ((y - slope * x) ** 2).sum(axis=0) / (k - 2)
    off_line = np.maximum(residual - slope**2 * variances.mean(axis=0), 0.0)
    return Line(
        slope, exact.mean(axis=0), centre, np.where(told, residual / np.where(told, spread, 1.0), 0.0), residual / k + off_line
    )


class _Family:
    """The circuits that differ from one by their angles alone."""

    def __init__(self, request: Request):
        observables = list(request.measurement.observables)
        freed, numbers = _freed(request.circuit)
        self._numbers = np.array(list(numbers.values()))
        parameters = (*request.parameters, *numbers)
        self._unrolled: Unrolled = unroll(CompiledCircuit(Circuit.of(freed, parameters, (), observables)))
        circuit = self._unrolled.compiled.circuit
        self.circuit: QuantumCircuit = circuit.quantum_circuit
        self.parameters: tuple[Parameter, ...] = circuit.inputs
        self._request = request._replace(bindings=request.bindings[:0])
        self._observables = observables
        self._steps = np.array([_step(self.circuit, parameter) for parameter in self.parameters])
        self.line: Line | None = None

    def angles(self, bindings: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, D) -> (N, A)"""
        numbers = np.broadcast_to(self._numbers, (len(bindings), len(self._numbers)))
        rows = torch.from_numpy(np.concatenate([bindings, numbers], axis=1))
        found = self._unrolled.angles.evaluate(rows, torch.empty(0, dtype=torch.float64))
        return found.expand(len(bindings), len(self.parameters)).numpy()

    def training(
        self, rows: NDArray[np.float64], k: int, share: float, rng: Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(k, A) angles and their (k, P) exact values.

        Half of them are near `rows`, (N, A); the others are those, of many with angles further off, whose values differ most.
        """
        near = self._moved(rows, k - k // 2, share, _NEARNESS, rng)
        others = self._moved(rows, _CHOICE * (k // 2), share, np.inf, rng)
        of_near, of_others = np.split(self.exact(np.concatenate([near, others])), [len(near)])
        spread = _far_apart(of_others, k // 2)
        return np.concatenate([near, others[spread]]), np.concatenate([of_near, of_others[spread]])

    def _moved(self, rows: NDArray[np.float64], k: int, share: float, nearness: float, rng: Generator) -> NDArray[np.float64]:
        """(k, A): rows drawn at random, with a share of their angles moved to where gates are Clifford gates."""
        drawn = rows[rng.integers(len(rows), size=k)]
        near = np.floor(drawn / self._steps)[..., None] + np.arange(-1, 3)
        distance = np.abs(near * self._steps[:, None] - drawn[..., None])
        chances = np.exp(-((distance / nearness) ** 2)).cumsum(axis=-1)
        pick = (rng.random(drawn.shape)[..., None] * chances[..., -1:] > chances).sum(axis=-1)
        moved = np.take_along_axis(near, pick[..., None], axis=-1)[..., 0] * self._steps
        rank = rng.permuted(np.broadcast_to(np.arange(drawn.shape[1]), drawn.shape), axis=1)
        wide = self.circuit.num_qubits > _WIDEST_STATE
        left = drawn.shape[1] - round(share * drawn.shape[1])
        return np.where(rank >= (min(left, _LEFT) if wide else left), moved, drawn)

    def exact(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K, A) -> (K, P)"""
        if self.circuit.num_qubits > _WIDEST_STATE:
            own = self._request._replace(circuit=self.circuit, parameters=self.parameters)
            return NearClifford(Transpiler(None, level=0)(own).circuit, self.parameters).values(rows, self._observables)
        return expectations(self._unrolled.compiled, torch.from_numpy(rows), torch.empty(0, dtype=torch.float64)).numpy()

    def mitigated(self, noisy: Estimates) -> Estimates:
        return noisy if self.line is None else self.line(noisy)


def _freed(original: QuantumCircuit) -> tuple[QuantumCircuit, dict[Parameter, float]]:
    """The circuit with a parameter in place of each number that makes a rotation no Clifford gate, and these numbers.

    Weights that are not trained may stand in a circuit as numbers; training circuits need other ones.
    """
    circuit, numbers = original.copy_empty_like(), dict[Parameter, float]()
    for item in original.data:
        gate = item.operation
        if gate.name in _TURNS:
            params = list(gate.params)
            for i, angle in enumerate(params):
                if not isinstance(angle, ParameterExpression) and not _near_multiple(float(angle), _quantum(gate)):
                    params[i] = Parameter(f"_number[{len(numbers)}]")
                    numbers[params[i]] = float(angle)
            gate = type(gate)(*params) if params != list(gate.params) else gate
        circuit.append(gate, item.qubits, item.clbits)
    return circuit, numbers


def _far_apart(values: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Rows of (M, P) values: of each column in turn one of the largest, then one of the smallest, until there are k."""
    free, chosen = np.ones(len(values), dtype=bool), []
    for i in range(k):
        turn, column = divmod(i, values.shape[1])
        signed = values[:, column] if turn % 2 else -values[:, column]
        chosen.append(int(np.argmin(np.where(free, signed, np.inf))))
        free[chosen[-1]] = False
    return np.array(chosen, dtype=np.int64)


def _step(circuit: QuantumCircuit, parameter: Parameter) -> float:
    """The angles of which a parameter's gate is a Clifford gate are the multiples of this."""
    (gate,) = (item.operation for item in circuit.data if parameter in _free(item.operation.params))
    return _quantum(gate)


def _quantum(gate: Operation) -> float:
    return np.pi / 2 * 2 ** min(getattr(gate, "num_ctrl_qubits", 0), 2)


def _near_multiple(angle: float, quantum: float) -> bool:
    return abs(angle / quantum - round(angle / quantum)) < 1e-9


def _free(params: Sequence[object]) -> set[Parameter]:
    return {p for p in params if isinstance(p, Parameter)}


def _observed(request: Request) -> tuple[tuple[tuple[str, ...], bytes], ...]:
    return tuple((tuple(o.paulis.to_labels()), o.coeffs.tobytes()) for o in request.measurement.observables)
