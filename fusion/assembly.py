"""The fusion circuit, put together from registers, and the same circuit without some of them. Pure functions."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import PauliList, SparsePauliOp

from qmm.circuits import angle_encoding, rotations_and_ring, z_of_each, zz_across
from qmm.quantum import Circuit
from qmm.registers import RegisterLayout

from .entanglers import cx_ring, rzz_couplings, side_by_side

ENTANGLERS = ("cx", "rzz")


def fusion_circuit(layout: RegisterLayout, widths: Mapping[str, int], layers: int, reupload: bool, entangler: str) -> Circuit:
    """Each modality's angles on its register, then `layers` times: a trained layer inside each register, then across them.

    Weights are named by layer, modality and qubit; inputs by modality and place, in the order of the layout. With
    `reupload` the angles are written again before every layer (arXiv:1907.02085). Read out: Z of every qubit, ZZ across.
    """
    circuit = QuantumCircuit(*(QuantumRegister(size, modality) for modality, size in layout.sizes.items()))
    inputs = {m: [Parameter(f"{m}.x{i}") for i in range(widths[m])] for m in layout.modalities}
    weights: list[Parameter] = []
    for layer in range(layers):
        if layer == 0 or reupload:
            for modality, angles in inputs.items():
                circuit.compose(angle_encoding(angles, layout.sizes[modality]), layout.qubits(modality), inplace=True)
        for modality, size in layout.sizes.items():
            ry, rz = ([Parameter(f"{layer}.{modality}.{axis}{q}") for q in range(size)] for axis in ("ry", "rz"))
            weights += [*ry, *rz]
            circuit.compose(rotations_and_ring(ry, rz), layout.qubits(modality), inplace=True)
        if entangler == "cx":
            circuit.compose(cx_ring(layout), inplace=True)
        else:
            couplings = [Parameter(f"{layer}.{_name(layout, a)}-{_name(layout, b)}.zz") for a, b in side_by_side(layout)]
            weights += couplings
            circuit.compose(rzz_couplings(layout, couplings), inplace=True)
    observables = (*z_of_each(layout.n_qubits), *zz_across(layout))
    return Circuit.of(circuit, [x for angles in inputs.values() for x in angles], weights, observables)


def _name(layout: RegisterLayout, qubit: int) -> str:
    modality = layout.owner(qubit)
    return f"{modality}{qubit - layout.qubits(modality)[0]}"


class Restriction(NamedTuple):
    """A fusion circuit without some of its registers."""

    circuit: Circuit
    weights: list[int]
    """Places of its weights among those of the full circuit."""
    observables: list[int]
    """Places of its observables."""


def restrict(full: Circuit, layout: RegisterLayout, present: Collection[str]) -> Restriction:
    """Delete every instruction and every observable that touches a register not in `present`; nothing is rewired.

    The absent qubits, on which nothing is left, are dropped.
    """
    kept = [qubit for modality in layout.restrict(present).modalities for qubit in layout.qubits(modality)]
    place = {full.quantum_circuit.qubits[qubit]: i for i, qubit in enumerate(kept)}
    circuit = QuantumCircuit(*(register for register in full.quantum_circuit.qregs if register.name in present))
    for item in full.quantum_circuit.data:
        if all(qubit in place for qubit in item.qubits):
            circuit.append(item.operation, [place[qubit] for qubit in item.qubits])
    used = set(circuit.parameters)
    weights = [i for i, weight in enumerate(full.weights) if weight in used]
    observables = [i for i, observable in enumerate(full.observables) if _support(observable) <= set(kept)]
    return Restriction(
        Circuit.of(
            circuit,
            inputs=[x for x in full.inputs if x in used],
            weights=[full.weights[i] for i in weights],
            observables=[_drop_others(full.observables[i], kept) for i in observables],
        ),
        weights,
        observables,
    )


def _support(observable: SparsePauliOp) -> set[int]:
    return {int(q) for q in (observable.paulis.x | observable.paulis.z).any(axis=0).nonzero()[0]}


def _drop_others(observable: SparsePauliOp, qubits: list[int]) -> SparsePauliOp:
    paulis = observable.paulis
    return SparsePauliOp(PauliList.from_symplectic(paulis.z[:, qubits], paulis.x[:, qubits]), observable.coeffs)
