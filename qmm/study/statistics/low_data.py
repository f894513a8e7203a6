"""How a metric grows with the number of training samples."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from qmm.errors import InputError
from qmm.study.statistics.comparing import Comparison, holm, paired_difference


def learning_curves(table: pd.DataFrame, metric: str, all_samples: int | None = None) -> pd.DataFrame:
    """A row for each arm, seed and size, ascending: arm, seed, size, value. `all_samples` is what size -1 stands for.

    Raises InputError where the table has no sizes, or -1 without `all_samples`.
    """
    if "size" not in table:
        raise InputError("the table has no column `size`; low-data curves need a study of several training sizes")
    if (table["size"] < 0).any() and all_samples is None:
        raise InputError("some cells were trained on all samples (size -1); say how many with `all_samples`")
    curves = table[["arm", "seed", "size"]].assign(value=table[metric])
    curves["size"] = curves["size"].where(curves["size"] >= 0, all_samples)
    return curves.sort_values(["arm", "seed", "size"], ignore_index=True)


def areas(curves: pd.DataFrame) -> pd.DataFrame:
    """(seeds, arms): the area under each curve over the logarithm of the size, over the width: the mean height of the curve.

    NaN where a cell of the arm and seed is missing.
    """
    sizes = np.sort(curves["size"].unique())
    if len(sizes) < 2:
        raise InputError(f"an area needs two training sizes or more, got {sizes.tolist()}")
    wide = curves.pivot(index=["arm", "seed"], columns="size", values="value")[sizes]
    width = np.log(sizes)
    heights = pd.Series(trapezoid(wide.to_numpy(), width, axis=1) / (width[-1] - width[0]), wide.index)
    return heights.unstack("arm")


def area_differences(curves: pd.DataFrame, arms: Sequence[str]) -> dict[str, Comparison]:
    """The first arm's area less each other's, paired by seed, p values adjusted (Holm)."""
    found = areas(curves)
    first, *others = [arm for arm in arms if arm in found]
    pairs = {arm: found[[first, arm]].dropna() for arm in others}
    pairs = {arm: both for arm, both in pairs.items() if len(both)}
    compared = holm([paired_difference(both[first].tolist(), both[arm].tolist()) for arm, both in pairs.items()])
    return dict(zip(pairs, compared, strict=True))
