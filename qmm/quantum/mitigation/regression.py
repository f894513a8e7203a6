"""Clifford data regression (CDR): a line from noisy to exact values, fitted on circuits that a computer can follow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Clifford, SparsePauliOp

from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates, Expansion, Mitigation, Request
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.gradients.unrolling import Unrolled, unroll
from qmm.quantum.layer import expectations
from qmm.quantum.mitigation.randomizing import positive
from qmm.quantum.pubs import Cache

if TYPE_CHECKING:
    from qmm.quantum.execution.backend import Execution

_WIDEST_STATE = (
    20  # qubits of which whole states are simulated, in a second or so; wider training circuits are Clifford circuits
)
_NEARNESS = 0.5  # radians: angles are replaced by near multiples rather than far ones, as in arXiv:2005.10189


class CliffordDataRegression(Mitigation):
    """Learned mitigation (arXiv:2005.10189): what the device makes of near-Clifford circuits tells what it makes of others.

    The first time that a circuit is run, training circuits run with it: the same gates, most of their angles moved to multiples
    of pi/2 that are near those of the samples. Their exact values are computed, and a line from noisy to exact values is fitted
    for each observable; it is kept for the circuit and its observables, and all later values go through it. Where the training
    circuits' values differ by no more than the noise of shots, the slope stays near 1.

    Shots: each training circuit takes as many as a sample. The stated variance holds the error of the fit, and by how much the
    training circuits lie off the line.

    Args:
        circuits: Training circuits for each circuit.
        replaced: The share of their angles that are moved. Beyond 20 qubits all are.
    """

    stage: ClassVar[int] = 10

    def __init__(self, circuits: int = 32, replaced: float = 0.75):
        """Raises CircuitError for fewer than three circuits, and for a share that is none."""
        if positive("circuits", circuits) < 3 or not 0 <= replaced <= 1:
            raise CircuitError(f"circuits={circuits}, replaced={replaced}; take at least 3, and a share from 0 to 1")
        self.circuits, self.replaced = circuits, replaced

    def expand(self, request: Request, execution: "Execution") -> Expansion:
        """Raises CircuitError for gates that do not unroll into rotations and, beyond 20 qubits, for fixed non-Clifford gates."""
        cache: Cache[_Family] = execution.memory.setdefault((type(self).__name__, self), Cache())
        key = Fingerprint(request.circuit), request.parameters, _observed(request)
        family = cache.get(key, lambda: _Family(request))
        rows = family.angles(request.bindings)
        own = request._replace(circuit=family.circuit, parameters=family.parameters, bindings=rows)
        if family.line is not None or not len(rows):
            return Expansion([own], lambda estimates: family.mitigated(estimates[0]))
        n = len(rows)
        training = family.training(rows, self.circuits, self.replaced, execution.rng)
        exact = family.exact(training)

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
        self._unrolled: Unrolled = unroll(CompiledCircuit(Circuit.of(request.circuit, request.parameters, (), observables)))
        circuit = self._unrolled.compiled.circuit
        self.circuit: QuantumCircuit = circuit.quantum_circuit
        self.parameters: tuple[Parameter, ...] = circuit.inputs
        self._observables = observables
        self._steps = np.array([_step(self.circuit, parameter) for parameter in self.parameters])
        self.line: Line | None = None

    def angles(self, bindings: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, D) -> (N, A)"""
        found = self._unrolled.angles.evaluate(torch.from_numpy(bindings), torch.empty(0, dtype=torch.float64))
        return found.expand(len(bindings), len(self.parameters)).numpy()

    def training(self, rows: NDArray[np.float64], k: int, share: float, rng: Generator) -> NDArray[np.float64]:
        """(k, A): rows, (N, A), drawn at random, with a share of their angles moved to where gates are Clifford gates."""
        share = 1.0 if self.circuit.num_qubits > _WIDEST_STATE else share
        drawn = rows[rng.integers(len(rows), size=k)]
        near = np.floor(drawn / self._steps)[..., None] + np.arange(-1, 3)
        distance = np.abs(near * self._steps[:, None] - drawn[..., None])
        chances = np.exp(-((distance / _NEARNESS) ** 2)).cumsum(axis=-1)
        pick = (rng.random(drawn.shape)[..., None] * chances[..., -1:] > chances).sum(axis=-1)
        moved = np.take_along_axis(near, pick[..., None], axis=-1)[..., 0] * self._steps
        rank = rng.permuted(np.broadcast_to(np.arange(drawn.shape[1]), drawn.shape), axis=1)
        return np.where(rank < round(share * drawn.shape[1]), moved, drawn)

    def exact(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K, A) -> (K, P)"""
        if self.circuit.num_qubits <= _WIDEST_STATE:
            empty = torch.empty(0, dtype=torch.float64)
            return expectations(self._unrolled.compiled, torch.from_numpy(rows), empty).numpy()
        return np.stack(
            [clifford_values(self.circuit, dict(zip(self.parameters, row, strict=True)), self._observables) for row in rows]
        )

    def mitigated(self, noisy: Estimates) -> Estimates:
        return noisy if self.line is None else self.line(noisy)


def clifford_values(
    circuit: QuantumCircuit, angles: dict[Parameter, float], observables: Sequence[SparsePauliOp]
) -> NDArray[np.float64]:
    """(P,) exact expectation values of a circuit whose gates at these angles are Clifford gates, of any width.

    Raises CircuitError where they are not.
    """
    try:
        clifford = Clifford(circuit.assign_parameters(angles))
    except QiskitError as error:
        raise CircuitError(
            f"CliffordDataRegression trains circuits of more than {_WIDEST_STATE} qubits with all angles at multiples of pi/2, "
            f"and this one has gates without a parameter that are no Clifford gates: {error}"
        ) from error
    values = []
    for observable in observables:
        pulled = observable.paulis.evolve(clifford, frame="h")
        signs = np.where(pulled.x.any(axis=1), 0.0, 1.0 - pulled.phase)  # a phase of 2 is -1
        values.append(float((signs * observable.coeffs.real).sum()))
    return np.array(values)


def _step(circuit: QuantumCircuit, parameter: Parameter) -> float:
    """The angles of which a parameter's gate is a Clifford gate are the multiples of this."""
    (gate,) = (item.operation for item in circuit.data if parameter in _free(item.operation.params))
    return np.pi / 2 * 2 ** min(getattr(gate, "num_ctrl_qubits", 0), 2)


def _free(params: Sequence[object]) -> set[Parameter]:
    return {p for p in params if isinstance(p, Parameter)}


def _observed(request: Request) -> tuple[tuple[tuple[str, ...], bytes], ...]:
    return tuple((tuple(o.paulis.to_labels()), o.coeffs.tobytes()) for o in request.measurement.observables)
