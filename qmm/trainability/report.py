"""What was measured, as tables: variances of points, slopes of series, Markdown."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qmm.trainability.estimates import ZERO, Estimate, estimate, slope, two_design_variance
from qmm.trainability.families import RandomAxes
from qmm.trainability.measuring import Outcome, Point
from qmm.trainability.plan import Depth, Plan

WEIGHTS = ("first", "every")
"""Whose gradient: the first weight's, as in arXiv:1803.11173, or all weights', their variances averaged."""


_STRINGS = ("z", "zz", "parity")  # observables that are one Pauli string, for which `two_design_variance` holds


class Series(NamedTuple):
    """Points that differ in their number of qubits alone."""

    circuits: str
    depth: Depth
    observable: str
    initialiser: str


class Row(NamedTuple):
    """What a series says, of the first weight and of every one."""

    variances: dict[str, dict[int, Estimate]]
    """By `WEIGHTS`, then by qubits."""
    slopes: dict[str, Estimate | None]
    """ln variance per qubit, by `WEIGHTS`; None where there is none."""
    circuits: int
    """How many, at each number of qubits."""


def series(plan: Plan, outcome: Outcome) -> dict[Series, Row]:
    """In the order of the plan, those of which there is at least one point."""
    together: dict[Series, dict[Point, Any]] = {}
    for point, result in outcome.found.items():
        key = Series(point.circuits, point.depth, point.observable, point.initialiser)
        together.setdefault(key, {})[point] = result
    found = {}
    for key, results in together.items():
        values: dict[str, dict[int, NDArray[np.float64]]] = {
            which: {result["qubits"]: np.array(result[which]) for result in results.values()} for which in WEIGHTS
        }
        found[key] = Row(
            variances={which: {n: estimate(v) for n, v in by_qubits.items()} for which, by_qubits in values.items()},
            slopes={which: slope(by_qubits) for which, by_qubits in values.items()},
            circuits=plan.circuits(key.initialiser),
        )
    return found


def markdown(plan: Plan, rows: dict[Series, Row]) -> str:
    """A table for each kind of circuits and observable, the steepest fall first. In brackets: 95 % bootstrap intervals. For
    random circuits and Pauli strings, what 2-designs would give stands above."""
    parts = []
    for name in dict.fromkeys((key.circuits, key.depth, key.observable) for key in rows):
        own = {key: row for key, row in rows.items() if (key.circuits, key.depth, key.observable) == name}
        ordered = sorted(own.items(), key=lambda item: (item[1].slopes["every"] or Estimate(np.inf, 0, 0)).value)
        circuits, depth, observable = name
        qubits = sorted({n for row in own.values() for n in row.variances["first"]})
        known = isinstance(plan.cases[circuits].family, RandomAxes) and observable in _STRINGS and len(qubits) > 1
        theory = slope({n: np.full(2, two_design_variance(n)) for n in qubits}) if known else None
        parts.append(f"**{circuits}, depth {depth}, observable {observable}**\n\n{_table(ordered, theory)}")
    return "\n\n".join(parts)


def _table(rows: list[tuple[Series, Row]], theory: Estimate | None) -> str:
    ends = [f(n for _, row in rows for n in row.variances["first"]) for f in (min, max)]
    header = [
        "start",
        "circuits",
        "ln Var per qubit, first weight",
        "ln Var per qubit, all weights",
        *(f"Var of all, {n} qubits" for n in dict.fromkeys(ends)),
    ]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    if theory is not None:
        lines.append("| " + " | ".join(["*2-design, in theory*", "", f"{theory.value:+.3f}", *[""] * (len(header) - 3)]) + " |")
    for key, row in rows:
        variances = [row.variances["every"].get(n) for n in dict.fromkeys(ends)]
        cells = [key.initialiser, str(row.circuits), *(slope_text(row.slopes[which]) for which in WEIGHTS)]
        cells += ["-" if v is None else "0" if v.value < ZERO else f"{v.value:.1e}" for v in variances]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def slope_text(found: Estimate | None) -> str:
    """-0.583 [-0.62, -0.55]"""
    return "-" if found is None else f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def as_json(plan: Plan, outcome: Outcome, rows: dict[Series, Row], command: str) -> dict[str, Any]:
    """All numbers as plain data."""
    named = {point: {**point._asdict(), "depth": str(point.depth)} for point in (*outcome.refused, *outcome.failed)}
    return {
        "command": command,
        "circuits": plan.per_point,
        "seed": plan.seed,
        "slopes": [
            {
                **key._asdict(),
                "depth": str(key.depth),
                "circuits_measured": row.circuits,
                **{f"slope_{which}": found and found._asdict() for which, found in row.slopes.items()},
                **{
                    f"variance_{which}": {str(n): v._asdict() for n, v in by_qubits.items()}
                    for which, by_qubits in row.variances.items()
                },
            }
            for key, row in rows.items()
        ],
        "refused": [{**named[point], "reason": reason} for point, reason in outcome.refused.items()],
        "failed": [{**named[point], "error": error} for point, error in outcome.failed.items()],
    }
