"""Tables of robustness, to read: curves, and what MultiBench makes of them."""

from collections.abc import Iterator

import pandas as pd

from qmm.errors import InputError
from qmm.study.statistics import robustness


def curve_table(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row for each arm, kind and modality, a column for each level: means over seeds, with the standard deviation."""
    rows = []
    for (kind, modality, arm), own in _curve_by_curve(_of(table, metric)):
        values = {f"{level:g}": _spread(here["value"]) for level, here in own.groupby("level")}
        rows.append({"kind": kind, "modality": modality, "arm": arm, **values})
    return pd.DataFrame(rows)


def robustness_table(table: pd.DataFrame, metric: str, baseline: str | None = None) -> pd.DataFrame:
    """A row for each arm, kind, modality and seed: relative and effective robustness, and the share retained; see
    `qmm.study.statistics.Robustness`."""
    curves = _of(table, metric)[["arm", "seed", "kind", "modality", "level", "value"]]
    by_curve = pd.DataFrame(robustness(curves.sort_values("level", kind="stable"), baseline))
    order = curves[["kind", "modality", "arm", "seed"]].drop_duplicates()
    found = order.merge(by_curve, on=["kind", "modality", "arm", "seed"])
    return found if baseline is not None else found.drop(columns="effective")


def summary_table(found: pd.DataFrame) -> pd.DataFrame:
    """`robustness_table` over seeds: means, with the standard deviation."""
    rows = []
    for (kind, modality, arm), own in _curve_by_curve(found):
        parts = {name: _spread(own[name]) for name in ("relative", "effective", "retained") if name in own}
        rows.append({"kind": kind, "modality": modality, "arm": arm, **parts})
    return pd.DataFrame(rows)


def _curve_by_curve(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """The rows of each kind, modality and arm; arms that are compared are side by side."""
    arms = list(dict.fromkeys(table["arm"]))
    for (kind, modality), rows in table.groupby(["kind", "modality"], sort=False):
        for arm in arms:
            if (rows["arm"] == arm).any():
                yield (str(kind), str(modality), arm), rows[rows["arm"] == arm]


def _of(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    own = table[table["metric"] == metric]
    if not len(own):
        raise InputError(f"there is no metric {metric!r}; there are: {', '.join(dict.fromkeys(table['metric']))}")
    return own


def _spread(values: "pd.Series[float]") -> str:
    text = f"{values.mean():.3f}"
    return f"{text} ±{values.std():.3f}" if len(values) > 1 else text
