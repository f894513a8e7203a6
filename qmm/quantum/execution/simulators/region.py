"""Regions: what a circuit on a large device touches, simulated as a device of these few qubits with their noise.

A circuit in the instruction set of a device is as wide as the device; most of these qubits stay idle. Simulating a region costs
what the touched qubits cost, with the gates, errors and read-out errors of these very qubits and of each directed edge.
"""

from collections.abc import Sequence
from typing import Any

from qiskit.circuit import CircuitInstruction, Gate, QuantumCircuit, QuantumRegister
from qiskit.providers import BackendV2
from qiskit.transpiler import Target, generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_aer.noise.passes import RelaxationNoisePass

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.simulators.noise import SimulatedDevice
from qmm.quantum.pubs import Cache

_NO_GATES = ("barrier", "measure", "reset", "delay")


def touched(circuit: QuantumCircuit, also: Sequence[int] = ()) -> tuple[int, ...]:
    """The qubits, ascending, on which what is measured or saved can depend, and `also`.

    Those are the qubits that gates join, directly or by way of others, to one that is measured, saved or in `also`; where there
    is none, all that have a gate.
    """
    parent = list(range(circuit.num_qubits))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    place = {qubit: i for i, qubit in enumerate(circuit.qubits)}
    acted, read = set(also), list(also)
    for instruction in circuit.data:
        if instruction.name == "barrier":
            continue
        qubits = [place[qubit] for qubit in instruction.qubits]
        if instruction.name != "delay":
            acted.update(qubits)
        if instruction.clbits or instruction.name.startswith("save_"):
            read += qubits
        for qubit in qubits[1:]:
            parent[root(qubit)] = root(qubits[0])
    roots = {root(i) for i in read}
    return tuple(sorted(i for i in acted if not roots or root(i) in roots)) or (0,)


def narrowed(circuit: QuantumCircuit, qubits: Sequence[int]) -> QuantumCircuit:
    """The circuit on these qubits alone; instructions on others are left out, its classical registers stay."""
    register = QuantumRegister(len(qubits), "q")
    place = {circuit.qubits[qubit]: register[i] for i, qubit in enumerate(qubits)}
    kept = []
    for instruction in circuit.data:
        own = [place[qubit] for qubit in instruction.qubits if qubit in place]
        if len(own) == len(instruction.qubits):
            kept.append(instruction.replace(qubits=own))
        elif own and instruction.name == "barrier":
            kept.append(instruction.replace(operation=type(instruction.operation)(len(own)), qubits=own))
    small = QuantumCircuit.from_instructions(
        kept, qubits=register, clbits=circuit.clbits, name=circuit.name, global_phase=circuit.global_phase
    )
    small.add_register(register, *circuit.cregs)
    small.metadata = circuit.metadata
    return small


def native(circuit: QuantumCircuit, target: Target) -> QuantumCircuit:
    """The circuit with gates of one qubit that the device does not have written in those that it has; itself where it has all.

    Measurements in another basis than Z bring such gates with them, behind the transpiler. Raises CircuitError where a qubit is
    measured that the device does not measure.
    """
    measured = {circuit.find_bit(item.qubits[0]).index for item in circuit.data if item.name == "measure"}
    unread = [q for q in sorted(measured) if not target.instruction_supported("measure", (q,))]
    if unread:
        raise CircuitError(
            f"the device does not measure qubits {unread}; choose others for what is observed (initial_layout), or another one"
        )
    known = {*target.operation_names, *_NO_GATES}
    foreign = {item.name: item for item in circuit.data if len(item.qubits) == 1 and not item.params and item.name not in known}
    foreign = {name: item for name, item in foreign.items() if isinstance(item.operation, Gate)}
    if not foreign:
        return circuit
    written = {name: _written(item, target) for name, item in foreign.items()}
    found = circuit.copy_empty_like()
    for item in circuit.data:
        if item.name in written:
            found.compose(written[item.name], item.qubits, inplace=True)
        else:
            found.append(item)
    return found


def _written(item: CircuitInstruction, target: Target) -> QuantumCircuit:
    alone = QuantumCircuit(1)
    alone.append(item.operation, [0])
    gates = [name for name in target.operation_names if name not in _NO_GATES]
    return generate_preset_pass_manager(1, basis_gates=gates).run(alone)


