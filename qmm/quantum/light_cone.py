"""The light cone of the observables: what of a circuit they feel. The rest costs gates and weights, and changes nothing."""

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Operation, QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Clifford, PauliList

from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.lower import is_parametrised

_MOST_STRINGS = 1024  # followed one by one; what branches further is followed qubit by qubit
_GENERATORS = {  # Pauli strings that commute with each other (u: three turns, the last first), label[i] on the gate's qubit i
    **{name: (name[1:].upper(),) for name in ("rx", "ry", "rz", "rxx", "ryy", "rzz", "rzx")},
    "p": ("Z",),
    "u": ("Z", "Y", "Z"),
    "crx": ("IX", "ZX"),
    "cry": ("IY", "ZY"),
    "crz": ("IZ", "ZZ"),
    "cp": ("IZ", "ZI", "ZZ"),
}


def drop_unfelt(circuit: Circuit) -> Circuit:
    """The circuit without gates, and without weights, that none of its values depends on; inputs all stay.

    From the last gate to the first, each observable's Pauli strings are carried through (the Heisenberg picture); a gate that
    commutes with all that they have become is dropped. Beyond rotations, their controlled forms and Clifford gates, and where
    strings become too many, qubits are followed instead, which may keep too much, never too little.
    """
    observables, quantum_circuit = circuit.observables, circuit.quantum_circuit
    front = _Front(quantum_circuit.num_qubits)
    if isinstance(observables, Probabilities):
        front.follow_qubits(list(observables.qubits))
    else:
        front.add(np.concatenate([o.paulis.x for o in observables]), np.concatenate([o.paulis.z for o in observables]))
    kept = []
    for item in reversed(quantum_circuit.data):
        places = [quantum_circuit.find_bit(qubit).index for qubit in item.qubits]
        if item.operation.name == "barrier" or front.passes(item.operation, places):
            kept.append(item)
    felt: QuantumCircuit = quantum_circuit.copy_empty_like()
    for item in reversed(kept):
        felt.append(item)
    used = set(felt.parameters)
    return Circuit.of(felt, circuit.inputs, [weight for weight in circuit.weights if weight in used], observables)


class _Front:
    """What the observables have become at some place of the circuit: Pauli strings, or else the qubits that they reach."""

    def __init__(self, n_qubits: int):
        self._x = self._z = np.zeros((0, n_qubits), dtype=bool)
        self._reached: NDArray[np.bool_] | None = None

    def add(self, x: NDArray[np.bool_], z: NDArray[np.bool_]) -> None:
        both = np.unique(np.concatenate([np.concatenate([self._x, x]), np.concatenate([self._z, z])], axis=1), axis=0)
        self._x, self._z = np.split(both, 2, axis=1)
        if len(both) > _MOST_STRINGS:
            self.follow_qubits([])

    def follow_qubits(self, more: list[int]) -> None:
        reached = np.asarray((self._x | self._z).any(axis=0))
        reached[more] = True
        self._reached = reached

    def passes(self, operation: Operation, places: list[int]) -> bool:
        """Moves before the gate; whether it is felt."""
        if self._reached is None and (self._x | self._z)[:, places].any():
            if operation.name in _GENERATORS:
                return self._turn(_GENERATORS[operation.name], places)
            clifford = _clifford(operation)
            if clifford is not None:
                return self._conjugate(clifford, places)
            self.follow_qubits([])
        if self._reached is None or not self._reached[places].any():
            return False
        self._reached[places] = True
        return True

    def _turn(self, labels: tuple[str, ...], places: list[int]) -> bool:
        felt = [self._rotate(label, places) for label in labels]
        if self._reached is not None:  # the strings became too many on the way
            self._reached[places] = True
        return any(felt)

    def _rotate(self, label: str, places: list[int]) -> bool:
        x, z = np.zeros((2, self._x.shape[1]), dtype=bool)
        x[places], z[places] = [axis in "XY" for axis in label], [axis in "YZ" for axis in label]
        turned = ((self._x & z) ^ (self._z & x)).sum(axis=1) % 2 == 1
        if turned.any():
            self.add(self._x[turned] ^ x, self._z[turned] ^ z)
        return bool(turned.any())

    def _conjugate(self, clifford: Clifford, places: list[int]) -> bool:
        before = PauliList.from_symplectic(self._z, self._x)
        after = before.evolve(clifford, places, frame="h")
        self._x, self._z = after.x, after.z
        return bool(before != after)


def _clifford(operation: Operation) -> Clifford | None:
    """None where it is none, or too wide to be worth the question."""
    if operation.num_qubits > 2 or is_parametrised(operation) or operation.name == "PauliEvolution":
        return None  # Qiskit's matrix of a time evolution is slow, and warns
    try:
        return Clifford(operation)
    except QiskitError:
        return None
