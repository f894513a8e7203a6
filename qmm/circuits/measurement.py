"""Measurement: how many shots reading a circuit out takes, setting by setting."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import SparsePauliOp
from scipy.linalg import hadamard
from torch import Tensor

from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, Probabilities, expectations
from qmm.quantum.settings import parts

_WIDEST_TABLE = 10  # qubits whose outcomes are all looked at; beyond, the sum of |coefficients| bounds a value


def shots(circuit: Circuit, precision: float, inputs: Tensor | None = None, weights: Tensor | None = None) -> int:
    """How often the circuit is run in all: the sum of `shots_per_setting`."""
    return sum(shots_per_setting(circuit, precision, inputs, weights))


def shots_per_setting(
    circuit: Circuit, precision: float, inputs: Tensor | None = None, weights: Tensor | None = None
) -> list[int]:
    """Shots in each of `settings(circuit)`, enough for a standard error of `precision` or less in each output.

    An output sum_g O_g, one part from each setting g, of variances V_g in a single shot, is shared out so that its error is
    reached with the fewest shots, N_g = sqrt(V_g) sum_h sqrt(V_h) / precision**2; a setting is run as often as the most
    demanding output asks for, at least once.

    Args:
        precision: The standard error, in the units of the outputs.
        inputs: (B, n_inputs), with `weights` (W,): the V_g are those of these samples' states, the greatest of all samples.
            Without them they are the greatest that any state has: a quarter of the squared range of O_g's values.

    Raises InputError for a precision that is not positive, and for inputs without weights or the reverse.
    """
    if not precision > 0:
        raise InputError(f"a standard error of {precision}; it has to be positive, 0.01 for instance")
    if (inputs is None) != (weights is None):
        raise InputError("a state is given by both inputs and weights; give both, or neither for the worst case")
    variances = _greatest_variances(circuit) if inputs is None or weights is None else _variances(circuit, inputs, weights)
    if not variances.shape[-1]:
        return []
    deviations = np.sqrt(variances)
    demanded = (deviations * deviations.sum(axis=-1, keepdims=True)).max(axis=tuple(range(deviations.ndim - 1)))
    return [max(1, math.ceil(float(d) / precision**2 * (1 - 1e-12))) for d in demanded]  # 100 for 0.1, not 101


def _greatest_variances(circuit: Circuit) -> NDArray[np.float64]:
    """(n_outputs, n_settings)"""
    if isinstance(circuit.observables, Probabilities):
        return np.full((circuit.n_outputs, 1), 0.25)
    places = [(j, g, _half_range(part) ** 2) for j, g, part in _parts(circuit)]
    return _table(circuit, places)


def _variances(circuit: Circuit, inputs: Tensor, weights: Tensor) -> NDArray[np.float64]:
    """(B, n_outputs, n_settings) of a single shot, in the states that these angles make."""
    inputs, weights = inputs.detach().double(), weights.detach().double()
    if isinstance(circuit.observables, Probabilities):
        values = expectations(circuit, inputs, weights)
        return (values * (1 - values)).clamp(min=0).unsqueeze(-1).numpy(force=True)
    parts = _parts(circuit)
    if not parts:
        return np.zeros((len(inputs), len(circuit.observables), 0))
    squares = [(part @ part).simplify() for _, _, part in parts]
    read = circuit._replace(observables=(*(part for _, _, part in parts), *squares))
    means, second = expectations(CompiledCircuit(read), inputs, weights).chunk(2, dim=1)
    found = (second - means.square()).clamp(min=0)
    return np.stack([_table(circuit, [(j, g, v) for (j, g, _), v in zip(parts, row, strict=True)]) for row in found.tolist()])


def _table(circuit: Circuit, places: Sequence[tuple[int, int, float]]) -> NDArray[np.float64]:
    """(n_outputs, n_settings) with `value` at output j, setting g for each (j, g, value); else 0."""
    table = np.zeros((circuit.n_outputs, 1 + max((g for _, g, _ in places), default=-1)))
    for output, setting, value in places:
        table[output, setting] = value
    return table


def _parts(circuit: Circuit) -> list[tuple[int, int, SparsePauliOp]]:
    """Output, setting, and what of the output's observable is measured in that setting."""
    found = parts(circuit)
    return list(zip(found.places.tolist(), found.measurement.homes, found.measurement.observables, strict=True))


def _half_range(part: SparsePauliOp) -> float:
    """Half the distance between the greatest and the least value that the bits of a setting can give it."""
    touched = part.paulis.x | part.paulis.z
    qubits = np.flatnonzero(touched.any(axis=0))
    coefficients = part.coeffs.real
    if len(part) == 1 or len(qubits) > _WIDEST_TABLE:
        return float(np.abs(coefficients).sum())
    spectrum = np.zeros(2 ** len(qubits))
    np.add.at(spectrum, touched[:, qubits] @ (1 << np.arange(len(qubits))), coefficients)
    values = hadamard(2 ** len(qubits)) @ spectrum
    return float(np.ptp(values)) / 2
