"""Read-out errors, undone on average: random flips before measurements, and division by what they do to a known state.

Source: van den Berg, Minev, Temme, "Model-free readout-error mitigation for quantum expectation values", arXiv:2012.09738.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Pauli, PauliList, SparsePauliOp

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Request
from qmm.quantum.mitigation.instructions import translated
from qmm.quantum.mitigation.randomizing import balanced_flips, pooled, positive, power_of_two, split
from qmm.quantum.settings import Measurement

_CERTAIN = 5  # standard errors that a calibrated value must be above zero before anything is divided by it


class Prepared(NamedTuple):
    """Products of Z, estimated on computational basis states that were prepared and read out."""

    flips: NDArray[np.bool_]
    """(R, k): the qubits that were 1."""
    values: NDArray[np.float64]
    """(R, strings)"""
    shots: int
    """Of each state."""


def measured_qubits(measurement: Measurement) -> tuple[int, ...]:
    """All that some basis measures, ascending."""
    return tuple(np.flatnonzero(np.any([basis.x | basis.z for basis in measurement.bases], axis=0)).tolist())


def prepared(request: Request, strings: Sequence[int], states: int, shots: int, execution: Execution) -> Prepared:
    """Runs the calibration for the qubits that a request measures.

    Args:
        request: In the instruction set of the device.
        strings: Products of Z, as bit masks over the qubits of the request's circuit.
        states: How many to prepare; balanced, see `balanced_flips`.
        shots: Of all states together, rounded up.
    """
    n_qubits, qubits = request.circuit.num_qubits, measured_qubits(request.measurement)
    flips = balanced_flips(np.random.default_rng(qubits), len(qubits), states)  # whichever request comes first
    basis = _pauli_z(n_qubits, [sum(1 << q for q in qubits)])[0]
    circuit, parameters = flipped(QuantumCircuit(n_qubits), basis, execution)
    observables = tuple(SparsePauliOp(string) for string in _pauli_z(n_qubits, strings))
    each = -(-shots // states)
    measurement = Measurement(observables, (basis,), (0,) * len(observables))
    (found,) = execution.run([Request(circuit, parameters, flips * np.float64(np.pi), measurement, each)])
    return Prepared(flips, found.values, each)


def flipped(circuit: QuantumCircuit, basis: Pauli, execution: Execution) -> tuple[QuantumCircuit, tuple[Parameter, ...]]:
    """The circuit with an angle for each measured qubit, ascending, which flips what is read in this basis where it is pi."""
    qubits = np.flatnonzero(basis.x | basis.z).tolist()
    parameters = tuple(Parameter(f"_flip[{qubit}]") for qubit in qubits)

    def build() -> QuantumCircuit:
        flips = QuantumCircuit(circuit.num_qubits)
        for qubit, angle in zip(qubits, parameters, strict=True):
            flips.rz(angle, qubit) if basis.x[qubit] else flips.rx(angle, qubit)
        return translated(flips, execution.device)

    key = "flips", basis.to_label()
    if key not in execution.memory:
        execution.memory[key] = build(), parameters
    flips, parameters = execution.memory[key]
    return circuit.compose(flips), parameters


class Trex(Mitigation):
    """Twirled read-out error extinction: model-free mitigation of read-out errors (arXiv:2012.09738).

    Whether each qubit is flipped right before its measurement, and its bit flipped back, is drawn at random. Averaged over the
    draws, errors of any kind, correlated ones too, only scale each product of Z; the scale is measured once on prepared states
    and divided out. It needs no bits: any primitive will do that measures as a device does.

    Shots: those of the request, split over the flips. The calibration takes `shots` more, once for the qubits that are measured
    together, for the products that occur; it is run again where later ones are new. Its error is part of the variances that are
    stated; where estimates are averaged later, it counts as if each had its own.

    Args:
        randomizations: Patterns of flips, a power of two. A circuit that is itself one of several random variants takes
            correspondingly fewer, and at least two that are opposite.
        shots: Of the calibration.
    """

    stage = 150
    reads_out = True

    def __init__(self, randomizations: int = 16, shots: int = 10_000):
        """Raises CircuitError for numbers that are not positive, and for randomizations that are no power of two."""
        self.randomizations = power_of_two("randomizations", randomizations)
        self.shots = positive("shots", shots)

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError where bits are read in another way, and where read-out is too noisy to tell anything."""
        if request.reader is not None:
            raise CircuitError("Trex flips what is measured, and another mitigation reads these bits; keep one of the two")
        if not request.measurement.bases:
            return Expansion([request], lambda estimates: estimates[0])
        scales = self._scales(request, execution)
        patterns = _patterns(max(min(2, self.randomizations), self.randomizations // request.variants), request.shots)
        shots = split(request.shots, patterns)
        bases = [_Basis.of(request.measurement, place, scales) for place in range(len(request.measurement.bases))]
        requests = []
        for own in bases:
            circuit, parameters = flipped(request.circuit, own.basis, execution)
            n_flips = len(parameters)
            for flips, count in zip(balanced_flips(execution.rng, n_flips, patterns), shots, strict=True):
                angles = np.broadcast_to(np.pi * flips, (len(request.bindings), n_flips))
                requests.append(
                    request._replace(
                        circuit=circuit,
                        parameters=(*request.parameters, *parameters),
                        bindings=np.concatenate([request.bindings, angles], axis=1),
                        measurement=own.flipped(flips),
                        shots=count,
                    )
                )

        def combine(estimates: Sequence[Estimates]) -> Estimates:
            shape = len(request.bindings), len(request.measurement.observables)
            found = Estimates(np.empty(shape), np.empty(shape))
            for i, own in enumerate(bases):
                part = own.calibrated(pooled(estimates[i * patterns : (i + 1) * patterns], shots), scales)
                found.values[:, own.columns], found.variances[:, own.columns] = part
            return found

        return Expansion(requests, combine)

    def _scales(self, request: Request, execution: Execution) -> "Scales":
        """Of all strings that the request needs, calibrated now where they are not known yet."""
        qubits = measured_qubits(request.measurement)
        known: Scales = execution.memory.setdefault(("trex", self.randomizations, self.shots, qubits), Scales({0: 1.0}, 0))
        wanted = set().union(*(_with_products(_masks(o)) for o in request.measurement.observables)) - known.values.keys()
        if wanted:
            new = sorted(wanted)
            states = _patterns(self.randomizations, self.shots)
            found = prepared(request, new, states, self.shots, execution)
            place = {qubit: i for i, qubit in enumerate(qubits)}
            odd = np.stack([found.flips[:, [place[q] for q in _qubits(mask)]].sum(axis=1) & 1 for mask in new], axis=1)
            known.values.update(zip(new, ((1 - 2.0 * odd) * found.values).mean(axis=0).tolist(), strict=True))
            known = execution.memory[("trex", self.randomizations, self.shots, qubits)] = Scales(known.values, self.shots)
        known.check({mask for o in request.measurement.observables for mask in _masks(o)})
        return known


class Scales(NamedTuple):
    """What read-out errors leave of products of Z, by bit mask over qubits."""

    values: dict[int, float]
    shots: int

    def check(self, masks: Iterable[int]) -> None:
        """Raises CircuitError for a product of which nothing certain is left."""
        for mask in masks:
            value = self.values[mask]
            if value < _CERTAIN * np.sqrt(max(0.0, 1 - value**2) / self.shots):
                raise CircuitError(
                    f"read-out errors leave {value:.3f} of the product of Z on qubits {_qubits(mask)}; {self.shots} shots "
                    "do not tell it from 0. Give Trex more of them for its calibration, or measure fewer or better qubits"
                )

    def covariance(self, masks: Sequence[int]) -> NDArray[np.float64]:
        """(strings, strings): of the calibrated values. A product of two strings is a string again, whose value is known."""
        values = np.array([self.values[mask] for mask in masks])
        products = np.array([[self.values[a ^ b] for b in masks] for a in masks])
        return (products - np.outer(values, values)) / self.shots


class _Basis(NamedTuple):
    """The observables that one basis gives, P of them, and their strings."""

    basis: Pauli
    columns: list[int]
    """(P,): their places among all observables of the request."""
    observables: list[SparsePauliOp]
    """(P,): each coefficient divided by the scale of its string."""
    strings: list[int]
    """Of the observables that have several, as masks, each once: estimated also alone, for the error of the calibration."""
    scaled: list[SparsePauliOp]
    """The strings as observables, divided by their scales."""

    @classmethod
    def of(cls, measurement: Measurement, place: int, scales: Scales) -> "_Basis":
        columns = [i for i, home in enumerate(measurement.homes) if home == place]
        wanted = [measurement.observables[i] for i in columns]
        several: dict[int, SparsePauliOp] = {}
        observables = []
        for observable in wanted:
            masks = _masks(observable)
            factors = np.array([1 / scales.values[mask] for mask in masks])
            observables.append(SparsePauliOp(observable.paulis, observable.coeffs * factors, copy=False))
            if len(masks) > 1:
                for mask, string, factor in zip(masks, observable.paulis, factors, strict=True):
                    several.setdefault(mask, SparsePauliOp(string, [factor]))
        return cls(measurement.bases[place], columns, observables, list(several), list(several.values()))

    def flipped(self, flips: NDArray[np.bool_]) -> Measurement:
        """What to measure so that flips of the measured qubits are undone: signs of the coefficients."""
        flip = np.zeros(self.basis.num_qubits, bool)
        flip[np.flatnonzero(self.basis.x | self.basis.z)] = flips
        observables = []
        for observable in (*self.observables, *self.scaled):
            odd = ((observable.paulis.x | observable.paulis.z) & flip).sum(axis=1) & 1
            observables.append(SparsePauliOp(observable.paulis, observable.coeffs * (1 - 2.0 * odd), copy=False))
        return Measurement(tuple(observables), (self.basis,), (0,) * len(observables))

    def calibrated(self, found: Estimates, scales: Scales) -> Estimates:
        """(N, P): with the error of the calibration, by linear propagation."""
        n = len(self.columns)
        values, variances = found.values[:, :n], found.variances[:, :n].copy()
        covariance = scales.covariance(self.strings) if self.strings else None
        place = {mask: i for i, mask in enumerate(self.strings)}
        for column, observable in enumerate(self.observables):
            masks = _masks(observable)
            if len(masks) == 1:
                slopes = values[:, [column]] / scales.values[masks[0]]
                part = scales.covariance(masks)
            else:
                own = [place[mask] for mask in masks]
                assert covariance is not None
                part = covariance[np.ix_(own, own)]
                # the observable's coefficients are divided by the scales already, the strings' values too
                slopes = found.values[:, n:][:, own] * observable.coeffs.real
            variances[:, column] += np.einsum("ns,st,nt->n", slopes, part, slopes)
        return Estimates(values, variances)


def _masks(observable: SparsePauliOp) -> list[int]:
    """Of each string, the qubits on which it is not the identity."""
    return [sum(1 << int(q) for q in np.flatnonzero(row)) for row in observable.paulis.x | observable.paulis.z]


def _with_products(masks: list[int]) -> set[int]:
    return {a ^ b for a in masks for b in masks} | set(masks)


def _qubits(mask: int) -> list[int]:
    return [q for q in range(mask.bit_length()) if mask >> q & 1]


def _pauli_z(n_qubits: int, masks: Sequence[int]) -> PauliList:
    z = np.array([[mask >> q & 1 for q in range(n_qubits)] for mask in masks], bool)
    return PauliList.from_symplectic(z, np.zeros_like(z))


def _patterns(wanted: int, shots: int) -> int:
    """The largest power of two that is neither above `wanted` nor above `shots`."""
    return 1 << min(wanted, shots).bit_length() - 1
