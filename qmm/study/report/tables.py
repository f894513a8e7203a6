"""A study's numbers as tables: what is shown, and what is written as CSV."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from qmm.errors import InputError
from qmm.study.plan import Study, tuned_name
from qmm.study.report.parts import Table, counted, mean_and_spread, signed
from qmm.study.report.reading import (
    budgets,
    column,
    largest,
    metrics,
    mismatch,
    parameters,
    parameters_in_words,
    present,
    size_name,
    sizes,
)
from qmm.study.runner import Outcome
from qmm.study.statistics import Claim, area_differences, areas, learning_curves, robustness, robustness_curves

_EFFORT = (
    ("training, s", ("fit_seconds",), 1.0, "fit_seconds"),
    ("CPU, s", ("fit_cpu_seconds", "cpu_seconds"), 1.0, "cpu_seconds"),
    ("peak memory, MB", ("peak_memory_bytes",), 1e-6, "peak_memory_bytes"),
    ("energy, J", ("fit_joules", "energy_joules"), 1.0, "joules"),
)
"""Heading, the columns that have it, what to multiply with, its name in CSV."""


def arms(study: Study, outcome: Outcome) -> Table:
    """Of each arm at the largest training size: the metric, the seeds, the parameters, what training took."""
    table = largest(outcome.table)
    names, budget = present(study, table), budgets(study, table)
    effort = [
        (head, found, scale, key) for head, wanted, scale, key in _EFFORT if (found := column(table, *wanted)) is not None
    ]
    tuned = any(outcome.chosen.get(tuned_name(arm, _size(table))) for arm in names)
    rows, numbers = [], []
    for arm in names:
        own = table[table["arm"] == arm]
        of_arm = [(scale * values[own.index].mean(), key, values[own.index].mean()) for _, values, scale, key in effort]
        choice = outcome.chosen.get(tuned_name(arm, _size(table)), "")
        score = mean_and_spread(own[study.metric])
        cells = (arm, score, str(len(own)), parameters_in_words(own, budget[arm]), *(_amount(v) for v, _, _ in of_arm))
        rows.append((*cells, choice) if tuned else cells)
        every, trained = parameters(own)
        numbers.append(
            {"arm": arm, "mean": own[study.metric].mean(), "deviation": own[study.metric].std(), "seeds": len(own),
             "parameters": every, "parameters_trained": trained, "mismatch": mismatch(own, budget[arm])}
            | {key: value for _, key, value in of_arm} | ({"chosen": choice} if tuned else {})
        )  # fmt: skip
    heads = ("arm", study.metric, "seeds", "fusion + decoder parameters", *(head for head, *_ in effort))
    size = "" if len(sizes(outcome.table)) < 2 else f" with {size_name(_size(table))} training samples"
    caption = f"Arms{size}: {study.metric} as mean ± standard deviation over seeds; means of the others"
    note = "In brackets: by how much parameters differ from those of the arm that it is compared with, where by more than 5 %."
    return Table("arms", caption, (*heads, "chosen") if tuned else heads, rows, pd.DataFrame(numbers), note)


def _size(table: pd.DataFrame) -> int:
    return (sizes(table) or [-1])[-1]


def _amount(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def every_metric(study: Study, table: pd.DataFrame) -> Table | None:
    table = largest(table)
    names = [name for name in metrics(table) if table[name].notna().any()]
    if len(names) < 2:
        return None
    groups = [(arm, table[table["arm"] == arm]) for arm in present(study, table)]
    rows = [(arm, *(mean_and_spread(own[name]) for name in names)) for arm, own in groups]
    numbers = [{"arm": arm} | {f"{name}_{kind}": getattr(own[name], kind)() for name in names for kind in ("mean", "std")}
               for arm, own in groups]  # fmt: skip
    caption = "Everything that was measured: mean ± standard deviation over seeds"
    return Table("metrics", caption, ("arm", *names), rows, pd.DataFrame(numbers))


def differences(found: Sequence[Claim]) -> Table:
    """The paired comparisons, with every test."""
    sized = any(claim.size is not None for claim in found)
    rows, numbers = [], []
    for claim in found:
        c, s = claim.seeds, claim.samples
        size = (size_name(claim.size) if claim.size is not None else "",) if sized else ()
        wider = "–" if s is None or not np.isfinite(s.low) else f"[{s.low:+.3f}, {s.high:+.3f}]"
        narrow = f"[{c.low:+.3f}, {c.high:+.3f}]" if np.isfinite(c.low) else "–"
        tests = tuple(
            "–" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}" for p in (c.p, c.p_flips, c.p_ranks)
        )
        rows.append(
            (f"{claim.first} − {claim.other}", *size, claim.verdict, signed(c.mean), narrow, wider, str(c.n), *tests,
             _two(c.d_z), _two(c.rank_biserial), f"{c.detectable:.3f}" if np.isfinite(c.detectable) else "–")
        )  # fmt: skip
        numbers.append(
            {"first": claim.first, "other": claim.other, "size": claim.size} | c._asdict()
            | {"samples_low": s.low if s else np.nan, "samples_high": s.high if s else np.nan}
            | {"detectable": c.detectable, "verdict": claim.verdict}
        )  # fmt: skip
    heads = ("pair", *(("training samples",) if sized else ()), "verdict", "difference", "over seeds", "over seeds and samples",
             "pairs", "p (t)", "p (sign-flip)", "p (Wilcoxon)", "d_z", "rank-biserial", "detectable")  # fmt: skip
    note = (
        f"95 % intervals; p values adjusted for {counted(len(found), 'comparison')} (Holm); d_z: mean over standard deviation "
        "of the differences; detectable: the smallest true difference that so many seeds would have shown four times in five."
    )
    return Table("differences", "Paired differences", heads, rows, pd.DataFrame(numbers), note)


def _two(value: float) -> str:
    return f"{value:+.2f}" if np.isfinite(value) else "–"


def low_data(study: Study, table: pd.DataFrame) -> list[Table]:
    """The metric by training size; the areas below the curves, and their paired differences. Empty without several sizes."""
    steps = sizes(table)
    if len(steps) < 2:
        return []
    names = present(study, table)
    means = table.pivot_table(index="arm", columns="size", values=study.metric, aggfunc=["mean", "std", "count"])
    cells = {(arm, n): mean_and_spread(table.loc[(table["arm"] == arm) & (table["size"] == n), study.metric])
             for arm in names for n in steps}  # fmt: skip
    heads = tuple(size_name(n) for n in steps)
    numbers = means.stack(future_stack=True).reset_index()
    shown = [
        Table(
            "low-data", f"{study.metric} by number of training samples: mean ± standard deviation over seeds", ("arm", *heads),
            [(arm, *(cells[arm, n] for n in steps)) for arm in names], numbers,
        )
    ]  # fmt: skip
    everything = None if column(table, "train_samples") is None else int(table["train_samples"].max())
    counted = table if everything is not None else table[table["size"] >= 0]
    if counted["size"].nunique() >= 2:
        learned = learning_curves(counted, study.metric, everything)
        own, against = areas(learned), area_differences(learned, names)
        rows = [
            (arm, mean_and_spread(own[arm]), *((signed(c.mean), f"[{c.low:+.3f}, {c.high:+.3f}]", c.verdict)
             if (c := against.get(arm)) is not None else ("–", "–", "–")))
            for arm in names if arm in own
        ]  # fmt: skip
        known = -1 not in steps or everything is not None
        left_out = "" if known else " The whole training split is left out: the table does not tell its size."
        note = f"Mean height of the curve over the logarithm of the size; p values adjusted (Holm).{left_out}"
        heads = ("arm", "mean height", f"{names[0]} less it", "95 % interval", "verdict")
        shown.append(Table("low-data-areas", "Low-data curves, as one number", heads, rows, own.reset_index(), note))
    return shown


def robust(study: Study, table: pd.DataFrame) -> tuple[list[Table], pd.DataFrame]:
    """Relative and effective robustness, and the curves: arm, seed, kind, modality, level, value. Empty where nothing was
    measured."""
    nothing = pd.DataFrame(columns=["arm", "seed", "kind", "modality", "level", "value"])
    if "robustness" not in table:
        return [], nothing
    table = largest(table)
    table = table[[isinstance(own, (list, np.ndarray)) and len(own) > 0 for own in table["robustness"]]]
    points = robustness_curves(table, study.metric) if len(table) else nothing
    if not len(points):
        return [], nothing
    names = present(study, table)
    try:
        found, base = robustness(points, names[0]), names[0]
    except InputError:  # measured at other levels: no common baseline
        found, base = robustness(points), ""
    flat = pd.DataFrame(found)
    flat.loc[flat["arm"] == base, "effective"] = np.nan  # measured against itself
    order = [(k, m, a) for k in sorted(set(flat["kind"]), reverse=True) for m in dict.fromkeys(flat["modality"]) for a in names]
    groups: dict[Any, pd.DataFrame] = dict(iter(flat.groupby(["kind", "modality", "arm"])))
    rows = [
        (
            arm,
            modality,
            kind,
            *(mean_and_spread(groups[kind, modality, arm][part]) for part in ("relative", "retained", "effective")),
        )
        for kind, modality, arm in order
        if (kind, modality, arm) in groups
    ]
    note = (
        "Relative: mean height of the metric over the levels of noise, or the metric without the modality; retained: that over "
        "the undisturbed metric"
        + (f"; effective: how much more slowly than that of {base} it falls (MultiBench, arXiv:2107.07502)." if base else ".")
    )
    heads = ("arm", "modality", "disturbance", "relative", "retained", "effective")
    caption = f"Robustness of {study.metric}: mean ± standard deviation over seeds"
    return [Table("robustness", caption, heads, rows, flat, note)], points


def tuning(study: Study, outcome: Outcome) -> Table | None:
    """Every score that a choice was made by."""
    if study.tuning is None or not len(outcome.trials):
        return None
    trials, metric = outcome.trials, study.tuning.metric
    if metric not in trials:
        return None
    several = len(sizes(trials)) > 1
    keys = ["arm", *(["size"] if several else []), "choice"]
    scores: Mapping[Any, float] = trials.groupby(keys, sort=False)[metric].mean().to_dict()
    rows, numbers = [], []
    for arm in present(study, trials):
        for (name, *middle, choice), score in scores.items():
            if name != arm:
                continue
            chosen = outcome.chosen.get(tuned_name(arm, middle[0] if middle else -1)) == choice
            size = (size_name(middle[0]),) if middle else ()
            rows.append(
                (arm, *size, choice, f"{score:.4f}" if np.isfinite(score) else "failed", "✓ chosen" if chosen else "no")
            )
            numbers.append({"arm": arm, "size": middle[0] if middle else -1, "choice": choice, metric: score, "chosen": chosen})
    heads = ("arm", *(("training samples",) if several else ()), "setting", metric, "chosen")
    kind = "lowest" if study.tuning.lowest else "highest"
    caption = f"Tuning: {metric}, the {kind} is best, on held-out parts of the training split"
    seeds = counted(len(study.tuning.seeds), "seed")
    return Table("tuning", caption, heads, rows, pd.DataFrame(numbers), f"As many settings for every arm, {seeds} each.")
