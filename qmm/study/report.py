"""What a study's table says: a Markdown summary and a plot."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from qmm.study.plan import Study
from qmm.study.runner import Outcome
from qmm.study.statistics import Claim, claims

MATCHED = 0.05
"""Arms whose parameters differ from the first one's by more are labelled with how much."""


def summary(study: Study, outcome: Outcome, command: str) -> str:
    """Markdown: each arm's mean and spread, the paired differences between the first arm and each other, and the tuning."""
    parts = [
        f"# Study {study.name}",
        f"`{command}`, {study.metric} on the {'/'.join(sorted(outcome.table['split'].unique()))} split",
        _arms(study, outcome),
        _differences(study, outcome.table),
        _tuning(study, outcome) if study.tuning is not None else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _arms(study: Study, outcome: Outcome) -> str:
    table = outcome.table
    tuned = study.tuning is not None
    lines = [
        f"| arm | {study.metric} (mean ± standard deviation) | seeds | fusion + decoder parameters | training, s |"
        + (" chosen |" if tuned else ""),
        "|---|---|---|---|---|" + ("---|" if tuned else ""),
    ]
    arms = _present(study, table)
    budget = _parameters(table[table["arm"] == arms[0]])[0]
    for arm in arms:
        rows = table[table["arm"] == arm]
        spread = f" ± {rows[study.metric].std():.3f}" if len(rows) > 1 else ""
        lines.append(
            f"| {arm} | {rows[study.metric].mean():.3f}{spread} | {len(rows)} | {_size(rows, budget)} | "
            f"{rows['fit_seconds'].mean():.0f} |" + (f" {outcome.chosen[arm]} |" if tuned else "")
        )
    return "\n".join(lines)


def _parameters(rows: pd.DataFrame) -> tuple[int, int]:
    """Of fusion and decoder: all, and those that are trained."""
    trained, every = (
        sum(int(rows[f"parameters_{part}{suffix}"].iloc[0]) for part in ("fusion", "decoder"))
        if f"parameters_fusion{suffix}" in rows
        else None
        for suffix in ("", "_total")
    )
    return (trained if every is None else every) or 0, trained or 0


def _size(rows: pd.DataFrame, budget: int) -> str:
    every, trained = _parameters(rows)
    return (
        f"{every:,}"
        + (f", {trained:,} of them trained" if trained != every else "")
        + (f" ({every / budget - 1:+.0%})" if abs(every - budget) > MATCHED * budget > 0 else "")
    )


def _differences(study: Study, table: pd.DataFrame) -> str:
    found = claims(table, _present(study, table), study.metric)
    if not found:
        return ""
    lines = [
        f"Paired differences over seeds: 95 % interval of each (Student's t), p value adjusted for {len(found)} "
        f"comparison{'s' if len(found) > 1 else ''} (Holm), beside it those of the sign-flip and Wilcoxon tests; d_z is the "
        "mean over the standard deviation of the differences; detectable is what so many seeds would have shown four times in "
        "five. " + _of_samples(found),
        "",
        "| | difference | over seeds | over seeds and samples | p | sign-flip p | Wilcoxon p | d_z | detectable | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for claim in found:
        c, s = claim.seeds, claim.samples
        interval = f"[{c.low:+.3f}, {c.high:+.3f}], {c.n} seeds"
        wider = "" if s is None else f"[{s.low:+.3f}, {s.high:+.3f}]"
        size = "" if claim.size is None else f" ({'all' if claim.size < 0 else claim.size} training samples)"
        lines.append(
            f"| {claim.first} - {claim.other}{size} | {c.mean:+.3f} | {interval} | {wider} | {c.p:.3f} | {c.p_flips:.3f} | "
            f"{c.p_ranks:.3f} | {c.d_z:+.2f} | {c.detectable:.3f} | {c.verdict} |"
        )
    return "\n".join([*lines, "", *(f"- {claim.in_words()}" for claim in found)])


def _of_samples(found: Sequence[Claim]) -> str:
    if any(claim.samples is not None for claim in found):
        return "Seeds share one split; the interval over seeds and samples allows for other samples, too (bootstrap)."
    return "Seeds share one split, so nothing here tells how other samples would turn out."


def _tuning(study: Study, outcome: Outcome) -> str:
    """Every score that a choice was made by."""
    tuning = study.tuning
    assert tuning is not None
    scores = outcome.trials.groupby(["arm", "choice"])[tuning.metric].mean().to_dict()
    lines = [
        f"Tuning: {tuning.metric} ({'lowest' if tuning.lowest else 'highest'} is best) on a held-out part of the training "
        f"split, the same {len(tuning.choices)} settings for every arm, {len(tuning.seeds)} "
        f"seed{'s' if len(tuning.seeds) > 1 else ''} each; chosen ones bold.",
        "",
        "| arm | " + " | ".join(tuning.choices) + " |",
        "|---|" + "---|" * len(tuning.choices),
    ]
    for arm in _present(study, outcome.trials):
        cells = []
        for choice in tuning.choices:
            score = f"{scores[arm, choice]:.3f}" if (arm, choice) in scores else "failed"
            cells.append(f"**{score}**" if outcome.chosen.get(arm) == choice else score)
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _present(study: Study, table: pd.DataFrame) -> list[str]:
    there = set(table["arm"])
    return [arm for arm in study.arms if arm in there]


def plot(study: Study, table: pd.DataFrame) -> Figure:
    """Every cell a dot, every arm's mean a line; arms from the top, the first one's mean drawn through."""
    arms = _present(study, table)
    figure = Figure(figsize=(7, 1.5 + 0.35 * len(arms)), layout="constrained")
    axes = figure.subplots()
    for i, arm in enumerate(arms):
        values = table.loc[table["arm"] == arm, study.metric]
        axes.scatter(values, [i] * len(values), alpha=0.6)
        axes.vlines(values.mean(), i - 0.3, i + 0.3, color="black", linewidth=1)
    axes.axvline(table.loc[table["arm"] == arms[0], study.metric].mean(), color="grey", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set(xlabel=study.metric, title=study.name)
    axes.grid(axis="x", alpha=0.3)
    return figure


def write_report(study: Study, outcome: Outcome, folder: Path, command: str) -> str:
    """Writes summary.md and summary.png into the study's folder; returns the text."""
    text = summary(study, outcome, command)
    (folder / "summary.md").write_text(text)
    plot(study, outcome.table).savefig(folder / "summary.png", dpi=110)
    return text
