"""A study and its outcome -> what the page says, in its order."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from qmm.study.plan import Study
from qmm.study.report import circuits, configs, confusing, figures, tables, training
from qmm.study.report.cautions import cautions
from qmm.study.report.parts import Page, Picture, Section, Table, Verdict, counted, joined
from qmm.study.report.reading import column, largest, pairs, parameters, present, size_name, sizes
from qmm.study.runner import Outcome
from qmm.study.statistics import Claim

_MANY = 24
"""Rows; longer tables are folded away."""
_SUMMED = {
    "higher": "higher",
    "lower": "lower",
    "no evidence of a difference": "without evidence of a difference",
    "too few seeds to tell": "with too few seeds to tell",
}
MANY = 8
"""More comparisons than these are not asked one by one, and those without evidence of a difference are folded away."""
_MARKS = {"higher": "▲", "lower": "▼", "no evidence of a difference": "≈"}


def page(study: Study, outcome: Outcome, found: Sequence[Claim], command: str, cells: Mapping[str, Path]) -> Page:
    """`found`: its claims; `cells`: arm -> the folder of its first cell, where that is there."""
    table = outcome.table
    arms = present(study, table)
    texts = configs.texts(study, table)
    sections = (
        _arms(study, outcome),
        _differences(study, found),
        _low_data(study, table),
        _robustness(study, table),
        _cost(study, table),
        confusing.section(arms, table),
        circuits.section(texts, cells),
        training.section(arms, study.metric, training.flat(largest(table))),
        _tuning(study, outcome),
        _configuration(texts, table),
    )
    first, others, more = _shown(found, sizes(table)[-1:])
    there = [section for section in sections if section is not None]
    facts, warned = _facts(study, outcome), cautions(study, outcome)
    return Page(study.name, _question(study, table), facts, warned, _answer(found), first, others, more, there, command)


def _shown(found: Sequence[Claim], most: Sequence[int]) -> tuple[list[Verdict], list[Verdict], str]:
    """The verdicts at the largest size, those that are folded away, and what these are. Of many, those without evidence are."""
    main = [c.size is None or c.size in most for c in found]
    more = "With fewer training samples"
    if sum(main) > MANY and any(c.verdict in ("higher", "lower") for c, is_main in zip(found, main, strict=True) if is_main):
        main = [is_main and c.verdict in ("higher", "lower") for c, is_main in zip(found, main, strict=True)]
        more = "All other comparisons"
    both = [
        [
            Verdict(_MARKS.get(c.verdict, "?"), _headline(c), c.in_words())
            for c, own in zip(found, main, strict=True)
            if own == is_main
        ]
        for is_main in (True, False)
    ]
    return both[0], both[1], more


def _answer(found: Sequence[Claim]) -> str:
    if not found:
        return "Nothing is compared: the study has one arm, or arms have no seed in common."
    words = [claim.verdict for claim in found]
    kinds = [f"{words.count(word)} {said}" for word, said in _SUMMED.items() if word in words]
    return f"{counted(len(found), 'comparison')}, the first arm against the other: {joined(kinds)}."


def _headline(claim: Claim) -> str:
    size = "" if claim.size is None else f", {size_name(claim.size)} training samples"
    return f"{claim.first} against {claim.other}{size}: {claim.verdict}"


def _question(study: Study, table: pd.DataFrame) -> str:
    against: dict[str, list[str]] = {}
    for first, other in pairs(study, table):
        against.setdefault(first, []).append(other)
    if not against:
        return f"What {study.metric} does {joined(present(study, table))} reach?"
    if sum(map(len, against.values())) > MANY:
        return f"Do arms differ in {study.metric}, in {sum(map(len, against.values()))} pairs of them?"
    asked = [
        f"Is the {study.metric} of {first} different from that of {joined(others, 'or')}?" for first, others in against.items()
    ]
    return " ".join(asked)


def _facts(study: Study, outcome: Outcome) -> list[tuple[str, str]]:
    table = outcome.table
    seeds = sorted(int(seed) for seed in table["seed"].unique())
    facts = [
        ("metric", study.metric),
        ("scored on", _split(study, table)),
        ("arms", joined(present(study, table))),
        ("seeds", f"{len(seeds)}: {', '.join(map(str, seeds))}"),
        ("finished cells", f"{len(table):,}" + (f", and {len(outcome.trials):,} that tuned" if len(outcome.trials) else "")),
    ]
    if len(sizes(table)) > 1:
        facts.insert(4, ("training samples", ", ".join("all" if n < 0 else f"{n:,}" for n in sizes(table))))
    return facts


def _split(study: Study, table: pd.DataFrame) -> str:
    if study.folds:
        return f"folds of the training split ({study.folds}; each seed on one of them)"
    samples = f", {counted(int(table['samples'].max()), 'sample')}" if "samples" in table else ""
    return f"the {'/'.join(sorted(table['split'].unique()))} split{samples}" if "split" in table else f"one split{samples}"


def _arms(study: Study, outcome: Outcome) -> Section:
    table = largest(outcome.table)
    shown = tables.arms(study, outcome)
    values = {arm: table.loc[table["arm"] == arm, study.metric].dropna().tolist() for arm in present(study, table)}
    values = {arm: own for arm, own in values.items() if own}
    pictures = []
    if values:
        said = ", ".join(f"{arm} {sum(own) / len(own):.3f}" for arm, own in values.items())
        text = f"{study.metric} of every arm, its seeds, mean, and the mean's 95 % interval. Means: {said}."
        pictures.append(Picture("scores", f"{study.metric}, by arm", text, figures.scores(values, study.metric)))
    energy = column(table, "fit_joules", "energy_joules")
    words = [
        "A circle is a seed, the diamond the mean, the line its 95 % interval over seeds; dotted, the mean of the first arm."
    ]
    if energy is not None:
        words.append(_energy())
    others = tables.every_metric(study, outcome.table)
    return Section("arms", "Arms", words, [shown], pictures, [others] if others else [])


def _energy() -> str:
    from qmm.training.effort import WATTS_PER_CORE  # with torch, which takes a second

    return (
        f"Energy is an estimate: {WATTS_PER_CORE:g} W for each second of CPU time, and what a GPU said it drew; memory is the "
        "most that a cell's process held."
    )


def _differences(study: Study, found: Sequence[Claim]) -> Section | None:
    if not found:
        return None
    words = [
        "A line is the 95 % interval over seeds, dashed below it the one over seeds and samples; the diamond is filled where "
        "the verdict is higher or lower."
    ]
    if study.folds:
        words.append(
            "Pairs were scored on folds and trained on what these have in common; the t test allows for that (corrected "
            "resampled t test), and tests that take pairs for independent are left out."
        )
    elif all(claim.samples is None for claim in found):
        words.append("Seeds share one split, so nothing here tells how other samples would turn out.")
    pictures = [
        _difference(study, [claim for claim in found if claim.size == size]) for size in dict.fromkeys(c.size for c in found)
    ]
    shown = [tables.differences(found)]
    return Section("differences", "Differences", words, shown, pictures[-1:], more_pictures=pictures[:-1])


def _difference(study: Study, found: Sequence[Claim]) -> Picture:
    """Of one training size."""
    size = found[0].size
    said = "; ".join(f"{c.first} less {c.other}: {c.seeds.mean:+.3f}, {c.verdict}" for c in found)
    at = "" if size is None else f" with {size_name(size)} training samples"
    text = f"Differences of {study.metric}{at}, with 95 % intervals. {said}."
    key = "differences" if size is None else f"differences-{size_name(size)}"
    return Picture(key, f"Paired differences{at}", text, figures.differences(found, study.metric))


def _low_data(study: Study, table: pd.DataFrame) -> Section | None:
    shown = tables.low_data(study, table)
    if not shown:
        return None
    arms, steps = present(study, table), sizes(table)
    known = [n for n in steps if n >= 0]
    counted = column(table, "train_samples")
    everything = None if -1 not in steps else 2.0 * known[-1] if counted is None else float(counted.max())
    points = table[["arm", "seed"]].assign(
        x=table["size"].where(table["size"] >= 0, everything).astype(float), value=table[study.metric]
    )
    places = {arm: place for place, arm in enumerate(arms)}
    text = f"{study.metric} over the number of training samples, mean over seeds. " + " ".join(
        f"{row[0]}: {', '.join(f'{n} {v}' for n, v in zip(shown[0].columns[1:], row[1:], strict=True))}."
        for row in shown[0].rows
    )
    figure = figures.low_data(points.dropna(), places, study.metric, everything)
    words = [
        "The same samples for every arm; smaller parts lie within larger ones. A band reaches from the lowest to the highest "
        "seed."
    ]
    if everything is not None and counted is None:
        words.append("The whole training split stands at the right, wherever its size may be.")
    return Section(
        "low-data", "With less data", words, shown, [Picture("low-data", f"{study.metric} by training size", text, figure)]
    )


def _robustness(study: Study, table: pd.DataFrame) -> Section | None:
    shown, points = tables.robust(study, table)
    if not shown:
        return None
    arms, pictures = present(study, table), []
    places = {arm: place for place, arm in enumerate(arms)}
    for modality, own in points[points["kind"] == "noise"].groupby("modality", sort=False):
        own = own.rename(columns={"level": "x"})
        worst = own[own["x"] == own["x"].max()].groupby("arm")["value"].mean()
        said = ", ".join(f"{arm} {worst[arm]:.3f}" for arm in arms if arm in worst)
        title = f"{study.metric} with noise on {modality}"
        figure = figures.curves(own, places, "level of noise", title, band=len(arms) <= 4)
        pictures.append(Picture(f"noise-{modality}", title, f"{title}, mean over seeds. At the highest level: {said}.", figure))
    gone = points[(points["kind"] == "missing") & (points["level"] > 0)]
    if len(gone):
        means = gone.groupby(["arm", "modality"], sort=False)["value"].mean().reset_index()
        undisturbed = points[(points["kind"] == "missing") & (points["level"] == 0)]
        whole = {arm: float(undisturbed.loc[undisturbed["arm"] == arm, "value"].mean()) for arm in arms}
        said = ", ".join(f"{arm} without {modality} {value:.3f}" for arm, modality, value in means.itertuples(index=False))
        title = f"{study.metric} without a modality"
        figure = figures.missing(means, whole, places, study.metric)
        pictures.append(Picture("missing", title, f"Mean over seeds: {said}.", figure))
    words = ["One modality at a time is disturbed when the trained model is evaluated; the others stay as they are."]
    if len(gone):
        words.append("Without a modality: the hollow mark is the metric with all of them, the filled one what is left.")
    return _folded(Section("robustness", "With noise, and without a modality", words, shown, pictures))


def _cost(study: Study, table: pd.DataFrame) -> Section | None:
    table = largest(table)
    arms = present(study, table)
    scores = table.groupby("arm")[study.metric].agg(["mean", "std"])
    costs: dict[str, tuple[dict[Any, float], str]] = {
        "parameters": ({arm: parameters(table[table["arm"] == arm])[0] for arm in arms}, "parameters of fusion and decoder")
    }
    cpu = column(table, "fit_cpu_seconds", "cpu_seconds")
    if cpu is not None:
        costs["cpu"] = (cpu.groupby(table["arm"]).mean().to_dict(), "CPU seconds of training")
    pictures = []
    for key, (cost, label) in costs.items():
        points = pd.DataFrame(
            [(arm, cost[arm], scores.loc[arm, "mean"], scores.loc[arm, "std"]) for arm in arms if cost.get(arm)],
            columns=["arm", "cost", "mean", "deviation"],
        ).dropna(subset=["cost", "mean"])
        if len(points) > 1:
            said = ", ".join(f"{p.arm} {p.mean:.3f} for {p.cost:,.0f}" for p in points.itertuples())
            figure = figures.cost(points, {arm: k for k, arm in enumerate(arms)}, study.metric, label)
            pictures.append(
                Picture(f"cost-{key}", f"{study.metric} against {label}", f"{study.metric} and {label}: {said}.", figure)
            )
    words = [
        "Up and to the left is better where the metric is to be high. A line is a standard deviation over seeds to either side."
    ]
    return Section("cost", "Cost", words, pictures=pictures) if pictures else None


def _tuning(study: Study, outcome: Outcome) -> Section | None:
    shown = tables.tuning(study, outcome)
    if shown is None:
        return None
    words = ["What was tried for each arm before its seeds ran, and what was chosen; the test split was left alone."]
    return _folded(Section("tuning", "Tuning", words, [shown]))


def _folded(section: Section) -> Section:
    """With its long tables out of the way."""
    long = [table for table in section.tables if len(table.rows) > _MANY]
    return section._replace(tables=[table for table in section.tables if len(table.rows) <= _MANY], more_tables=long)


def _configuration(texts: Mapping[str, str], table: pd.DataFrame) -> Section | None:
    differ, packages = configs.differences(texts), configs.versions(table)
    shown = [differ] if differ is not None else []
    listed = Table("versions", "Versions", ("package", "version"), [(name, ", ".join(own)) for name, own in packages.items()])
    if not texts and not packages:
        return None
    words = ["Cells of one arm differ in their seed, their name, and what follows from the seed."] if texts else []
    few = [t for t in shown if len(t.rows) <= 12]
    return Section(
        "configuration", "Configuration", words, [*few, *([listed] if packages else [])],
        more_tables=[t for t in shown if t not in few], details=configs.details(texts),
    )  # fmt: skip
