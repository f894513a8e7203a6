"""What a circuit costs on a device: transpiled for it, scheduled, and weighed with its error rates. Nothing is run."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from qiskit import transpile
from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from qmm.circuits.measurement import shots_per_setting
from qmm.errors import InputError
from qmm.quantum import Circuit
from qmm.quantum.execution.devices import device
from qmm.quantum.settings import measured, settings

_NO_INSTRUCTIONS = ("barrier", "delay")


class HardwareCost(NamedTuple):
    """Of one circuit on one device; times in seconds."""

    device: str
    physical_qubits: tuple[int, ...]
    """Where each of the circuit's qubits starts."""
    quantum_instructions: int
    """Gates that are executed in one shot, rotations about Z included, which most devices do in software."""
    two_qubit_gates: int
    depth: int
    """Instructions on the longest path, the measurement included."""
    settings: int
    shots: int
    """In all settings together."""
    shot_duration: float
    """From the first gate to the end of the read-out, as scheduled."""
    calculation_time: float
    """shots * shot_duration: what the circuit and its read-out take."""
    delayed_time: float
    """With the device's own delay between shots besides, in which qubits return to |0>: most of what is waited for."""
    gate_fidelity: float
    """The product of 1 - error over the gates."""
    readout_fidelity: float
    """The product of 1 - error over the measured qubits."""
    idle_fidelity: float
    """The product over the waits between a qubit's first gate and its measurement, from T1 and T2."""

    @property
    def expected_fidelity(self) -> float:
        """Of gates and read-out; idle qubits do not decay."""
        return self.gate_fidelity * self.readout_fidelity

    @property
    def expected_fidelity_with_decay(self) -> float:
        """Of gates, read-out and idle qubits."""
        return self.expected_fidelity * self.idle_fidelity


def hardware_cost(
    circuit: Circuit,
    on: str | BackendV2 = "fake_torino",
    precision: float = 0.01,
    optimization_level: int = 2,
    initial_layout: Sequence[int] | None = None,
    seed: int = 0,
) -> HardwareCost:
    """Transpiles the circuit with its angles left open, so that the cost is that of any sample and any weights.

    Of several measurement settings, the one that turns most qubits is transpiled, and stands for all.

    Args:
        on: One of `devices()`, or any Qiskit backend whose target has durations and errors.
        precision: The standard error that the shots are for, in the worst case (`shots`).
        optimization_level: Of the transpiler, 0 to 3.
        initial_layout: The physical qubit of each of the circuit's; by default the transpiler chooses.
        seed: Of the transpiler.

    Raises InputError for a device that is unknown or too small, and for a layout that does not fit.
    """
    backend = device(on) if isinstance(on, str) else on
    _check(circuit.quantum_circuit, backend, optimization_level, initial_layout)
    times = shots_per_setting(circuit, precision)
    bases = [setting.basis for setting in settings(circuit)]
    if not bases:
        raise InputError("nothing is measured; give the circuit an observable other than the identity")
    read_out = measured(circuit.quantum_circuit, max(bases, key=lambda basis: int(basis.x.sum() + (basis.x & basis.z).sum())))
    physical = transpile(
        read_out,
        backend,
        optimization_level=optimization_level,
        initial_layout=None if initial_layout is None else list(initial_layout),
        scheduling_method="alap",
        seed_transpiler=seed,
    )
    duration = physical.estimate_duration(backend.target)
    gates = [item for item in physical.data if item.operation.name not in (*_NO_INSTRUCTIONS, "measure")]
    return HardwareCost(
        device=backend.name,
        physical_qubits=tuple(physical.layout.initial_index_layout(filter_ancillas=True)),
        quantum_instructions=len(gates),
        two_qubit_gates=sum(len(item.qubits) > 1 for item in gates),
        depth=physical.depth(lambda item: item.operation.name not in _NO_INSTRUCTIONS),
        settings=len(times),
        shots=sum(times),
        shot_duration=duration,
        calculation_time=sum(times) * duration,
        delayed_time=sum(times) * (duration + (getattr(backend, "default_rep_delay", None) or 0.0)),
        gate_fidelity=_fidelity(physical, backend.target, measurements=False),
        readout_fidelity=_fidelity(physical, backend.target, measurements=True),
        idle_fidelity=_idle_fidelity(physical, backend.target),
    )


def _check(circuit: QuantumCircuit, backend: BackendV2, level: int, layout: Sequence[int] | None) -> None:
    n_qubits, there = circuit.num_qubits, backend.num_qubits
    if n_qubits > there:
        raise InputError(f"{n_qubits} qubits on {backend.name}, which has {there}; take a larger device or fewer qubits")
    if level not in (0, 1, 2, 3):
        raise InputError(f"optimization_level={level}; the transpiler has 0, 1, 2 and 3")
    if layout is None:
        return
    if len(layout) != n_qubits or len(set(layout)) != n_qubits or not set(layout) <= set(range(there)):
        wanted = f"{n_qubits} different numbers from 0 to {there - 1}"
        raise InputError(f"initial_layout={list(layout)} for {n_qubits} qubits on {backend.name}; give {wanted}")


def _fidelity(physical: QuantumCircuit, target: Target, measurements: bool) -> float:
    """The product of 1 - error over the measurements, or over all else; what the device gives no error for has none."""
    found = 1.0
    for item in physical.data:
        name = item.operation.name
        if name not in _NO_INSTRUCTIONS and (name == "measure") == measurements:
            properties = target[name].get(tuple(physical.find_bit(q).index for q in item.qubits))
            found *= 1 - ((properties.error if properties else None) or 0.0)
    return found


def _idle_fidelity(physical: QuantumCircuit, target: Target) -> float:
    """Average fidelity of a wait t: 1/2 + exp(-t/T1)/6 + exp(-t/T2)/3, of amplitude damping with dephasing, multiplied over
    all waits. A qubit that has not met a gate is in |0>, and stays; one whose T1, T2 are unknown does not decay."""
    begun: set[int] = set()
    found = 1.0
    for item in physical.data:
        places = [physical.find_bit(qubit).index for qubit in item.qubits]
        if item.operation.name == "measure":
            begun -= set(places)
        elif item.operation.name not in _NO_INSTRUCTIONS:
            begun |= set(places)
        elif item.operation.name == "delay" and places[0] in begun:
            found *= _wait(places[0], item.operation.duration * _second(item.operation.unit, target), target)
    return found


def _wait(qubit: int, seconds: float, target: Target) -> float:
    properties = target.qubit_properties[qubit] if target.qubit_properties else None
    t1, t2 = (getattr(properties, name, None) or math.inf for name in ("t1", "t2"))
    return float(0.5 + np.exp(-seconds / t1) / 6 + np.exp(-seconds / t2) / 3)


def _second(unit: str, target: Target) -> float:
    return float(target.dt) if unit == "dt" else {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}[unit]
