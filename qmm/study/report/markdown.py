"""The summary in Markdown, for a terminal and for documentation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from qmm.study.plan import Study, tuned_name
from qmm.study.report import tables
from qmm.study.report.cautions import cautions
from qmm.study.report.parts import Table, counted
from qmm.study.report.reading import budgets, compared, largest, parameters_in_words, present, size_name, sizes
from qmm.study.runner import Outcome
from qmm.study.statistics import Claim


def summary(study: Study, outcome: Outcome, command: str, found: Sequence[Claim] | None = None) -> str:
    """Each arm's mean and spread, the paired differences, low-data curves, robustness, the tuning, and what is to be known
    before one believes them. `found`: the claims, where they are known already."""
    table = outcome.table
    found = compared(study, table) if found is None else found
    robust, _ = tables.robust(study, table)
    measured = tables.every_metric(study, table)
    parts = [
        f"# Study {study.name}",
        f"`{command}`, {study.metric} on the {'/'.join(sorted(table['split'].unique()))} split",
        _arms(study, outcome),
        _differences(study, found),
        "" if measured is None else as_markdown(measured),
        *(as_markdown(own) for own in (*tables.low_data(study, table), *robust)),
        _tuning(study, outcome),
        "\n".join(f"- {caution}" for caution in cautions(study, outcome)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_markdown(table: Table) -> str:
    return "\n".join([f"{table.caption}. {table.note}".strip(), "", *_lines(table.columns, table.rows)])


def _lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in (heads, *rows)]
    written = [f"| {' | '.join(row)} |" for row in cells]
    return [written[0], "|" + "---|" * len(heads), *written[1:]]


def _arms(study: Study, outcome: Outcome) -> str:
    table = largest(outcome.table)
    size = (sizes(table) or [-1])[-1]
    tuned, budget, rows = study.tuning is not None, budgets(study, table), []
    for arm in present(study, table):
        own = table[table["arm"] == arm]
        spread = f" ± {own[study.metric].std():.3f}" if len(own) > 1 else ""
        chosen = (outcome.chosen.get(tuned_name(arm, size), ""),) if tuned else ()
        score = f"{own[study.metric].mean():.3f}{spread}"
        rows.append((arm, score, str(len(own)), parameters_in_words(own, budget[arm]), _seconds(own), *chosen))
    heads = ("arm", f"{study.metric} (mean ± standard deviation)", "seeds", "fusion + decoder parameters", "training, s")
    return "\n".join(_lines((*heads, "chosen") if tuned else heads, rows))


def _seconds(rows: pd.DataFrame) -> str:
    seconds = rows["fit_seconds"].astype(float).mean() if "fit_seconds" in rows else np.nan
    return f"{seconds:.0f}" if np.isfinite(seconds) else ""


def _differences(study: Study, found: Sequence[Claim]) -> str:
    if not found:
        return ""
    if study.folds:
        over = "folds, 95 % interval of each (corrected resampled t test, since folds share training samples)"
        others = ""
    else:
        over = "seeds: 95 % interval of each (Student's t)"
        others = ", beside it those of the sign-flip and Wilcoxon tests"
    lines = [
        f"Paired differences over {over}, p value adjusted for {counted(len(found), 'comparison')} (Holm){others}; d_z is the "
        "mean over the standard deviation of the differences; detectable is what so many seeds would have shown four times in "
        f"five. {_of_samples(study, found)}".rstrip(),
        "",
        "| | difference | over seeds | over seeds and samples | p | sign-flip p | Wilcoxon p | d_z | detectable | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for claim in found:
        c, s = claim.seeds, claim.samples
        interval = f"[{c.low:+.3f}, {c.high:+.3f}], {c.n} seeds"
        wider = "" if s is None else f"[{s.low:+.3f}, {s.high:+.3f}]"
        size = "" if claim.size is None else f" ({size_name(claim.size)} training samples)"
        free = " | ".join(f"{p:.3f}" if np.isfinite(p) else "" for p in (c.p_flips, c.p_ranks))
        lines.append(
            f"| {claim.first} - {claim.other}{size} | {c.mean:+.3f} | {interval} | {wider} | {c.p:.3f} | {free} | "
            f"{c.d_z:+.2f} | {c.detectable:.3f} | {claim.verdict} |"
        )
    return "\n".join([*lines, "", *(f"- {claim.in_words()}" for claim in found)])


def _of_samples(study: Study, found: Sequence[Claim]) -> str:
    if study.folds:
        return ""
    if any(claim.samples is not None for claim in found):
        return "Seeds share one split; the interval over seeds and samples allows for other samples, too (bootstrap)."
    return "Seeds share one split, so nothing here tells how other samples would turn out."


def _tuning(study: Study, outcome: Outcome) -> str:
    """Every score that a choice was made by: a column for each setting where all arms had the same, else a row."""
    tuning, trials = study.tuning, outcome.trials
    listed = tables.tuning(study, outcome)
    if tuning is None or listed is None:
        return ""
    choices = list(dict.fromkeys(trials["choice"]))
    if len(sizes(trials)) > 1 or set(choices) != set(tuning.choices):
        return as_markdown(listed)
    scores = trials.groupby(["arm", "choice"])[tuning.metric].mean().to_dict()
    rows = []
    for arm in present(study, trials):
        cells = []
        for choice in tuning.choices:
            score = f"{scores[arm, choice]:.3f}" if (arm, choice) in scores else "failed"
            cells.append(f"**{score}**" if outcome.chosen.get(arm) == choice else score)
        rows.append((arm, *cells))
    said = (
        f"Tuning: {tuning.metric} ({'lowest' if tuning.lowest else 'highest'} is best) on a held-out part of the training "
        f"split, the same {len(tuning.choices)} settings for every arm, {counted(len(tuning.seeds), 'seed')} each; "
        "chosen ones bold."
    )
    return "\n".join([said, "", *_lines(("arm", *tuning.choices), rows)])
