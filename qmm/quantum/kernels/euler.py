"""Local layers for the kernels: every run of one-qubit gates as rotations, and their outer RZ as phases of their own.

A layer of RY alone multiplies real matrices, half the work of general ones, and all RZ of a layer together cost one
multiplication of the state by a table.
"""

from collections.abc import Iterable
from itertools import takewhile
from typing import Any

import numpy as np

from qmm.quantum.angles import free_parameters
from qmm.quantum.operations import Local, Phase, Rotation
from qmm.quantum.schedule import Layer

REAL, REFLECTION, IMAGINARY, GENERAL = range(4)
_ZERO = 1e-12
_HALF = np.array([0.5, -0.5])
_ENOUGH = 2  # runs that must become simple before a pass over the state for phases pays


def split_layers(layers: list[Layer], n_qubits: int) -> list[Layer]:
    """The same circuit, where local layers hold rotations only, and phases are split off where it simplifies enough runs.

    The first layer, which makes the product state at the start, keeps everything.
    """
    start, *others = layers
    split = [Layer("local", [r for op in start.operations for r in rotations(op)])]
    for layer in others:
        if layer.kind != "local":
            _append(split, layer.kind, layer.operations)
            continue
        runs = [[r for op in layer.operations if op.qubits[0] == q for r in rotations(op)] for q in range(n_qubits)]
        parts = [_strip(run) for run in runs]
        simpler = [i for i, part in enumerate(parts) if kind(part[1]) != GENERAL and len(part[1]) < len(runs[i])]
        chosen = set(simpler) if len(simpler) >= min(_ENOUGH, n_qubits) else set()
        _append(split, "phase", [_phase(r) for i in chosen for r in parts[i][0]])
        _append(split, "local", [r for i, run in enumerate(runs) for r in (parts[i][1] if i in chosen else run)])
        _append(split, "phase", [_phase(r) for i in chosen for r in parts[i][2]])
    return split


def rotations(operation: Rotation | Local) -> list[Rotation]:
    """RZ, RY, RZ, the first one first, for a fixed matrix; angles of zero are left out."""
    if isinstance(operation, Rotation):
        return [operation]
    u = operation.matrix
    theta = 2 * np.arctan2(abs(u[1, 0]), abs(u[0, 0]))
    if abs(u[0, 0]) < _ZERO:
        first, last = np.angle(-u[0, 1] / u[1, 0]), 0.0
    elif abs(u[1, 0]) < _ZERO:
        first, last = np.angle(u[1, 1] / u[0, 0]), 0.0
    else:
        first, last = np.angle(-u[0, 1] / u[0, 0]), np.angle(u[1, 0] / u[0, 0])
    turns = (("Z", first), ("Y", theta), ("Z", last))
    return [Rotation(operation.qubits, axis, float(angle)) for axis, angle in turns if abs(angle) > _ZERO]


def kind(run: Iterable[Rotation]) -> int:
    """REAL (RY), REFLECTION (RY and an odd number of Z), IMAGINARY (RX), or GENERAL."""
    run = list(run)
    if all(r.axis == "X" for r in run) and run:
        return IMAGINARY
    if all(r.axis == "Y" or _is_reflection(r) for r in run):
        return (REAL, REFLECTION)[sum(r.axis == "Z" for r in run) % 2]
    return GENERAL


def _is_reflection(rotation: Rotation) -> bool:
    """Z, that is RZ(pi)."""
    if rotation.axis != "Z" or free_parameters(rotation.angle):
        return False
    return abs(abs(float(rotation.angle)) - np.pi) < _ZERO


def _strip(run: list[Rotation]) -> tuple[list[Rotation], list[Rotation], list[Rotation]]:
    """What of a run can go before it as phases, what stays, what can go behind it."""
    if all(r.axis == "Z" for r in run):
        return run, [], []
    first = list(takewhile(lambda r: r.axis == "Z", run))
    last = list(takewhile(lambda r: r.axis == "Z", reversed(run)))[::-1]
    core = run[len(first) : len(run) - len(last)]
    before, after = ([r for r in side if not _is_reflection(r)] for side in (first, last))
    stay_before, stay_after = ([r for r in side if _is_reflection(r)] for side in (first, last))
    return before, [*stay_before, *core, *stay_after], after


def _phase(rotation: Rotation) -> Phase:
    return Phase(rotation.qubits, _HALF, rotation.angle)


def _append(layers: list[Layer], kind: str, operations: list[Any]) -> None:
    """Phases in a row are one layer; the first layer stays alone."""
    if not operations:
        return
    if kind == "phase" and layers[-1].kind == kind:
        layers[-1].operations.extend(operations)
    else:
        layers.append(Layer(kind, list(operations)))
