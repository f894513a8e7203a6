"""Dynamical decoupling: pulses while qubits wait, so that slow noise takes back what it did."""

from typing import Literal

import numpy as np
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.circuit.library import RZGate, XGate
from qiskit.transpiler import PassManager, Target
from qiskit.transpiler.exceptions import TranspilerError
from qiskit.transpiler.passes import ALAPScheduleAnalysis, ConstrainedReschedule, PadDelay, PadDynamicalDecoupling

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Execution, Expansion, Mitigation, Request
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.mitigation.instructions import durations
from qmm.quantum.pubs import Cache

_PULSES = {"none": "", "XX": "xx", "XpXm": "xm", "XY4": "xyxy", "XY8": "xyxyyxyx"}


class DynamicalDecoupling(Mitigation):
    """Schedules the circuit as late as possible and fills the waits of each qubit with pulses that multiply to the identity.

    It helps where noise is slow: a detuning that stays the same during a shot, or couplings to idle neighbours, is reversed by
    each pulse and cancels. It cannot help where noise has no memory, as relaxation and dephasing in the noise models of
    simulated devices have none: there it adds the errors of its pulses, and waits only become noisy because they are written
    down. Qubits that wait for their first gate are left alone.

    Shots: those of the request.

    Args:
        sequence: "XX"; "XpXm", whose second pulse is turned by a half, so that errors of the two pulses cancel; "XY4" or "XY8",
            which also decouple from noise along X; "none" writes the waits down alone: what the others are compared with.
    """

    stage = 140

    def __init__(self, sequence: Literal["none", "XX", "XpXm", "XY4", "XY8"] = "XX"):
        """Raises CircuitError for a sequence that there is not."""
        if sequence not in _PULSES:
            raise CircuitError(f"there is no sequence {sequence!r}; take one of {', '.join(_PULSES)}")
        self.sequence = sequence

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError for a device without durations, or without the gates x and rz."""
        target = durations(execution.device, "dynamical decoupling")
        known: Cache[QuantumCircuit] = execution.memory.setdefault(("decoupled", self.sequence), Cache())
        circuit = known.get(Fingerprint(request.circuit), lambda: self._decoupled(request.circuit, target))
        return Expansion([request._replace(circuit=circuit)], lambda estimates: estimates[0])

    def _decoupled(self, circuit: QuantumCircuit, target: Target) -> QuantumCircuit:
        gates, spacing = _sequence(self.sequence)
        missing = sorted({gate.name for gate in gates} - set(target.operation_names))
        if missing:
            raise CircuitError(
                f"{self.sequence} needs the gate {missing[0]}, and the device has {', '.join(sorted(target.operation_names))}; "
                "take another device, or leave dynamical decoupling out"
            )
        aligned = max(target.pulse_alignment, target.acquire_alignment) > 1
        passes = [
            ALAPScheduleAnalysis(target=target),
            *([ConstrainedReschedule(target=target)] if aligned else []),
            PadDynamicalDecoupling(dd_sequence=gates, spacing=spacing, target=target) if gates else PadDelay(target=target),
        ]
        try:
            return _without_idle(PassManager(passes).run(circuit))
        except TranspilerError as error:
            raise CircuitError(f"the circuit cannot be scheduled for dynamical decoupling: {error.message}") from error


def _sequence(name: str) -> tuple[list[Gate], list[float]]:
    """Gates, and the share of the waiting time before, between and after them: even between pulses, half of it at the ends.

    Y is a half turn of the frame (rz) and X, and so is X in the opposite direction, then turned back.
    """
    pulses = _PULSES[name]
    even = 1 / max(1, len(pulses))
    gates: list[Gate] = []
    spacing = [even / 2]
    for i, pulse in enumerate(pulses):
        after = even / 2 if i == len(pulses) - 1 else even
        if pulse == "x":
            gates, spacing = [*gates, XGate()], [*spacing, after]
        elif pulse == "y":
            gates, spacing = [*gates, RZGate(np.pi), XGate()], [*spacing, 0.0, after]
        else:
            gates, spacing = [*gates, RZGate(np.pi), XGate(), RZGate(-np.pi)], [*spacing, 0.0, 0.0, after]
    return gates, spacing


def _without_idle(circuit: QuantumCircuit) -> QuantumCircuit:
    """Without the delays of qubits that do nothing else: a device has many, and nobody asks for them."""
    busy = {qubit for item in circuit.data if item.name not in ("delay", "barrier") for qubit in item.qubits}
    kept = circuit.copy_empty_like()
    for item in circuit.data:
        if item.name != "delay" or item.qubits[0] in busy:
            kept.append(item)
    return kept
