"""The fusion circuit, put together from registers, and the same circuit without some of them. Pure functions."""

import copy
from collections.abc import Collection, Mapping
from typing import NamedTuple

from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import PauliList, SparsePauliOp

from qmm.circuits import Ansatz, FeatureMap, Readout
from qmm.errors import InputError
from qmm.quantum import Circuit
from qmm.registers import RegisterLayout

from .coupling import Placement, across, inside
from .entanglers import Entangler


def build_registers(
    widths: Mapping[str, int], qubits: Mapping[str, int], plans: Mapping[str, FeatureMap], uploads: int
) -> tuple[RegisterLayout, dict[str, FeatureMap]]:
    """The registers in the order of `widths`, and each modality's feature map, built for `uploads` of its features.

    Args:
        widths: Features by modality.
        qubits: Of a modality's register, where they are more than the feature map needs.
        plans: Feature maps by modality, "" for all others; they are copied.

    Raises InputError where a register is too small, or given for no modality.
    """
    for what, given in (("qubits", qubits), ("feature maps", plans)):
        unknown = sorted(set(given) - set(widths) - {""})
        if unknown:
            raise InputError(f"{what} are given for {', '.join(unknown)}, the model's modalities are {', '.join(widths)}")
    maps = {m: copy.deepcopy(plans[m] if m in plans else plans[""]) for m in widths}
    sizes = {m: qubits.get(m, maps[m].least_qubits(k)) for m, k in widths.items()}
    for modality, feature_map in maps.items():
        try:
            feature_map.build(widths[modality], sizes[modality], uploads)
        except InputError as error:
            raise InputError(f"{modality!r}: {error}") from error
    return RegisterLayout(sizes), maps


def fusion_circuit(
    layout: RegisterLayout,
    feature_maps: Mapping[str, FeatureMap],
    ansatz: Ansatz,
    entangler: Entangler,
    readout: Readout,
    layers: int,
    reupload: bool,
    placement: Placement | None = None,
) -> Circuit:
    """Each modality's angles go onto its register; then, `layers` times, registers meet, and each is turned by itself.

    Being turned last, all that is trained can be read out in Z. With `reupload` the features are written again before every
    layer (arXiv:1907.02085). Inputs stand in the order of the layout, `vision.x0`; weights in the order in which the circuit
    meets them, named by layer, modality and what the ansatz or the entangler calls them: `0.vision.ry1`. With a `placement`,
    gates stand between neighbours on the device alone (`coupling`).
    """
    circuit = QuantumCircuit(*(QuantumRegister(size, modality) for modality, size in layout.sizes.items()))
    inputs = {m: [Parameter(f"{m}.x{i}") for i in range(feature_maps[m].n_angles)] for m in layout.modalities}
    weights: list[Parameter] = []

    def place(part: QuantumCircuit, qubits: Collection[int], prefix: str) -> None:
        own = {p: Parameter(prefix + p.name) for p in by_first_use(part)}
        weights.extend(own.values())
        circuit.compose(part.assign_parameters(own), qubits, inplace=True)

    def fitted(part: QuantumCircuit, modality: str, whole: bool) -> QuantumCircuit:
        return part if placement is None else inside(part, layout.qubits(modality), placement, whole)

    for layer in range(layers):
        if layer == 0 or reupload:
            for m, angles in inputs.items():
                written = fitted(feature_maps[m].circuit(angles, layer), m, whole=True)
                circuit.compose(written, layout.qubits(m), inplace=True)
        meeting = entangler.in_layer(layout, layer, layers)
        place(meeting if placement is None else across(meeting, layout, placement), range(layout.n_qubits), f"{layer}.")
        for m, size in layout.sizes.items():
            turned = fitted(ansatz.circuit(size), m, whole=len(ansatz.read(size)) < size)
            place(turned, layout.qubits(m), f"{layer}.{m}.")
    read = [layout.qubits(m)[q] for m, size in layout.sizes.items() for q in ansatz.read(size)]
    return Circuit.of(circuit, [x for angles in inputs.values() for x in angles], weights, readout.observables(layout, read))


def by_first_use(circuit: QuantumCircuit) -> list[Parameter]:
    """The circuit's parameters in the order in which its gates use them."""
    found: dict[Parameter, None] = {}
    for item in circuit.data:
        for angle in item.operation.params:
            found.update(dict.fromkeys(sorted(getattr(angle, "parameters", ()), key=lambda p: p.name)))
    return list(found)


class Restriction(NamedTuple):
    """A fusion circuit without some of its registers."""

    circuit: Circuit
    weights: list[int]
    """Places of its weights among those of the full circuit."""
    observables: list[int]
    """Places of its observables."""


def restrict(full: Circuit, layout: RegisterLayout, present: Collection[str]) -> Restriction:
    """Delete every instruction and every observable that touches a register not in `present`; nothing is rewired.

    The absent qubits, on which nothing is left, are dropped; an input goes with its modality, by which it is named. Where all
    observables go, the circuit that is left has none, and can be drawn, but not run.
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
    part = Circuit(
        circuit,
        inputs=tuple(x for x in full.inputs if x.name.rpartition(".")[0] in present),
        weights=tuple(full.weights[i] for i in weights),
        observables=tuple(_drop_others(full.observables[i], kept) for i in observables),
    )
    return Restriction(part.check() if observables else part, weights, observables)


def _support(observable: SparsePauliOp) -> set[int]:
    return {int(q) for q in (observable.paulis.x | observable.paulis.z).any(axis=0).nonzero()[0]}


def _drop_others(observable: SparsePauliOp, qubits: list[int]) -> SparsePauliOp:
    paulis = observable.paulis
    return SparsePauliOp(PauliList.from_symplectic(paulis.z[:, qubits], paulis.x[:, qubits]), observable.coeffs)