def noise_on(noise: NoiseModel, qubits: Sequence[int]) -> NoiseModel:
    """The noise of a region: that of these physical qubits, numbered as they stand in `qubits`."""
    place = {qubit: i for i, qubit in enumerate(qubits)}
    small = NoiseModel(basis_gates=noise.basis_gates)
    for name, error in noise._default_quantum_errors.items():
        small.add_all_qubit_quantum_error(error, name, warnings=False)
    for name, errors in noise._local_quantum_errors.items():
        for edge, error in errors.items():
            if place.keys() >= set(edge):
                small.add_quantum_error(error, name, [place[qubit] for qubit in edge], warnings=False)
    if noise._default_readout_error is not None:
        small.add_all_qubit_readout_error(noise._default_readout_error, warnings=False)
    for read, error in noise._local_readout_errors.items():
        if place.keys() >= set(read):
            small.add_readout_error(error, [place[qubit] for qubit in read], warnings=False)
    for noise_pass in noise._custom_noise_passes:
        if isinstance(noise_pass, RelaxationNoisePass):  # a delay says how long it is, other instructions are looked up
            own = [values[list(qubits)].tolist() for values in (noise_pass._t1s, noise_pass._t2s, noise_pass._p1s)]
            target = None if noise_pass._target is None else target_on(noise_pass._target, qubits)
            small._custom_noise_passes.append(
                RelaxationNoisePass(own[0], own[1], noise_pass._dt, noise_pass._ops or None, own[2], target)
            )
        else:
            small._custom_noise_passes.append(noise_pass)
    return small


def target_on(target: Target, qubits: Sequence[int]) -> Target:
    """The instructions that a device has on these physical qubits, with their errors and durations."""
    place = {qubit: i for i, qubit in enumerate(qubits)}
    properties = target.qubit_properties
    small = Target(
        num_qubits=len(qubits),
        dt=target.dt,
        granularity=target.granularity,
        min_length=target.min_length,
        pulse_alignment=target.pulse_alignment,
        acquire_alignment=target.acquire_alignment,
        qubit_properties=None if properties is None else [properties[qubit] for qubit in qubits],
    )
    for name in target.operation_names:
        operation, found = target.operation_from_name(name), target[name]
        if None in found:
            small.add_instruction(operation, name=name)
            continue
        own = {tuple(place[q] for q in edge): p for edge, p in found.items() if place.keys() >= set(edge)}
        if own:
            small.add_instruction(operation, own, name=name)
    return small


class Region(SimulatedDevice):
    """A few physical qubits of a device, as a device of their own."""

    def __init__(self, device: BackendV2, qubits: Sequence[int]):
        target = target_on(device.target, qubits)
        super().__init__(target, f"{device.name}{list(qubits)}", f"qubits {list(qubits)} of {device.name}")
        self.qubits = tuple(qubits)

    def run(self, run_input: Any, **options: Any) -> Any:
        """Simulates the region with its noise."""
        return AerSimulator.from_backend(self).run(run_input, **options)


class Regions:
    """The noise and the simulators of regions, each made once.

    Args:
        device: What circuits are transpiled for; None: any gate between any qubits.
        noise: On the device's physical qubits; None: what the device says of its errors.
        options: Of AerSimulator.
    """

    def __init__(self, device: BackendV2 | None, noise: NoiseModel | None = None, **options: Any):
        self.device, self.options, self._noise = device, options, noise
        self._models: Cache[NoiseModel | None] = Cache()
        self._simulators: Cache[AerSimulator] = Cache()

    def noise(self, qubits: tuple[int, ...]) -> NoiseModel | None:
        """Of these physical qubits, numbered as they stand here; None where there is none."""
        return self._models.get(qubits, lambda: self._model(qubits))

    def simulator(self, qubits: tuple[int, ...]) -> AerSimulator:
        """Of these physical qubits."""
        return self._simulators.get(qubits, lambda: AerSimulator(noise_model=self.noise(qubits), **self.options))

    def _model(self, qubits: tuple[int, ...]) -> NoiseModel | None:
        if self._noise is not None:
            model = noise_on(self._noise, qubits)
        elif self.device is not None:
            model = NoiseModel.from_backend(Region(self.device, qubits))
        else:
            return None
        return None if model.is_ideal() and not model._custom_noise_passes else model
