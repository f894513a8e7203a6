"""What the tables of a study hold, whatever version wrote them: columns may be absent, lists may be arrays."""

from typing import Any

import numpy as np
import pandas as pd

from qmm.study.matching import MATCHED
from qmm.study.plan import ALL, Study, tuned_name
from qmm.study.statistics import Claim, claims

_NO_METRICS = {"seed", "size", "fold", "trial", "part", "samples", "train_samples", "epochs", "skipped", "threads"}


def present(study: Study, table: pd.DataFrame) -> list[str]:
    """The study's arms that have rows, in its order."""
    there = set(table["arm"]) if "arm" in table else set()
    return [arm for arm in study.arms if arm in there]


def pairs(study: Study, table: pd.DataFrame) -> list[tuple[str, str]]:
    """The study's, as far as both have rows; where its first arm has none, the first that has with each other one."""
    arms = present(study, table)
    return [(a, b) for a, b in study.pairs if a in arms and b in arms] or [(arms[0], other) for other in arms[1:]]


def compared(study: Study, table: pd.DataFrame) -> list[Claim]:
    """What the study says of its pairs; size by size where there are several."""
    arms = present(study, table)
    return claims(table, arms, study.metric, pairs(study, table), study.overlap) if arms else []


def sizes(table: pd.DataFrame) -> list[int]:
    """Training sizes, ascending, all samples last."""
    found = {int(n) for n in table["size"].dropna()} if "size" in table else set()
    return sorted(found, key=lambda n: (n < 0, n))


def size_name(size: int) -> str:
    return "all" if size < 0 else f"{size:,}"


def largest(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at the largest training size."""
    found = sizes(table)
    return table[table["size"] == found[-1]] if len(found) > 1 else table


def column(table: pd.DataFrame, *names: str) -> pd.Series | None:
    """The first of these columns that holds a number."""
    for name in names:
        if name in table and table[name].notna().any():
            return table[name].astype(float)
    return None


def metrics(table: pd.DataFrame) -> list[str]:
    """Columns that measure how good an arm is."""
    other = ("parameters_", "_seconds", "_joules", "_bytes")
    return [
        str(name)
        for name in table.columns
        if name not in _NO_METRICS
        and not any(part in name for part in other)
        and pd.api.types.is_numeric_dtype(table[name])
        and not pd.api.types.is_bool_dtype(table[name])
    ]


def records(value: Any) -> list[dict[str, Any]]:
    """A list of records, which Parquet returns as an array with None for what a record does not have."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return []
    return [{k: v for k, v in dict(one).items() if v is not None} for one in value]


def parameters(rows: pd.DataFrame) -> tuple[int, int]:
    """Of fusion and decoder: all, and those that are trained."""
    trained, every = (
        sum(int(rows[f"parameters_{part}{suffix}"].iloc[0]) for part in ("fusion", "decoder"))
        if f"parameters_fusion{suffix}" in rows
        else None
        for suffix in ("", "_total")
    )
    return (trained if every is None else every) or 0, trained or 0


def fuses(rows: pd.DataFrame) -> bool:
    """Whether the arm has a fusion with parameters: an estimator that reads the encoders' features has none to match."""
    return any(int(rows[name].iloc[0]) > 0 for name in ("parameters_fusion_total", "parameters_fusion") if name in rows)


def mismatch(rows: pd.DataFrame, budget: int) -> float:
    """By which share of the budget an arm's parameters are more; 0 where nothing is known."""
    every = parameters(rows)[0]
    return every / budget - 1 if budget > 0 and fuses(rows) else 0.0


def parameters_in_words(rows: pd.DataFrame, budget: int) -> str:
    every, trained = parameters(rows)
    off = mismatch(rows, budget)
    return (
        f"{every:,}"
        + ("" if fuses(rows) else ", no fusion")
        + (f", {trained:,} of them trained" if trained != every else "")
        + (f" ({off:+.0%})" if abs(off) > MATCHED else "")
    )


def budgets(study: Study, table: pd.DataFrame) -> dict[str, int]:
    """Arm -> the parameters of the arm that it is compared with (the first that names it second), else its own."""
    arms = present(study, table)
    own = {arm: parameters(table[table["arm"] == arm])[0] for arm in arms}
    against = {second: first for first, second in reversed(pairs(study, table))}
    return {arm: own[against.get(arm, arm)] for arm in arms}


def chosen_by(table: pd.DataFrame) -> dict[str, str]:
    """What tuning chose, by the name that `Outcome.chosen` has it under, read off the cells."""
    if "choice" not in table:
        return {}
    found = {}
    for row in table[["arm", "choice", *(["size"] if "size" in table else [])]].to_dict("records"):
        if row["choice"]:
            found[tuned_name(str(row["arm"]), int(row.get("size", ALL)))] = str(row["choice"])
    return found
