"""Circuits of quantum kernels: the state that stands for a sample, and the overlap of two of them. Pure functions."""

from collections.abc import Collection, Mapping

from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import SparsePauliOp

from qmm.circuits import Ansatz, FeatureMap, ZAndZZAcross
from qmm.quantum import Circuit, Probabilities
from qmm.registers import RegisterLayout

from ..assembly import fusion_circuit, restrict
from ..entanglers import Entangler


def kernel_circuit(
    layout: RegisterLayout, feature_maps: Mapping[str, FeatureMap], ansatz: Ansatz, entangler: Entangler, layers: int
) -> Circuit:
    """|phi(x)> with x written first, last, and between the layers: a `fusion_circuit` with re-uploading, and x once more.

    What a layer does behind the last upload would be the same for all samples, and no overlap of two would tell it. So
    feature maps are built for `layers + 1` uploads; without layers, features are encoded and registers do not meet.
    """
    if layers:
        made = fusion_circuit(layout, feature_maps, ansatz, entangler, ZAndZZAcross(), layers, reupload=True)
        circuit, inputs, weights = made.quantum_circuit, made.inputs, made.weights
    else:
        circuit = QuantumCircuit(*(QuantumRegister(size, m) for m, size in layout.sizes.items()))
        inputs = tuple(Parameter(f"{m}.x{i}") for m in layout.modalities for i in range(feature_maps[m].n_angles))
        weights = ()
    for modality in layout.modalities:
        own = [x for x in inputs if x.name.rpartition(".")[0] == modality]
        circuit.compose(feature_maps[modality].circuit(own, layers), layout.qubits(modality), inplace=True)
    return Circuit.of(circuit, inputs, weights, one_qubit_paulis(layout.n_qubits))


def one_qubit_paulis(n_qubits: int) -> list[SparsePauliOp]:
    """X, Y and Z of qubit 0, then of qubit 1, and so on: three measurement settings tell all one-qubit states."""
    return [SparsePauliOp.from_sparse_list([(p, [q], 1.0)], n_qubits) for q in range(n_qubits) for p in "XYZ"]


def overlap_circuit(
    state: Circuit, layout: RegisterLayout, present: Collection[str] | None = None, others: Collection[str] | None = None
) -> Circuit:
    """Compute, then uncompute: output 0 is |<phi(z)|phi(x)>|**2, how likely all qubits are 0; output 1 is the rest.

    Args:
        state: Prepares |phi>, with inputs named `vision.x0`; the same weights serve on both sides.
        present: The modalities of x, which is written by inputs of these names; by default all.
        others: Those of z, whose inputs are named `vision.z0` and stand behind those of x.

    On either side all that touches an absent modality's register is deleted; all registers stay, so that every two
    patterns can meet. One measurement setting, whatever the number of qubits (arXiv:1804.11326).
    """
    circuit = QuantumCircuit(*state.quantum_circuit.qregs)
    inputs: list[Parameter] = []
    for letter, names in (("x", present), ("z", others)):
        side = restrict(state, layout, layout.modalities if names is None else names).circuit
        own = {x: Parameter(letter.join(x.name.rsplit("x", 1))) for x in side.inputs}
        part = side.quantum_circuit.assign_parameters({x: own[x] for x in own if x in side.quantum_circuit.parameters})
        qubits = [qubit for register in part.qregs for qubit in layout.qubits(register.name)]
        circuit.compose(part if letter == "x" else part.inverse(), qubits, inplace=True)
        inputs += own.values()
    weights = [weight for weight in state.weights if weight in circuit.parameters]
    n_qubits = layout.n_qubits
    return Circuit.of(circuit, inputs, weights, Probabilities(tuple(range(n_qubits)), (0,) + (1,) * (2**n_qubits - 1)))
