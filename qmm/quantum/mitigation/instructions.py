"""Gates of a device's instruction set, without touching those that stand already in it."""

from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.circuit.equivalence_library import SessionEquivalenceLibrary
from qiskit.providers import BackendV2
from qiskit.transpiler import PassManager, Target
from qiskit.transpiler.exceptions import TranspilerError
from qiskit.transpiler.passes import BasisTranslator

from qmm.quantum.errors import CircuitError


def translated(circuit: QuantumCircuit, device: BackendV2 | None) -> QuantumCircuit:
    """The circuit with each gate that the device lacks written in those it has; nothing is merged or cancelled.

    Raises CircuitError where a gate cannot be written so.
    """
    if device is None:
        return circuit
    try:
        return PassManager([BasisTranslator(SessionEquivalenceLibrary, None, target=device.target)]).run(circuit)
    except TranspilerError as error:
        raise CircuitError(f"{device.name} lacks gates that this mitigation needs: {error.message}") from error


def durations(device: BackendV2 | None, purpose: str) -> Target:
    """The device's target, with the durations of its gates. Raises CircuitError where there are none."""
    target: Any = None if device is None else device.target
    if target is None or target.dt is None:
        name = "this simulator" if device is None else device.name
        raise CircuitError(
            f"{purpose} needs the durations of gates, and {name} has none; simulate a device that has them, "
            "a snapshot such as fake_torino, or leave it out"
        )
    return target
