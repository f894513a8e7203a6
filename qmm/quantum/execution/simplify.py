"""What of a circuit is worth sending: gates and qubits that an observable feels, and angles that differ from run to run."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import PauliList, SparsePauliOp

from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.light_cone import drop_unfelt
from qmm.quantum.pubs import Cache
from qmm.quantum.settings import Parts, parts

_FOLDED = 16  # of a circuit: sets of weights whose numbers stand in it


class Reduced(NamedTuple):
    """A circuit with the outputs of another one, and where its parameters stand among those of that one."""

    quantum_circuit: QuantumCircuit
    parameters: tuple[Parameter, ...]
    columns: NDArray[np.int64]
    """(D,): the places of its parameters in (*inputs, *weights) of the other one."""
    parts: Parts


class Simplifier:
    """What is sent in place of one circuit. Threads may share it.

    Args:
        circuit: The circuit that was asked for.
        simplify: Whether anything is dropped; else the circuit is taken as it is.
    """

    def __init__(self, circuit: Circuit, simplify: bool = True):
        """Raises CircuitError for probabilities of too many qubits."""
        self._named = (*circuit.inputs, *circuit.weights)
        self._n_inputs = len(circuit.inputs)
        found = simplified(circuit) if simplify else circuit
        self.reduced = self._of(found.quantum_circuit, parts(found), self._named if not simplify else None)
        self._folded: Cache[Reduced] = Cache(_FOLDED)

    def folded(self, weights: NDArray[np.float64]) -> Reduced:
        """With the numbers of weights that all samples share in place of their parameters, so that the transpiler can merge
        what stands between the inputs. (W,) radians."""
        return self._folded.get(weights.tobytes(), lambda: self._fold(weights))

    def _fold(self, weights: NDArray[np.float64]) -> Reduced:
        circuit = self.reduced.quantum_circuit
        values = zip(self._named[self._n_inputs :], weights.tolist(), strict=True)
        fixed = {parameter: value for parameter, value in values if parameter in circuit.parameters}
        return self._of(circuit.assign_parameters(fixed), self.reduced.parts)

    def _of(self, circuit: QuantumCircuit, own: Parts, named: tuple[Parameter, ...] | None = None) -> Reduced:
        used = set(circuit.parameters) if named is None else set(named)
        columns = [place for place, parameter in enumerate(self._named) if parameter in used]
        return Reduced(circuit, tuple(self._named[place] for place in columns), np.array(columns, np.int64), own)


def simplified(circuit: Circuit) -> Circuit:
    """The circuit without gates that no observable feels, and without qubits on which no gate is left; outputs stay the same.

    Inputs and weights are those that are left. On a qubit without gates, Z is 1, X and Y are 0.
    """
    while True:
        felt = drop_unfelt(circuit._replace(quantum_circuit=_without_phase(circuit.quantum_circuit)))
        smaller = _without_idle_qubits(felt)
        if _size(smaller) == _size(circuit):
            return smaller
        circuit = smaller  # strings that became 0 leave more gates unfelt


def _size(circuit: Circuit) -> tuple[int, int]:
    return len(circuit.quantum_circuit.data), circuit.quantum_circuit.num_qubits


def _without_phase(circuit: QuantumCircuit) -> QuantumCircuit:
    copied: QuantumCircuit = circuit.copy()
    copied.global_phase = 0.0  # it may have parameters, and no observable sees it
    return copied


def _without_idle_qubits(circuit: Circuit) -> Circuit:
    quantum_circuit, observables = circuit.quantum_circuit, circuit.observables
    place = {qubit: index for index, qubit in enumerate(quantum_circuit.qubits)}
    busy = {place[qubit] for item in quantum_circuit.data if item.operation.name != "barrier" for qubit in item.qubits}
    if isinstance(observables, Probabilities):
        busy |= set(observables.qubits)
    kept = sorted(busy) or [0]  # one at least
    smaller = QuantumCircuit(len(kept))
    smaller.add_bits(quantum_circuit.clbits)
    index = {quantum_circuit.qubits[qubit]: i for i, qubit in enumerate(kept)}
    for item in quantum_circuit.data:
        qubits = [index[qubit] for qubit in item.qubits if qubit in index]
        if len(qubits) == len(item.qubits):
            smaller.append(item.operation, qubits, item.clbits)
        elif qubits:
            smaller.barrier(qubits)
    used = set(smaller.parameters)
    inputs, weights = ([p for p in named if p in used] for named in (circuit.inputs, circuit.weights))
    if isinstance(observables, Probabilities):
        moved = observables._replace(qubits=tuple(kept.index(qubit) for qubit in observables.qubits))
        return Circuit.of(smaller, inputs, weights, moved)
    return Circuit.of(smaller, inputs, weights, [_on(observable, kept) for observable in observables])


def _on(observable: SparsePauliOp, kept: list[int]) -> SparsePauliOp:
    """What is left of an observable where all other qubits are in |0>."""
    x, z = observable.paulis.x, observable.paulis.z
    seen = ~np.delete(x, kept, axis=1).any(axis=1)
    if not seen.any():
        return SparsePauliOp("I" * len(kept), 0.0)
    strings = PauliList.from_symplectic(z[np.ix_(seen, kept)], x[np.ix_(seen, kept)])
    return SparsePauliOp(strings, observable.coeffs[seen]).simplify()
