"""Networks of Qiskit Machine Learning as a Circuit: what `QuantumLayer.from_qnn` is built on."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import SparsePauliOp

from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.errors import CircuitError
from qmm.quantum.measurements import split_measurements


def circuit_of(qnn: Any) -> Circuit:
    """What an EstimatorQNN or a SamplerQNN computes without noise, inputs and weights in the network's own order.

    Raises CircuitError for other networks, and for what one axis of dense, real outputs cannot hold.
    """
    from qiskit_machine_learning.neural_networks import EstimatorQNN, SamplerQNN

    if isinstance(qnn, EstimatorQNN):
        observables = [pauli_sum(observable) for observable in qnn.observables]
        return Circuit.of(qnn.circuit, qnn.input_params or (), qnn.weight_params or (), observables)
    if isinstance(qnn, SamplerQNN):
        return _of_sampler(qnn)
    remedy = "; pass its .neural_network" if hasattr(qnn, "neural_network") else ""
    raise CircuitError(f"got {type(qnn).__name__}; an EstimatorQNN or a SamplerQNN is expected{remedy}")


def pauli_sum(observable: Any) -> SparsePauliOp:
    """Whatever Qiskit's estimators take for an observable, projectors such as "0+" among them.

    Raises ValueError, as Qiskit does, for one that is not Hermitian, or zero.
    """
    return SparsePauliOp.from_sparse_observable(ObservablesArray.coerce_observable(observable))


def _of_sampler(qnn: Any) -> Circuit:
    if qnn.sparse:
        raise CircuitError(
            "the SamplerQNN returns sparse arrays; build it with sparse=False, a QuantumLayer's outputs are dense"
        )
    if len(qnn.output_shape) != 1:
        raise CircuitError(
            f"the SamplerQNN's output_shape is {qnn.output_shape}, a QuantumLayer has one axis of outputs: let `interpret` "
            "return np.ravel_multi_index(index, output_shape), and unflatten what the layer returns"
        )
    circuit = qnn.circuit
    if not circuit.clbits:
        circuit = circuit.copy()
        circuit.measure_all()
    measured = split_measurements(circuit)
    qubits = tuple(sorted(set(measured.qubits.values())))
    if not qubits:
        raise CircuitError("the SamplerQNN's circuit has classical bits but measures no qubit; measure what it should read")
    places = [qubits.index(measured.qubits[bit]) if bit in measured.qubits else None for bit in _key_bits(circuit)]
    outcomes = [_output(qnn, _key(qnn, state, places)) for state in range(2 ** len(qubits))]
    read_out = Probabilities(qubits, tuple(outcomes), int(qnn.output_shape[0]))
    return Circuit.of(measured.unitary, qnn.input_params, qnn.weight_params, read_out)


def _key_bits(circuit: QuantumCircuit) -> list[int]:
    """The classical bits that the network reads as one number, the least significant first: of the register "meas", which
    alone is read where there is one, or of all registers in their order."""
    registers = [register for register in circuit.cregs if register.name == "meas"] or circuit.cregs
    return [circuit.find_bit(bit).index for register in registers for bit in register]


def _key(qnn: Any, state: int, places: Sequence[int | None]) -> int:
    """The number that the network reads for one basis state of the measured qubits."""
    key = sum((state >> place & 1) << i for i, place in enumerate(places) if place is not None)
    layout = qnn.circuit.layout
    if layout is not None:
        return sum((key >> q & 1) << i for i, q in enumerate(layout.final_index_layout(filter_ancillas=True)))
    if key >= 2**qnn.num_virtual_qubits:
        raise CircuitError(
            f"the SamplerQNN drops what it reads above {2**qnn.num_virtual_qubits - 1}, and its circuit measures {key}: "
            f"measure into the first {qnn.num_virtual_qubits} classical bits"
        )
    return key


def _output(qnn: Any, key: int) -> int:
    """The output that a number adds to."""
    read: int | Iterable[int] = qnn.interpret(key)
    index = [int(read)] if isinstance(read, Integral) else [int(i) for i in np.ravel(list(read))]  # type: ignore[arg-type]
    (size,) = qnn.output_shape
    if len(index) != 1 or not 0 <= index[0] < size:
        raise CircuitError(f"interpret({key}) is {read}; output_shape {qnn.output_shape} has places 0 to {size - 1}")
    return index[0]
