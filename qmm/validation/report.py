"""What a cross-validation says: a summary in Markdown, the same as JSON, and a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qmm.files import write_json
from qmm.study.report import plot
from qmm.study.statistics import Comparison, holm, paired_difference
from qmm.validation.plan import CrossValidation
from qmm.validation.running import Validated


def corrected_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> Comparison:
    """Interval and p value of the mean difference of two arms over the same k folds, (k,) each: the corrected resampled t test,
    for folds are not independent samples: any two share most of what was trained on."""
    return paired_difference(a, b, confidence, overlap=1 / max(1, len(a) - 1))


def by_fold(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """(folds, arms), the mean over seeds."""
    return table.pivot_table(index="fold", columns="arm", values=metric, aggfunc="mean", sort=True)


def differences(validation: CrossValidation, found: Validated) -> dict[str, Comparison]:
    """The first arm less each other, over the folds that both have, p values adjusted for their number (Holm)."""
    wide = by_fold(found.table, validation.study.metric)
    first, *others = [arm for arm in validation.study.arms if arm in wide]
    pairs = {arm: wide[[first, arm]].dropna() for arm in others}
    pairs = {arm: both for arm, both in pairs.items() if len(both)}
    compared = holm([corrected_difference(both[first].tolist(), both[arm].tolist()) for arm, both in pairs.items()])
    return dict(zip(pairs, compared, strict=True))


def summary(validation: CrossValidation, found: Validated, command: str, group: str | None = None) -> str:
    """Markdown: the scores by fold, their mean and spread for each arm, and the paired differences."""
    study, metric = validation.study, validation.study.metric
    kept = f"groups of {group!r} kept whole, stratified" if group else "stratified"
    parts = [
        f"# Cross-validation {study.name}",
        f"`{command}`, {metric} on {validation.folds} folds of the training split ({kept} where there are classes), "
        f"{len(study.seeds)} seed{'s' if len(study.seeds) > 1 else ''}; neither val nor test was looked at.",
        _scores(validation, found),
        _other_scores(validation, found),
        _differences(validation, found),
        _unequal(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scores(validation: CrossValidation, found: Validated) -> str:
    wide = by_fold(found.table, validation.study.metric)
    sizes = found.table.groupby("fold")["samples"].max()
    lines = [
        "| arm | mean ± standard deviation over folds | " + " | ".join(f"fold {f} ({sizes[f]:,})" for f in wide.index) + " |",
        "|---|---|" + "---|" * len(wide),
    ]
    for arm in (arm for arm in validation.study.arms if arm in wide):
        cells = ["failed" if np.isnan(value) else f"{value:.3f}" for value in wide[arm]]
        lines.append(f"| {arm} | {_mean_and_spread(wide[arm])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean_and_spread(values: pd.Series) -> str:
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if values.count() > 1 else "")


def _other_scores(validation: CrossValidation, found: Validated) -> str:
    others = [score for score in found.scores if score != validation.study.metric]
    if not others:
        return ""
    lines = ["| arm | " + " | ".join(others) + " |", "|---|" + "---|" * len(others)]
    wide = {score: by_fold(found.table, score) for score in others}
    for arm in (arm for arm in validation.study.arms if arm in set(found.table["arm"])):
        cells = [_mean_and_spread(wide[score][arm]) if arm in wide[score] else "" for score in others]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _differences(validation: CrossValidation, found: Validated) -> str:
    compared = differences(validation, found)
    if not compared:
        return ""
    first = next(arm for arm in validation.study.arms if arm in set(found.table["arm"]))
    lines = [
        "Paired differences over folds: 95 % intervals and p values of the corrected resampled t test, which allows for folds "
        f"having most of their training samples in common; p values adjusted for {len(compared)} "
        f"comparison{'s' if len(compared) > 1 else ''} (Holm); d_z is the mean over the standard deviation of the "
        "differences; detectable is what so many folds would have shown four times in five.",
        "",
        "| | difference | interval | p | d_z | detectable | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, c in compared.items():
        lines.append(
            f"| {first} - {arm} | {c.mean:+.3f} | [{c.low:+.3f}, {c.high:+.3f}], {c.n} folds | {c.p:.3f} | "
            f"{c.d_z:+.2f} | {c.detectable:.3f} | {c.verdict} |"
        )
    said = [f"- {c.in_words(first, arm)}" for arm, c in compared.items()]
    return "\n".join([*lines, "", *said]).replace("too few seeds", "too few folds")


def _unequal(found: Validated) -> str:
    """Arms with other modalities drop other samples."""
    seen = found.predictions.groupby(["fold", "arm"])["id"].agg(frozenset)
    uneven = [str(fold) for fold, own in seen.groupby(level="fold") if own.nunique() > 1]
    return f"Arms were scored on different samples in folds {', '.join(uneven)}: their data drop others." if uneven else ""


def write_report(validation: CrossValidation, found: Validated, folder: Path, command: str, group: str | None = None) -> str:
    """Writes summary.md, summary.json and summary.png into the folder; returns the text."""
    text = summary(validation, found, command, group)
    (folder / "summary.md").write_text(text)
    plot(validation.study, found.table).savefig(folder / "summary.png", dpi=110)
    content: dict[str, Any] = {"command": command, "metric": validation.study.metric, "folds": validation.folds, "group": group}
    content["arms"] = {
        arm: {
            score: {
                "mean": float(own.mean()),
                "deviation": None if len(own) < 2 else float(own.std()),
                "by_fold": own.to_dict(),
            }
            for score in found.scores
            if arm in by_fold(found.table, score)
            for own in [by_fold(found.table, score)[arm].dropna()]
        }
        for arm in validation.study.arms
        if arm in set(found.table["arm"])
    }
    content["differences"] = {
        arm: {
            name: value if np.isfinite(value) else None
            for name, value in (c._asdict() | {"detectable": c.detectable}).items()
            if not name.startswith("p_")
        }
        | {"verdict": c.verdict}
        for arm, c in differences(validation, found).items()
    }
    write_json(folder / "summary.json", content)
    return text
