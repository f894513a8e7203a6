"""Exact values of circuits of any width in which few gates are no Clifford gates, by following the observables backwards."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qmm.quantum.angles import collect
from qmm.quantum.errors import CircuitError

_MOST_STRINGS = 2**16  # of all observables together: about what 16 rotations by other angles than multiples of pi/2 make of one
_ZERO = 1e-12


class NearClifford:
    """A circuit as rotations by Pauli strings, through which Pauli strings are carried from its end to its beginning.

    A rotation by a multiple of pi/2 turns a string into another one, any other angle into a sum of two.
    """

    def __init__(self, circuit: QuantumCircuit, parameters: Sequence[Parameter]):
        """Args:
        circuit: Of standard gates.
        parameters: Its own, in the order of the columns of bindings.
        """
        from qiskit.transpiler.passes import ConvertToPauliRotations

        self._n_qubits = circuit.num_qubits
        turns = [item for item in ConvertToPauliRotations()(circuit).data if item.operation.name != "barrier"]
        self._angles = collect([item.operation.params[0] for item in turns], parameters, ())
        self._x, self._z = np.zeros((2, len(turns), circuit.num_qubits), dtype=bool)
        for i, item in enumerate(turns):
            places, pauli = [circuit.find_bit(qubit).index for qubit in item.qubits], item.operation.pauli()
            self._x[i, places], self._z[i, places] = pauli.x, pauli.z

    def values(self, rows: NDArray[np.float64], observables: Sequence[SparsePauliOp]) -> NDArray[np.float64]:
        """(K, A) angles -> (K, P) expectation values. Raises CircuitError where strings become too many."""
        found = self._angles.evaluate(torch.from_numpy(rows), torch.empty(0, dtype=torch.float64))
        every = found.expand(len(rows), len(self._x)).numpy()
        return np.array([self._carried(angles, observables) for angles in every]).reshape(len(rows), len(observables))

    def _carried(self, angles: NDArray[np.float64], observables: Sequence[SparsePauliOp]) -> NDArray[np.float64]:
        x, z = (np.concatenate([getattr(o.paulis, axis) for o in observables]) for axis in "xz")
        values = np.concatenate([o.coeffs.real for o in observables])
        owner = np.repeat(np.arange(len(observables)), [len(o) for o in observables])
        cosines, sines = np.cos(angles), np.sin(angles)
        for i in reversed(range(len(angles))):
            turned = ((x & self._z[i]) ^ (z & self._x[i])).sum(axis=1) % 2 == 1
            if not turned.any() or abs(sines[i]) < _ZERO:
                values[turned] *= cosines[i]
                continue
            other = (
                x[turned] ^ self._x[i],
                z[turned] ^ self._z[i],
                values[turned] * sines[i] * self._signs(i, x[turned], z[turned]),
            )
            if abs(cosines[i]) < _ZERO:
                x[turned], z[turned], values[turned] = other
                continue
            values[turned] *= cosines[i]
            x, z, values, owner = _merged(
                np.concatenate([x, other[0]]),
                np.concatenate([z, other[1]]),
                np.concatenate([values, other[2]]),
                np.concatenate([owner, owner[turned]]),
            )
        diagonal = ~x.any(axis=1)  # at the beginning all qubits are 0, where Z is 1 and X is 0 on average
        return _sums(owner[diagonal], values[diagonal], len(observables))

    def _signs(self, i: int, x: NDArray[np.bool_], z: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Of i G P for the rotation's string G and the strings P, which anticommute with it, as Pauli strings."""
        g_x, g_z = self._x[i], self._z[i]
        power = (g_x & g_z).sum() + (x & z).sum(axis=1) + 2 * (x & g_z).sum(axis=1) - ((x ^ g_x) & (z ^ g_z)).sum(axis=1)
        return np.where(power % 4 == 1, -1.0, 1.0)


def _merged(
    x: NDArray[np.bool_], z: NDArray[np.bool_], values: NDArray[np.float64], owner: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
    """Equal strings of one observable added up."""
    packed = np.concatenate([np.packbits(np.concatenate([x, z], axis=1), axis=1), owner[:, None].view(np.uint8)], axis=1)
    _, first, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    if len(first) > _MOST_STRINGS:
        raise CircuitError(
            f"the observables of a training circuit become more than {_MOST_STRINGS:,} Pauli strings: too many of its gates "
            "without a parameter are no Clifford gates; leave CliffordDataRegression out"
        )
    return x[first], z[first], _sums(inverse.ravel(), values, len(first)), owner[first]


def _sums(places: NDArray[np.int64], values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """(n,): the sum of the values at each place."""
    return np.bincount(places, values, minlength=n).astype(np.float64)
