"""What a reader must know before believing a study."""

import pandas as pd

from qmm.study.matching import MATCHED
from qmm.study.plan import Study
from qmm.study.report.configs import versions
from qmm.study.report.parts import joined
from qmm.study.report.reading import budgets, largest, mismatch, pairs, present, sizes
from qmm.study.runner import Outcome
from qmm.study.statistics import prospect, smallest_p
from qmm.study.statistics.power import LEVEL

SEEDS = 5
"""Fewer leave most differences unseen."""


def cautions(study: Study, outcome: Outcome) -> list[str]:
    """Sentences; none where there is nothing to say."""
    table = outcome.table
    return [*_few_seeds(study, table), *_missing(study, outcome), *_fairness(study, table), *_alike(study, table)]


def _few_seeds(study: Study, table: pd.DataFrame) -> list[str]:
    seeds = int(largest(table).groupby("arm")["seed"].nunique().min())
    compared = len(pairs(study, table)) * max(1, len(sizes(table)))
    if compared and (seeds < SEEDS or smallest_p(seeds, compared) >= LEVEL):
        return [f"Few seeds. {prospect(seeds, compared)}"]
    return []


def _missing(study: Study, outcome: Outcome) -> list[str]:
    table, said = outcome.table, []
    for cell, why in outcome.failures.items():
        said.append(f"Cell {cell} failed: {why}")
    absent = [arm for arm in study.arms if arm not in present(study, table)]
    if absent:
        said.append(f"Without a finished cell, and so nowhere below: {joined(absent)}.")
    by_arm = table.groupby("arm").size()
    most = int(by_arm.max())
    short = [f"{arm} ({by_arm[arm]} of {most})" for arm in present(study, table) if by_arm[arm] < most]
    if short:
        said.append(f"Arms with fewer finished cells than others, compared on the seeds in common: {joined(short)}.")
    return said


def _fairness(study: Study, table: pd.DataFrame) -> list[str]:
    said = []
    if not study.counterparts:
        said.append(
            "Counterparts are switched off (`counterparts: false`): no matched classical arm and no sham was added, so a "
            "difference does not tell what made it."
        )
    off = {arm: mismatch(table[table["arm"] == arm], budget) for arm, budget in budgets(study, table).items()}
    unmatched = [f"{arm} ({share:+.0%})" for arm, share in off.items() if abs(share) > MATCHED]
    if unmatched:
        said.append(
            "Not of the same capacity: parameters of fusion and decoder differ from those of the arm compared with by more "
            f"than 5 % for {joined(unmatched)}."
        )
    return said


def _alike(study: Study, table: pd.DataFrame) -> list[str]:
    said = [
        f"Cells ran with different versions of {name}: {joined(own)}." for name, own in versions(table).items() if len(own) > 1
    ]
    if "samples" in table and table.groupby("arm")["samples"].max().nunique() > 1:
        said.append("Arms were scored on different numbers of samples: their data leave some out.")
    if "epochs" in table and (table["epochs"] == 0).any():
        said.append("Some arms were not trained: their cells report 0 epochs.")
    return said
