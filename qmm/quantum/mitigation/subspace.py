"""Read-out errors, undone on the bit strings that were seen: mthree.

Source: Nation, Kang, Sundaresan, Gambetta, "Scalable mitigation of measurement errors on quantum computers", arXiv:2108.12518.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import Pauli, SparsePauliOp

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Request
from qmm.quantum.extras import require
from qmm.quantum.mitigation.randomizing import positive
from qmm.quantum.mitigation.readout import measured_qubits, prepared

_STATES = 16  # prepared for the calibration, balanced: each qubit is 1 in half of them, and so are its neighbours meanwhile
_DIRECT = 2048  # bit strings of which the calibration matrix is solved at once: 32 MiB


class M3(Mitigation):
    """Matrix-free measurement mitigation (arXiv:2108.12518), by the package mthree (the extra "mthree").

    Read-out errors are taken as independent between qubits; their effect on the bit strings that were seen is inverted. Values
    may leave the range of what they estimate.

    Shots: those of the request, unchanged, and `shots` for the calibration, once for the qubits that are measured together. Its
    error is part of the variances that are stated.

    Args:
        shots: Of the calibration, rounded up to a multiple of 16.
        distance: Bit strings that differ in more bits are taken not to be mistaken for each other; None: no such bound.
    """

    stage = 160
    reads_out = True
    needs_sampler = True

    def __init__(self, shots: int = 10_000, distance: int | None = None):
        """Raises CircuitError for numbers that are not positive."""
        self.shots = positive("shots", shots)
        self.distance = None if distance is None else positive("distance", distance)

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError without the extra, where bits are read in another way, and where read-out tells nothing."""
        if request.reader is not None:
            raise CircuitError("M3 reads the bits, and so does another mitigation; keep one of the two")
        if not request.measurement.bases:
            return Expansion([request], lambda estimates: estimates[0])
        require("mthree", "mthree", "M3's corrections")
        key = "m3", self.shots, measured_qubits(request.measurement)
        if key not in execution.memory:
            execution.memory[key] = self._calibrated(request, execution)
        reader = _Corrected(execution.memory[key], self.distance)
        return Expansion([request._replace(reader=reader)], lambda estimates: estimates[0])

    def _calibrated(self, request: Request, execution: Execution) -> "Flips":
        qubits = measured_qubits(request.measurement)
        found = prepared(request, [1 << qubit for qubit in qubits], _STATES, self.shots, execution)
        ones = found.flips.sum(axis=0)  # half of the states, for each qubit
        wrong = (1 - found.values * (1 - 2.0 * found.flips)) / 2
        rates = np.stack([(wrong * ~found.flips).sum(axis=0) / (_STATES - ones), (wrong * found.flips).sum(axis=0) / ones])
        shots = found.shots * np.stack([_STATES - ones, ones])
        for qubit, total in zip(qubits, rates.sum(axis=0).tolist(), strict=True):
            if total >= 1:
                raise CircuitError(f"what is read of qubit {qubit} is no better than chance; measure another one")
        return Flips(qubits, rates, rates * (1 - rates) / shots)


class Flips(NamedTuple):
    """How often qubits are read wrongly."""

    qubits: tuple[int, ...]
    rates: NDArray[np.float64]
    """(2, k): of 0 and of 1."""
    variances: NDArray[np.float64]
    """(2, k): of these rates."""


