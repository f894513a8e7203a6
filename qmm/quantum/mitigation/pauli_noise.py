"""What Pauli twirling makes of a gate's noise: a Pauli channel, which multiplies each Pauli string by a fidelity of its own."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import PTM, PauliLindbladMap, pauli_basis

from qmm.quantum.errors import CircuitError


class PauliNoise(Protocol):
    """The noise of gates, twirled."""

    def fidelities(self, gate: str, qubits: tuple[int, ...]) -> NDArray[np.float64] | None:
        """(4**n,), of the channel that follows the gate, in the order of `pauli_basis(n)`; None where there is no noise."""
        ...


class ModelledNoise:
    """That of a `qiskit_aer.noise.NoiseModel` on physical qubits. What it says of read-out and of delays is left out."""

    def __init__(self, model: Any):
        self._model = model
        self._known: dict[tuple[str, tuple[int, ...]], NDArray[np.float64] | None] = {}

    def fidelities(self, gate: str, qubits: tuple[int, ...]) -> NDArray[np.float64] | None:
        key = gate, qubits
        if key not in self._known:
            error = self._model._local_quantum_errors.get(gate, {}).get(qubits) or self._model._default_quantum_errors.get(gate)
            self._known[key] = None if error is None or error.ideal() else np.diag(PTM(error.to_quantumchannel()).data).real
        return self._known[key]


class StatedNoise:
    """Written down: the probability of each Pauli error behind a gate.

    Args:
        errors: By gate, "cz", or by gate and qubits, "cz 3 4", which goes before; each by Pauli string as Qiskit writes it, the
            gate's first qubit rightmost: `{"cz": {"IX": 0.001, "ZZ": 0.002}}`.
    """

    def __init__(self, errors: Mapping[str, Mapping[str, float]]):
        """Raises CircuitError for what are no Pauli strings of one length, or no probabilities."""
        self._errors = {name: _fidelities(name, probabilities) for name, probabilities in errors.items()}

    def fidelities(self, gate: str, qubits: tuple[int, ...]) -> NDArray[np.float64] | None:
        found = self._errors.get(" ".join([gate, *map(str, qubits)]))
        found = self._errors.get(gate) if found is None else found
        if found is not None and len(found) != 4 ** len(qubits):
            raise CircuitError(
                f"the errors of {gate!r} are not Pauli strings of {len(qubits)} letters; write one for each qubit"
            )
        return found


def lindblad(fidelities: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4**n,) fidelities -> (4**n,) rates whose `PauliLindbladMap` is the channel; below zero where it is not divisible.

    log f_b = -2 sum_a rate_a [a and b anticommute], turned round. Raises CircuitError for a channel that loses a Pauli string.
    """
    if fidelities.min() <= 0:
        raise CircuitError(
            f"the noise of a gate leaves {fidelities.min():.3g} of a Pauli string, so that it has no inverse; leave "
            "ProbabilisticErrorCancellation out, or take other qubits"
        )
    return _commutation(len(fidelities)) @ np.log(fidelities) / len(fidelities)


def rates_to_terms(rates: NDArray[np.float64], qubits: Sequence[int]) -> list[tuple[str, list[int], float]]:
    """For `PauliLindbladMap.from_sparse_list`, without the identity and what rounding leaves."""
    basis = pauli_basis(len(qubits))
    terms = zip(basis.to_labels()[1:], rates[1:].tolist(), strict=True)
    return [(label[::-1], list(qubits), rate) for label, rate in terms if abs(rate) > 1e-15]


def gamma(maps: Sequence[PauliLindbladMap]) -> float:
    """By what the inverses of these channels stretch a quasi-probability: their product's sum of absolute values."""
    return float(np.prod([m.inverse().gamma() for m in maps]))


def average(fidelities: NDArray[np.float64]) -> float:
    """Of the Pauli strings, the identity apart: the fidelity of the depolarising channel that is as good on average."""
    return float(fidelities[1:].mean())


def _fidelities(name: str, probabilities: Mapping[str, float]) -> NDArray[np.float64]:
    widths = {len(label) for label in probabilities}
    total = sum(probabilities.values())
    if len(widths) != 1 or any(set(label) - set("IXYZ") for label in probabilities):
        raise CircuitError(f"noise of {name!r} by {sorted(probabilities)}; give Pauli strings of the gate's width: 'IX', 'ZZ'")
    if min(probabilities.values()) < 0 or total > 1:
        raise CircuitError(f"the errors of {name!r} have probabilities that are below 0, or {total:.3g} in all; at most 1")
    labels = pauli_basis(widths.pop()).to_labels()
    vector = np.array([probabilities.get(label, 0.0) for label in labels])
    vector[0] += 1 - total
    return _commutation(len(vector)) @ vector


@cache
def _commutation(size: int) -> NDArray[np.float64]:
    """(4**n, 4**n): 1 where two Pauli strings commute, -1 where they anticommute."""
    basis = pauli_basis((size.bit_length() - 1) // 2)
    z, x = basis.z.astype(int), basis.x.astype(int)
    return 1.0 - 2.0 * ((z @ x.T + x @ z.T) % 2)
