"""Folding: a gate G becomes G G^-1 G, which is the same gate with three times the noise."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from qiskit.circuit import CircuitInstruction, Gate, QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.transpiler import PassManager

from qmm.quantum.errors import CircuitError
from qmm.quantum.extras import require
from qmm.quantum.mitigation.instructions import translated


class Folded(NamedTuple):
    circuit: QuantumCircuit
    factor: float
    """How many gates that can be folded there are for each before: the wanted factor, as near as whole gates come."""


def folded(circuit: QuantumCircuit, factor: float, all_gates: bool, device: BackendV2 | None, rng: Generator) -> Folded:
    """A circuit with the noise of its gates multiplied.

    cx, cy, cz, ecr and swap are folded by qiskit-mitigation, other gates on several qubits and, with `all_gates`, those on one
    are folded here. What a factor between odd numbers leaves over is folded once more on gates drawn at random.

    Args:
        circuit: In the instruction set of the device.
        factor: At least 1.
        all_gates: Those of one qubit as well; else only those of several.
        device: The inverses of gates are written in its gates.
        rng: Draws the gates.

    Raises CircuitError for a gate whose inverse the device lacks.
    """
    library = require("qiskit_mitigation.zne.gate_folding", "ibm", "folded circuits")
    twice: tuple[type, ...] = library.SUPPORTED_FOLDED_GATES

    def counts(item: CircuitInstruction) -> bool:
        return isinstance(item.operation, Gate) and (all_gates or len(item.qubits) > 1)

    before = sum(map(counts, circuit.data))
    if not before or factor == 1:
        return Folded(circuit, 1.0)
    found = PassManager([library.GateFoldingPass(factor, "random", rng)]).run(circuit)
    found = _fold(found, factor, lambda item: counts(item) and not isinstance(item.operation, twice), device, rng)
    return Folded(translated(found, device), sum(map(counts, found.data)) / before)


def _fold(
    circuit: QuantumCircuit,
    factor: float,
    chosen: Callable[[CircuitInstruction], bool],
    device: BackendV2 | None,
    rng: Generator,
) -> QuantumCircuit:
    """As qiskit-mitigation's `GateFoldingPass`, for whichever gates."""
    places = [i for i, item in enumerate(circuit.data) if chosen(item)]
    whole, rest = divmod((factor - 1) / 2, 1)
    times = dict.fromkeys(places, int(whole))
    more = rng.choice(places, round(rest * len(places)), replace=False).tolist() if places else []
    for place in more:
        times[place] += 1
    found = circuit.copy_empty_like()
    for place, item in enumerate(circuit.data):
        found.append(item)
        for _ in range(times.get(place, 0)):
            found.append(_inverse(item, device))
            found.append(item)
    return found


def _inverse(item: CircuitInstruction, device: BackendV2 | None) -> CircuitInstruction:
    inverse = item.operation.inverse()
    if len(item.qubits) > 1 and device is not None:
        target, name = device.target, inverse.name
        if name not in target.operation_names or target.gate_has_angle_bounds(name):
            raise CircuitError(
                f"{device.name} lacks the inverse of {item.name}, which folding needs; transpile to gates that are their own "
                "inverse, cx or cz for instance"
            )
    return item.replace(operation=inverse)


def fold_factors(factors: tuple[float, ...]) -> tuple[float, ...]:
    """The factors, ascending. Raises CircuitError where one is below 1 or comes twice."""
    found = tuple(sorted(float(f) for f in factors))
    if not all(np.isfinite(f) and f >= 1 for f in found) or len(set(found)) < len(found):
        raise CircuitError(f"factors={factors}; noise can be multiplied by 1 or more, each factor once: 1, 3, 5 for instance")
    return found
