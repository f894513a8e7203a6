"""What a search found: tables, a picture, overlays, words."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qmm.files import write_json
from qmm.search.arms import Arm
from qmm.search.records import Record, Records

_COLOURS = {"quantum": "tab:blue", "classical": "tab:orange"}


class Found(NamedTuple):
    """An arm, and its records."""

    arm: Arm
    records: Records


def front(costs: Sequence[float], losses: Sequence[float]) -> list[int]:
    """Places of the points than which no other costs as little or less and does better; in order of their costs."""
    best, kept = math.inf, []
    for place in sorted(range(len(costs)), key=lambda i: (costs[i], losses[i])):
        if losses[place] < best:
            best = losses[place]
            kept.append(place)
    return kept


def table(found: Mapping[str, Found]) -> pd.DataFrame:
    """A row for each point that was proposed: arm, trial, status, score, costs, choices as JSON."""
    rows = []
    for name, (arm, records) in found.items():
        for record in records.rows:
            rows.append(
                {
                    "arm": name,
                    "trial": record.number,
                    "status": _status(record),
                    "score": record.score,
                    "reason": record.failure or record.rejection,
                    **record.costs,
                    **{f"trained_{fact}": value for fact, value in record.facts.items()},
                    "choices": json.dumps(arm.space.values(record.point)),
                }
            )
    return pd.DataFrame(rows).convert_dtypes()


def _status(record: Record) -> str:
    return "rejected" if record.rejection else "failed" if record.failure else "planned" if record.planned else "done"


def picture(found: Mapping[str, Found], metric: str, lowest: bool, cost: str, title: str) -> Figure:
    """Left: score by trial, and the best so far. Right: score against what circuits cost, with the front; the best counterpart
    as a line."""
    figure = Figure(figsize=(11, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, (_, records) in found.items():
        _by_trial(left, name, records, lowest)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(xlabel="trial", ylabel=f"{metric} on held-out data ({'lower' if lowest else 'higher'} is better)")
    scored = [record for record in found["quantum"].records.trials if record.score is not None]
    costs, scores = [record.costs[cost] for record in scored], [record.score or 0.0 for record in scored]
    right.scatter(costs, scores, color=_COLOURS["quantum"], alpha=0.6)
    kept = front(costs, [score if lowest else -score for score in scores])
    ends = [costs[i] for i in kept], [scores[i] for i in kept]
    right.step(*ends, where="post", marker="D", fillstyle="none", color=_COLOURS["quantum"], label="front")
    best = found["classical"].records.best(lowest) if "classical" in found else None
    if best is not None:
        right.axhline(best.score or 0.0, color=_COLOURS["classical"], linestyle="--", label="best counterpart")
    right.set(xlabel=_in_words(cost))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(title, fontsize=11)
    return figure


def _by_trial(axes: Axes, name: str, records: Records, lowest: bool) -> None:
    scored = [record for record in records.trials if record.score is not None]
    if scored:
        numbers, scores = [record.number or 0 for record in scored], np.array([record.score for record in scored], float)
        axes.scatter(numbers, scores, color=_COLOURS[name], alpha=0.6, label=name)
        running = (np.minimum if lowest else np.maximum).accumulate(scores)
        axes.step(numbers, running, where="post", color=_COLOURS[name], linewidth=1)
    failed = [record.number or 0 for record in records.trials if record.failure]
    if failed:
        edge = axes.get_xaxis_transform()  # at the lower edge, whatever the scores are
        axes.scatter(failed, [0.02] * len(failed), marker="x", color=_COLOURS[name], transform=edge, label=f"{name}, failed")


def summary(found: Mapping[str, Found], metric: str, lowest: bool, cost: str, command: str, seeds: int) -> str:
    """Markdown: what each arm tried, its best, and the front of circuits."""
    word = "lowest" if lowest else "highest"
    lines = [
        f"`{command}`",
        "",
        f"{metric} ({word} is best) on a held-out part of the training split, mean of {seeds} seed{'s' if seeds > 1 else ''}. "
        "The best of many trials is flattered by chance: what it is worth, only new data tells.",
        "",
        f"| arm | points | trials | failed | left out | best {metric} | trial | parameters | training, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (arm, records) in found.items():
        best = records.best(lowest)
        score = "-" if best is None else f"{best.score:.4f} | {best.number} | {best.facts.get('parameters', math.nan):.0f}"
        failed = sum(bool(record.failure) for record in records.rows)
        seconds = sum(record.facts.get("seconds", 0.0) for record in records.rows)
        lines.append(
            f"| {name} | {math.prod(arm.space.sizes):,} | {len(records.trials)} | {failed} | {records.rejected()} | "
            f"{score if best is not None else '- | - | -'} | {seconds:.0f} |"
        )
    return "\n".join([*lines, "", *_bests(found, lowest), "", *_front(found["quantum"], metric, lowest, cost)]) + "\n"


def _bests(found: Mapping[str, Found], lowest: bool) -> list[str]:
    bests = {name: (arm, records.best(lowest)) for name, (arm, records) in found.items()}
    return [f"Best {name}: {arm.space.label(best.point)}." for name, (arm, best) in bests.items() if best is not None]


def _front(quantum: Found, metric: str, lowest: bool, cost: str) -> list[str]:
    scored = [record for record in quantum.records.trials if record.score is not None]
    if not scored:
        return []
    losses = [(record.score or 0.0) * (1 if lowest else -1) for record in scored]
    kept = front([record.costs[cost] for record in scored], losses)
    rows = [
        f"| {scored[i].costs[cost]} | {scored[i].score:.4f} | {scored[i].number} | {quantum.arm.space.label(scored[i].point)} |"
        for i in kept
    ]
    paid = _in_words(cost)
    return [
        f"Circuits that none with as few {paid} beats:",
        "",
        f"| {paid} | {metric} | trial | choices |",
        "|---|---|---|---|",
        *rows,
    ]


def _in_words(cost: str) -> str:
    return cost.replace("two_qubit", "two-qubit").replace("_", " ")


def write_overlay(path: Path, overlay: Mapping[str, Any], lines: Sequence[str]) -> None:
    """A configuration for `qmm fit`, with a few words in front."""
    path.write_text("".join(f"# {line}\n" for line in lines) + yaml.safe_dump(dict(overlay), sort_keys=False))


def write_results(folder: Path, found: Mapping[str, Found], lowest: bool) -> None:
    """trials.parquet, search.json."""
    table(found).to_parquet(folder / "trials.parquet")
    bests: dict[str, Any] = {}
    for name, (arm, records) in found.items():
        best = records.best(lowest)
        if best is not None:
            chosen = {"trial": best.number, "score": best.score, "choices": arm.space.values(best.point)}
            bests[name] = chosen | {"costs": dict(best.costs), "overlay": arm.overlay(best.point)}
    write_json(folder / "search.json", bests)
