"""Requests as primitive unified blocs (PUBs), and the results of these as estimates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BitArray, PubResult, SamplerPubResult
from qiskit.quantum_info import Pauli, SparsePauliOp

from qmm.quantum.execution.requests import Estimates, Request
from qmm.quantum.settings import measured

_WIDEST_COUNTS = 14  # measured qubits whose outcomes are counted; beyond, parities are taken shot by shot


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
    qubits = np.flatnonzero(basis.x | basis.z)
    masks = [(o.paulis.x | o.paulis.z)[:, qubits] for o in observables]
    shots = bits.num_shots
    if len(qubits) > _WIDEST_COUNTS:
        samples = np.stack([_by_shot(bits, mask, o) for mask, o in zip(masks, observables, strict=True)], axis=-1)
        return Estimates(samples.mean(axis=1), samples.var(axis=1) / max(1, shots - 1))
    counts = _counts(bits, len(qubits))
    strings = np.arange(2 ** len(qubits))
    weights = 1 << np.arange(len(qubits))
    tables = np.stack([_signs(strings, mask @ weights) @ o.coeffs.real for mask, o in zip(masks, observables, strict=True)], -1)
    values, squares = counts @ tables / shots, counts @ tables**2 / shots
    return Estimates(values, (squares - values**2).clip(min=0) / max(1, shots - 1))


def _counts(bits: BitArray, k: int) -> NDArray[np.int64]:
    """(N, 2**k)"""
    rows = bits.array.reshape(-1, bits.num_shots, bits.array.shape[-1])
    states = np.zeros(rows.shape[:2], np.int64)
    for byte in range(rows.shape[-1]):
        states = states << 8 | rows[..., byte]
    offset = np.arange(len(states))[:, None] << k
    return np.bincount((states + offset).ravel(), minlength=len(states) << k).reshape(len(states), -1)


def _signs(states: NDArray[np.int64], masks: NDArray[np.int64]) -> NDArray[np.int64]:
    """(states, masks): the parity, as +1 or -1, of the bits in each mask."""
    return 1 - 2 * (np.bitwise_count(states[:, None] & masks) & 1).astype(np.int64)


def _by_shot(bits: BitArray, mask: NDArray[np.bool_], observable: SparsePauliOp) -> NDArray[np.float64]:
    """(N, shots): the value that each shot gives."""
    found: Any = bits.to_bool_array(order="little").reshape(-1, bits.num_shots, bits.num_bits)
    total = np.zeros(found.shape[:2])
    for string, coefficient in zip(mask, observable.coeffs.real, strict=True):
        total += coefficient * (1 - 2.0 * np.bitwise_xor.reduce(found[..., string], axis=-1))
    return total
