"""Requests as primitive unified blocs (PUBs), and the results of these as estimates."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BitArray, PubResult, SamplerPubResult
from qiskit.quantum_info import Pauli, SparsePauliOp

from qmm.quantum.execution.requests import Estimates, Request
from qmm.quantum.settings import measured

_CELLS = 2**22  # numbers that are worked on at once
_WORD = 62  # bits of an outcome that one integer holds


def sampler_pubs(request: Request) -> list[tuple[QuantumCircuit, NDArray[np.float64], int]]:
    """One for each basis: (circuit with measurements, bindings (N, parameters), shots)."""
    bindings = in_order_of_circuit(request)
    return [(measured(request.circuit, basis), bindings, request.shots) for basis in request.measurement.bases]


def estimates_of_samples(request: Request, results: Sequence[SamplerPubResult]) -> Estimates:
    """From the results of `sampler_pubs(request)`."""
    found = Estimates(*(np.empty((len(request.bindings), len(request.measurement.observables))) for _ in range(2)))
    for place, (basis, result) in enumerate(zip(request.measurement.bases, results, strict=True)):
        columns = [i for i, home in enumerate(request.measurement.homes) if home == place]
        own = [request.measurement.observables[i] for i in columns]
        bits: BitArray = result.data["measured"]
        if request.reader is None:
            part = _read(bits, basis, own)
        else:
            part = request.reader.read(bits.to_bool_array(order="little"), basis, own)
        found.values[:, columns], found.variances[:, columns] = part
    return found


def estimator_pub(request: Request) -> tuple[QuantumCircuit, list[SparsePauliOp], NDArray[np.float64], float]:
    """(circuit, P observables, bindings (N, 1, parameters), precision): N x P values."""
    precision = 1 / np.sqrt(request.shots)
    return request.circuit, list(request.measurement.observables), in_order_of_circuit(request)[:, None], float(precision)


def estimates_of_values(request: Request, result: PubResult) -> Estimates:
    """From the result of `estimator_pub(request)`."""
    shape = len(request.bindings), len(request.measurement.observables)
    values, errors = (np.broadcast_to(np.asarray(result.data[name], float), shape) for name in ("evs", "stds"))
    return Estimates(values.copy(), errors**2)


def in_order_of_circuit(request: Request) -> NDArray[np.float64]:
    """(N, parameters of the circuit), in the circuit's own order."""
    place = {parameter: i for i, parameter in enumerate(request.parameters)}
    return request.bindings[:, [place[parameter] for parameter in request.circuit.parameters]]


def _read(bits: BitArray, basis: Pauli, observables: Sequence[SparsePauliOp]) -> Estimates:
    qubits, shots = np.flatnonzero(basis.x | basis.z), bits.num_shots
    masks = [(o.paulis.x | o.paulis.z)[:, qubits] for o in observables]
    rows = bits.array.reshape(-1, shots, bits.array.shape[-1])
    strings, counted = sum(len(mask) for mask in masks), 2 ** len(qubits) <= 8 * shots
    each = max(1, _CELLS // (2 ** len(qubits) if counted else shots * max(strings, len(qubits))))
    read = _counted if counted else _by_shot
    parts = [read(rows[start : start + each], masks, observables) for start in range(0, len(rows), each)]
    values, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Estimates(values, (squares - values**2).clip(min=0) / max(1, shots - 1))


def _counted(
    rows: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], observables: Sequence[SparsePauliOp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, shots, bytes) -> means of the observables, and of their squares, (N, P) each, from how often each outcome came."""
    k, shots = masks[0].shape[1], rows.shape[1]
    offset = np.arange(len(rows))[:, None] << k
    counts = np.bincount((_integers(rows) + offset).ravel(), minlength=len(rows) << k).reshape(len(rows), -1)
    tables = _values(np.arange(2**k), masks, observables)
    return counts @ tables / shots, counts @ tables**2 / shots


def _by_shot(
    rows: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], observables: Sequence[SparsePauliOp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same from the value of each shot, where there are more outcomes than shots."""
    if masks[0].shape[1] <= _WORD:
        samples = _values(_integers(rows), masks, observables)
    else:
        found = np.unpackbits(rows, axis=-1)[..., ::-1]  # bit 0 first
        samples = np.zeros((*rows.shape[:2], len(observables)))
        for column, (mask, observable) in enumerate(zip(masks, observables, strict=True)):
            for string, coefficient in zip(mask, observable.coeffs.real, strict=True):
                parities = np.bitwise_xor.reduce(found[..., np.flatnonzero(string)], axis=-1)
                samples[..., column] += coefficient * (1 - 2.0 * parities)
    return samples.mean(axis=1), (samples**2).mean(axis=1)


def _integers(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N, shots, bytes), the last byte lowest -> (N, shots)"""
    states = np.zeros(rows.shape[:2], np.int64)
    for byte in range(rows.shape[-1]):
        states = states << 8 | rows[..., byte]
    return states


def _values(
    states: NDArray[np.int64], masks: Sequence[NDArray[np.bool_]], observables: Sequence[SparsePauliOp]
) -> NDArray[np.float64]:
    """(...) -> (..., P): what each observable is worth for an outcome."""
    bits = 1 << np.arange(masks[0].shape[1])
    return np.stack(
        [
            (1 - 2 * (np.bitwise_count(states[..., None] & (mask @ bits)) & 1).astype(np.int8)) @ observable.coeffs.real
            for mask, observable in zip(masks, observables, strict=True)
        ],
        axis=-1,
    )