class _Corrected(NamedTuple):
    """A `Reader`."""

    flips: Flips
    distance: int | None

    def read(self, bits: NDArray[np.bool_], basis: Pauli, observables: Sequence[SparsePauliOp]) -> Estimates:
        qubits = np.flatnonzero(basis.x | basis.z)
        places = [self.flips.qubits.index(qubit) for qubit in qubits.tolist()]
        rates, uncertain = self.flips.rates[:, places], self.flips.variances[:, places]
        terms = _Terms.of([(o.paulis.x | o.paulis.z)[:, qubits] for o in observables], [o.coeffs.real for o in observables])
        rows = [self._row(row, rates, uncertain, terms) for row in bits]
        return Estimates(np.array([values for values, _ in rows]), np.array([variances for _, variances in rows]))

    def _row(
        self, bits: NDArray[np.bool_], rates: NDArray[np.float64], uncertain: NDArray[np.float64], terms: "_Terms"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(shots, k) -> (P,), (P,)"""
        n_shots, k = bits.shape
        found = _counted(bits)
        mitigator, distance = self._mitigator(rates), min(self.distance or k, k)
        if len(found) <= _DIRECT:
            matrix, found = mitigator.reduced_cal_matrix(found, range(k), distance)  # in mthree's order
            signs, share = terms.signs(list(found)), np.array([*found.values()]) / n_shots
            corrected = np.linalg.solve(matrix, share)
            each = np.linalg.solve(matrix.T, signs @ terms.coefficients.T)  # (seen, P): what a shot of each string adds
            spread = (share @ each**2 - (share @ each) ** 2).clip(min=0) / max(1, n_shots - 1)
        else:
            quasi = mitigator.apply_correction(found, range(k), distance=distance, return_mitigation_overhead=True)
            signs, corrected = terms.signs(list(quasi)), np.array([*quasi.values()])
            spread = quasi.mitigation_overhead / n_shots * np.abs(terms.coefficients).sum(axis=1) ** 2  # mthree's bound
        products = corrected @ signs
        return terms.coefficients @ products, spread + terms.calibration(products, rates, uncertain)

    def _mitigator(self, rates: NDArray[np.float64]) -> Any:
        """mthree's, with our calibration: it runs nothing itself."""
        zero, one = rates
        mitigator = require("mthree", "mthree", "M3's corrections").M3Mitigation()
        matrices = [np.array([[1 - p, q], [p, 1 - q]], np.float32) for p, q in zip(zero, one, strict=True)]
        mitigator.cals_from_matrices(matrices)
        return mitigator


def _counted(bits: NDArray[np.bool_]) -> dict[str, int]:
    """(shots, k) -> how often each string was seen; strings begin with the last qubit's bit."""
    counts = Counter(map(bytes, np.packbits(bits[:, ::-1], axis=1)))
    packed = np.frombuffer(b"".join(counts), np.uint8).reshape(len(counts), -1)
    rows = np.unpackbits(packed, axis=1, count=bits.shape[1]).tolist()
    return {"".join(map(str, row)): n for row, n in zip(rows, counts.values(), strict=True)}


class _Terms(NamedTuple):
    """Observables as sums of products of Z; also the products that lack one of the qubits, which errors of rates depend on."""

    masks: NDArray[np.int64]
    """(strings, k)"""
    coefficients: NDArray[np.float64]
    """(P, strings)"""
    without: NDArray[np.int64]
    """(strings, k): the string that lacks a qubit; -1 where it has none to lose, or where no observable asks."""

    @classmethod
    def of(cls, masks: list[NDArray[np.bool_]], coefficients: list[NDArray[np.float64]]) -> "_Terms":
        place: dict[tuple[bool, ...], int] = {}
        for row in np.concatenate(masks).tolist():
            place.setdefault(tuple(row), len(place))
        n_own, k = len(place), masks[0].shape[1]
        without = []
        for row in list(place):
            less = [(*row[:q], False, *row[q + 1 :]) if row[q] else None for q in range(k)]
            without.append([-1 if other is None else place.setdefault(other, len(place)) for other in less])
        table = np.zeros((len(masks), len(place)))
        for column, (own, values) in enumerate(zip(masks, coefficients, strict=True)):
            np.add.at(table[column], [place[tuple(row)] for row in own.tolist()], values)
        without += [[-1] * k] * (len(place) - n_own)
        return cls(np.array(list(place), np.int64), table, np.array(without, np.int64))

    def signs(self, strings: list[str]) -> NDArray[np.float64]:
        """(strings seen, products): what each product is on them; their last letter is the first qubit's bit."""
        bits = np.array([[letter == "1" for letter in reversed(string)] for string in strings], np.int64)
        return (1 - 2 * (bits @ self.masks.T & 1)).astype(np.float64)

    def calibration(
        self, products: NDArray[np.float64], rates: NDArray[np.float64], variances: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(P,): what errors of the rates add to the variances.

        A product is corrected qubit by qubit, (z - (q - p)) / (1 - p - q) for rates p of 0 and q of 1; its derivative by p is
        (itself + the product without that qubit) / (1 - p - q), by q (itself - that) / (1 - p - q).
        """
        present = self.without >= 0
        less = np.where(present, products[self.without], 0)
        own = np.where(present, products[:, None], 0)
        slopes = np.stack([own + less, own - less]) / (1 - rates.sum(axis=0))  # (2, strings, k)
        return (np.einsum("ps,dsk->pdk", self.coefficients, slopes) ** 2 * variances).sum(axis=(1, 2))
