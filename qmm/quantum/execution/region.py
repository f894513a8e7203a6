"""Regions: what a circuit on a large device touches, simulated as a device of these few qubits with their noise.

A circuit in the instruction set of a device is as wide as the device; most of these qubits stay idle. Simulating a region costs
what the touched qubits cost. Gates, errors and read-out errors are those of the physical qubits, each gate's of its directed edge.
"""

import copy
import uuid
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple, Self

import numpy as np
from qiskit.circuit import QuantumCircuit, QuantumRegister
from qiskit.providers import BackendV2, JobStatus, JobV1, Options
from qiskit.result import Result
from qiskit.transpiler import Target
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_aer.noise.passes import RelaxationNoisePass

from qmm.quantum.pubs import Cache


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
            own = [values[list(qubits)] for values in (noise_pass._t1s, noise_pass._t2s, noise_pass._p1s)]
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


class Region(BackendV2):
    """A few physical qubits of a device, as a device of their own."""

    def __init__(self, device: BackendV2, qubits: Sequence[int]):
        super().__init__(name=f"{device.name}{list(qubits)}", description=f"qubits {list(qubits)} of {device.name}")
        self._target, self.qubits = target_on(device.target, qubits), tuple(qubits)

    @property
    def target(self) -> Target:
        return self._target

    @property
    def max_circuits(self) -> None:
        return None

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def run(self, run_input: Any, **options: Any) -> Any:
        """Simulates the region with its noise."""
        return AerSimulator.from_backend(self).run(run_input, **options)


class RegionSimulator(AerSimulator):
    """A device with its noise, of which each run simulates no more than the region that the circuit touches.

    To all who run circuits it is as wide as the device. Make it with `of`.
    """

    _of: BackendV2
    _whole: NoiseModel | None
    _given: dict[str, Any]
    _regions: Cache[AerSimulator]

    @classmethod
    def of(cls, device: BackendV2, noise: NoiseModel | None = None, **options: Any) -> Self:
        """Args:
        device: What circuits are transpiled for.
        noise: On the device's physical qubits; None: what the device says of its errors.
        options: Of AerSimulator.
        """
        made: Self = cls.from_backend(device, noise_model=None, **options)
        made._of, made._whole, made._given, made._regions = device, noise, options, Cache()
        return made

    def region(self, qubits: tuple[int, ...]) -> AerSimulator:
        """The simulator of these physical qubits, numbered as they stand here."""
        return self._regions.get(qubits, lambda: self._region(qubits))

    def run(self, circuits: Any, parameter_binds: Any = None, **run_options: Any) -> "MergedJob":
        """As AerSimulator does, with noise of the physical qubits."""
        circuits = [circuits] if isinstance(circuits, QuantumCircuit) else list(circuits)
        seed = run_options.pop("seed_simulator", None) or self.options.seed_simulator
        found = [touched(circuit) for circuit in circuits]
        parts = []
        for number, (qubits, group) in enumerate(groupby(sorted(range(len(found)), key=lambda i: found[i]), found.__getitem__)):
            own = list(group)
            if seed is not None:  # each group its own stream: else two would draw the same numbers
                run_options["seed_simulator"] = int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
            binds = [parameter_binds[i] for i in own] if parameter_binds else None
            small = [narrowed(circuits[i], qubits) for i in own]
            sizes = [len(next(iter(b.values()), [0])) for b in binds] if binds else [1] * len(own)
            parts.append(Part(own, sizes, self.region(qubits).run(small, parameter_binds=binds, **run_options)))
        return MergedJob(self, parts)

    def _region(self, qubits: tuple[int, ...]) -> AerSimulator:
        if self._whole is None:
            model = NoiseModel.from_backend(Region(self._of, qubits))
        else:
            model = noise_on(self._whole, qubits)
        ideal = model.is_ideal() and not model._custom_noise_passes
        return AerSimulator(noise_model=None if ideal else model, **self._given)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = copy.copy(self)  # regions, which take time to make, are shared
        made._options = copy.copy(self._options)
        return made


class Part(NamedTuple):
    """Circuits of one region."""

    places: list[int]
    sizes: list[int]
    job: Any


class MergedJob(JobV1):
    """The jobs of several regions as one: results in the order in which the circuits came."""

    def __init__(self, backend: BackendV2, parts: Sequence[Part]):
        super().__init__(backend, str(uuid.uuid4()))
        self._parts = parts

    def submit(self) -> None:
        """Its parts run already."""

    def result(self) -> Result:
        """Of all circuits and bindings."""
        by_place: dict[int, list[Any]] = {}
        whole: Result | None = None
        for part in self._parts:
            found = part.job.result()
            rest = iter(found.results)
            by_place |= {i: [next(rest) for _ in range(n)] for i, n in zip(part.places, part.sizes, strict=True)}
            whole = found if whole is None or not found.success else whole
        assert whole is not None
        whole = copy.copy(whole)
        whole.job_id, whole.results = self.job_id(), [r for i in sorted(by_place) for r in by_place[i]]
        return whole

    def status(self) -> JobStatus:
        """Of its parts, that of the first which is not done."""
        return next((s for part in self._parts if (s := part.job.status()) is not JobStatus.DONE), JobStatus.DONE)
