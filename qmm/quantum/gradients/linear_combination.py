"""Linear combinations of unitaries: one more qubit reads a derivative off directly."""

from typing import Any
from weakref import WeakKeyDictionary

from qiskit.circuit import Parameter, QuantumCircuit, Qubit
from qiskit.circuit.library import XGate, YGate, ZGate
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.gradients.estimated import EstimatedGradient, Stencil
from qmm.quantum.gradients.evaluating import Points
from qmm.quantum.gradients.unrolling import unroll
from qmm.quantum.settings import parts

_PAULI_GATES = {"X": XGate, "Y": YGate, "Z": ZGate}
_KNOWN: WeakKeyDictionary[CompiledCircuit, dict[int, CompiledCircuit]] = WeakKeyDictionary()


class LinearCombination(EstimatedGradient):
    """Exact derivatives by a Hadamard test on one more qubit (arXiv:1811.11184).

    Each angle is that of exp(-i angle R / 2) with R**2 = 1. The ancilla, in (|0> + |1>) / sqrt(2), controls an R behind that
    gate; then <Y on the ancilla times the observable> is the derivative. That is one circuit for each angle where the
    parameter-shift rule runs two, of one to three more two-qubit gates, on a device that reaches the ancilla from everywhere.
    """

    def stencil(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, wanted: tuple[bool, bool]) -> Stencil:
        unrolled = unroll(circuit)
        chosen = unrolled.chosen(wanted)
        known = _KNOWN.setdefault(unrolled.compiled, {})
        for place in chosen.tolist():
            if place not in known:
                known[place] = CompiledCircuit(_hadamard_test(unrolled.compiled.circuit, place))
        at = unrolled.angles.evaluate(inputs, weights).expand(len(inputs), -1).unsqueeze(1)
        pieces = [Points(known[place], at, at[..., :0]) for place in chosen.tolist()]
        pieces = pieces or [Points(unrolled.compiled, at[:, :0], at[:, :0, :0])]
        return Stencil(pieces, unrolled.slopes(chosen, inputs, weights))


def _hadamard_test(circuit: Circuit, place: int) -> Circuit:
    """The circuit whose values are the derivatives by the angle of that place."""
    tested: QuantumCircuit = circuit.quantum_circuit.copy_empty_like()
    tested.add_bits([ancilla := Qubit()])
    tested.h(ancilla)
    for item in circuit.quantum_circuit.data:
        tested.append(item)
        if _turns(item.operation, circuit.inputs[place]):
            _reflect(tested, item.operation.name, [ancilla, *item.qubits])
    return Circuit.of(tested, circuit.inputs, (), [SparsePauliOp("Y").tensor(o) for o in _traceless(circuit)])


def _turns(gate: Any, parameter: Parameter) -> bool:
    return any(isinstance(angle, Parameter) and angle == parameter for angle in gate.params)


def _reflect(circuit: QuantumCircuit, name: str, qubits: list[Qubit]) -> None:
    """R of the gate of that name, controlled by the first qubit: Pauli matrices, or the sign of |1...1> for phases."""
    if name[0] == "r":
        for axis, qubit in zip(name[1:].upper(), qubits[1:], strict=True):
            circuit.append(_PAULI_GATES[axis]().control(1, annotated=False), [qubits[0], qubit])
    else:
        circuit.append(ZGate().control(len(qubits) - 1, annotated=False), qubits)


def _traceless(circuit: Circuit) -> list[SparsePauliOp]:
    """An observable for each output, without the identity, whose derivative is 0."""
    nothing = SparsePauliOp("I" * circuit.quantum_circuit.num_qubits, 0.0)
    if isinstance(circuit.observables, Probabilities):
        found = [nothing] * circuit.n_outputs
        own = parts(circuit)
        for place, observable in zip(own.places.tolist(), own.measurement.observables, strict=True):
            found[place] = observable
        return found
    kept = [o[(o.paulis.x | o.paulis.z).any(axis=1)] for o in circuit.observables]
    return [o if len(o) else nothing for o in kept]
