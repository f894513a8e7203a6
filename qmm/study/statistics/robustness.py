"""What is left of a metric when one modality is noisy or missing, after MultiBench (arXiv:2107.07502)."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.integrate import trapezoid

from qmm.errors import InputError


class Robustness(NamedTuple):
    arm: str
    kind: str
    """noise or missing"""
    modality: str
    seed: int
    relative: float
    """The area under the metric over the levels of noise, over their width: its mean height. Where the modality is missing,
    simply the metric then."""
    effective: float
    """By how much the same area, less that of the baseline moved to start at the same height, is above 0: whether the metric
    falls more slowly than the baseline's. NaN without a baseline at this seed."""
    retained: float
    """`relative` over the metric without noise."""


def relative_robustness(levels: ArrayLike, values: ArrayLike) -> float:
    """Area under a curve (n,) over ascending levels (n,), divided by their width."""
    x, y = np.asarray(levels, dtype=float), np.asarray(values, dtype=float)
    if len(x) < 2 or (np.diff(x) <= 0).any() or x.shape != y.shape:
        raise InputError(f"robustness needs two ascending levels or more and a value for each, got {x.tolist()}, {y.tolist()}")
    return float(trapezoid(y, x) / (x[-1] - x[0]))


def effective_robustness(levels: ArrayLike, values: ArrayLike, baseline: ArrayLike) -> float:
    """The area between a curve and the baseline's, which is moved so that both start at the same height; over the width.

    MultiBench sums this gap over levels; as an area it does not depend on how many there are.
    """
    gap = np.asarray(values, dtype=float) - np.asarray(baseline, dtype=float)
    return relative_robustness(levels, gap - gap[0])


def robustness_curves(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row for each value: arm, seed, kind, modality, level, value; level 0 is the cell's own metric, without noise."""
    if "robustness" not in table:
        raise InputError("the table has no column `robustness`; run the study with `robustness:`")
    rows = []
    for cell in table.to_dict("records"):
        measured = [dict(one) for one in cell["robustness"] if one["metric"] == metric]
        clean = {(one["kind"], one["modality"]): 0.0 for one in measured}
        levels = {(one["kind"], one["modality"], float(one["level"])): float(one["value"]) for one in measured}
        levels |= {(*curve, zero): float(cell[metric]) for curve, zero in clean.items()}
        rows += [(cell["arm"], cell["seed"], *where, value) for where, value in levels.items()]
    curves = pd.DataFrame(rows, columns=["arm", "seed", "kind", "modality", "level", "value"])
    return curves.sort_values(["arm", "kind", "modality", "seed", "level"], ignore_index=True)


def robustness(curves: pd.DataFrame, baseline: str | None = None) -> list[Robustness]:
    """Of every arm, kind, modality and seed; `baseline` is the arm that effective robustness is measured against (MultiBench
    takes late fusion).

    Raises InputError where the baseline was measured at other levels than an arm.
    """
    by_curve: dict[Any, pd.DataFrame] = dict(iter(curves.groupby(["arm", "kind", "modality", "seed"])))
    found = []
    for where, own in by_curve.items():
        arm, kind, modality, seed = where
        base = by_curve.get((baseline, kind, modality, seed))
        if base is not None and base["level"].tolist() != own["level"].tolist():
            raise InputError(
                f"{kind} of {modality}: {arm} was measured at levels {own['level'].tolist()}, the baseline {baseline} at "
                f"{base['level'].tolist()}; they must be the same"
            )
        if kind == "missing":  # there or not: nothing lies between
            own, base = own.iloc[[0, -1]], None if base is None else base.iloc[[0, -1]]
        values = own["value"].to_numpy()
        gap = None if base is None else values - base["value"].to_numpy()
        if kind == "missing":
            relative = float(values[-1])
            effective = float("nan") if gap is None else float(gap[-1] - gap[0])
        else:
            levels = own["level"].to_numpy()
            relative = relative_robustness(levels, values)
            effective = float("nan") if base is None else effective_robustness(levels, values, base["value"].to_numpy())
        retained = relative / values[0] if values[0] != 0 else float("nan")
        found.append(Robustness(arm, kind, modality, int(seed), relative, effective, float(retained)))
    return found
