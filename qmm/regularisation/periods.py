"""The period of each weight of a circuit: what can be added to it without any effect."""

import math
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from qiskit.circuit import CircuitInstruction, Gate, Parameter, ParameterExpression
from qiskit.quantum_info import Operator

from qmm.quantum import Circuit

_WIDEST = 3  # qubits of a gate whose matrix is looked at
_FINEST = 64  # denominators of factors before an angle; what is finer has no common period of use


def periods(circuit: Circuit) -> dict[Parameter, float]:
    """Radians, by weight; infinite for one that has no period, such as one that multiplies an input.

    A rotation returns after 2 pi, but for a phase of the whole state that nothing measures; a controlled one (CRX) after 4 pi,
    since then the phase is that of a part of the state. A factor before the angle shortens the period; where a weight stands in
    several gates, all of them have to return.
    """
    found: dict[Parameter, Fraction | None] = dict.fromkeys(circuit.weights, Fraction(0))
    for item in circuit.quantum_circuit.data:
        for slot, angle in enumerate(item.operation.params):
            for weight in getattr(angle, "parameters", ()):
                if weight in found:
                    found[weight] = _common(found[weight], _in_turns(item, slot, angle, weight))
    return {weight: math.inf if not turns else 2 * math.pi * float(turns) for weight, turns in found.items()}


def _common(a: Fraction | None, b: Fraction | None) -> Fraction | None:
    """The least period of both; 0: of none so far; None: there is none."""
    if a is None or b is None:
        return None
    if not a:
        return b
    return Fraction(math.lcm(a.numerator, b.numerator), math.gcd(a.denominator, b.denominator))


def _in_turns(item: CircuitInstruction, slot: int, angle: ParameterExpression, weight: Parameter) -> Fraction | None:
    """The period of a weight in one angle of a gate, in units of 2 pi."""
    gate = item.operation
    if not isinstance(gate, Gate) or gate.num_qubits > _WIDEST:
        return None
    slope = angle.gradient(weight)
    if isinstance(slope, ParameterExpression):
        if slope.parameters:
            return None
        slope = slope.numeric()
    factor = Fraction(abs(float(np.real(slope)))).limit_denominator(_FINEST)
    kind: Any = gate.base_class
    turns = _gate_turns(kind, slot, len(gate.params))
    if turns is None or not factor or abs(float(factor) - abs(slope)) > 1e-9:
        return None
    return turns / factor


@cache
def _gate_turns(kind: type[Gate], slot: int, count: int) -> Fraction | None:
    """1 or 2 turns, found by trying; None for a gate of other periods, or one that is not made of angles alone."""
    angles = [0.3 + 0.71 * i for i in range(count)]
    for turns in (1, 2):
        turned = [a + 2 * math.pi * turns * (i == slot) for i, a in enumerate(angles)]
        try:
            before, after = Operator(kind(*angles)).data, Operator(kind(*turned)).data
        except Exception:  # a user's own gate may be made of anything
            return None
        overlap = abs(np.vdot(before, after)) / len(before)
        if abs(overlap - 1) < 1e-9:
            return Fraction(turns)
    return None
