"""Which cell of a sweep to take: the cheapest of those that the best one does not clearly beat."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from qmm.costs.expressing import LOWER_IS_BETTER
from qmm.costs.sweep import Cell

BINS = 75  # of the histogram of fidelities, as in arXiv:1905.10876
_SEEN = 0.05
COSTS = ("two_qubit_gates", "gates", "depth", "parameters", "total_qubits")


class SweetSpot(NamedTuple):
    cheapest: dict[str, Any]
    """The row of the summary that is named."""
    best: dict[str, Any]
    tolerance: float
    """How far from the best a cell may be."""
    within: int
    """How many cells are no further."""


def summarise(cells: Sequence[Cell], table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row for each cell: mean, standard deviation and standard error over seeds, costs, and why it could not be built."""
    rows = []
    for cell in cells:
        here = table[(table["qubits"] == cell.qubits) & (table["layers"] == cell.layers)] if len(table) else table
        values = here[metric] if len(here) else pd.Series(dtype=float)
        spread = float(values.std()) if len(values) > 1 else math.nan
        rows.append(
            {
                "qubits": cell.qubits,
                "layers": cell.layers,
                metric: float(values.mean()) if len(values) else math.nan,
                "std": spread,
                "error": spread / math.sqrt(len(values)) if len(values) else math.nan,
                "seeds": len(values),
                **(cell.costs() if cell.circuits else dict.fromkeys(COSTS, pd.NA)),
                "reason": cell.reason,
            }
        )
    return pd.DataFrame(rows)


def sweet_spot(summary: pd.DataFrame, metric: str, cost: str, tolerance: float | None = None) -> SweetSpot:
    """The cheapest cell within `tolerance` of the best mean; by default within the best's own standard error over seeds (the
    one-standard-error rule), which one seed cannot tell: then the best itself.

    Of equally cheap cells, the better one.
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1
    rows: Any = summary.to_dict("records")
    known: list[dict[str, Any]] = [row for row in rows if not math.isnan(row[metric])]
    best = max(known, key=lambda row: sign * row[metric])
    allowed = tolerance if tolerance is not None else (0.0 if math.isnan(best["error"]) else best["error"])
    near = [row for row in known if sign * (best[metric] - row[metric]) <= allowed + 1e-12]
    return SweetSpot(min(near, key=lambda row: (row[cost], -sign * row[metric])), best, allowed, len(near))


def describe(spot: SweetSpot, metric: str, cost: str, stated: bool) -> str:
    """In a few sentences, with the spread; `stated`: the tolerance was the user's."""
    rule = f"within {spot.tolerance:.3g} of" if stated else f"within one standard error ({spot.tolerance:.2g}) of"
    paid = cost.replace("_", " ")
    text = f"Sweet spot by {paid}: {_named(spot.cheapest, metric)}, {spot.cheapest[cost]:,} {paid}."
    if spot.cheapest is not spot.best:
        text += f"\nIt is {rule} the best: {_named(spot.best, metric)}, {spot.best[cost]:,} {paid}."
    else:
        text += f"\nIt is the best itself; no cheaper cell is {rule} it."
    if spot.best["seeds"] < 2 and not stated:
        text += "\nOne seed tells no spread: give more --seeds, or a --tolerance."
    elif spot.within > 1:
        text += f"\n{spot.within} cells are {rule} the best: this sweep does not tell them apart."
    return text


def caution(summary: pd.DataFrame, metric: str) -> str:
    """What the numbers of a metric cannot tell, where some of them are out of its reach; else nothing."""
    if metric != "expressibility":
        return ""
    built = summary[summary[metric].notna()]
    blunt = sorted({int(n) for n in built["total_qubits"] if (1 - 1 / BINS) ** (2 ** int(n) - 1) < _SEEN})
    if not blunt:
        return ""
    return (
        f"Circuits of {', '.join(map(str, blunt))} qubits: of Haar-random states, less than {_SEEN:.0%} of the fidelities lie "
        f"beyond the first of {BINS} bins, so this divergence can hardly tell such circuits apart; compare along a row alone, "
        "or take another --metric."
    )


def _named(row: Mapping[str, Any], metric: str) -> str:
    spread = "" if math.isnan(row["std"]) else f" ±{row['std']:.2g}"
    seeds = f"{row['seeds']} seed{'s' if row['seeds'] != 1 else ''}"
    qubits = f"{row['qubits']} qubit{'s' if row['qubits'] != 1 else ''} a register"
    layers = f"{row['layers']} layer{'s' if row['layers'] != 1 else ''}"
    return f"{qubits}, {layers}: {metric.replace('_', ' ')} {row[metric]:.4g}{spread} ({seeds})"
