"""`python -m qmm.optimisers.comparison`: a study of optimisers; what each takes to a loss in steps, evaluations, seconds."""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from qmm.errors import InputError
from qmm.files import write_json
from qmm.study import Study, read_study
from qmm.study.runner import Outcome, run_study

LOSS = "train/loss_decoder"
"""What is compared: the decoder's training loss, the mean over an epoch; auxiliary losses of encoders are no part of it."""


def main(args: list[str] | None = None) -> None:
    """Runs what is left of a study, prints a table, writes it as JSON beside the study's own; exits with 1 if a cell failed."""
    parser = argparse.ArgumentParser(
        prog="python -m qmm.optimisers.comparison",
        description="Compare optimisers over seeds. Started again after a kill, it runs only what is left.",
    )
    parser.add_argument("--config", required=True, help="a study whose arms train with qmm.optimisers.CountEvaluations")
    parser.add_argument("--folder", help="where cells and table go (default: studies/NAME)")
    parser.add_argument("--jobs", type=int, default=1, help="cells at the same time (default: 1)")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds instead of the study's")
    parser.add_argument("--loss", type=float, help="a training loss to reach (default: the highest that a cell ends at)")
    own = list(sys.argv[1:] if args is None else args)
    own, flags = (own[: own.index("--")], own[own.index("--") + 1 :]) if "--" in own else (own, [])
    options = parser.parse_args(own)
    try:
        study = read_study(options.config)
        if options.seeds:
            study = study._replace(seeds=tuple(options.seeds))
        folder = Path(options.folder or Path("studies") / study.name)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = run_study(study, folder, options.jobs, flags)
        if len(outcome.table):
            cells = measured(study, outcome, folder, options.loss)
            write_json(folder / "optimisers.json", cells.to_dict("records"))
            print(table(study, outcome, cells, f"{parser.prog} {' '.join(own)}"))
    except InputError as error:
        sys.exit(f"{parser.prog}: {error}")
    if outcome.failures:
        sys.exit(f"{parser.prog}: {len(outcome.failures)} cells failed: {', '.join(outcome.failures)}")


def measured(study: Study, outcome: Outcome, folder: Path, aim: float | None = None) -> pd.DataFrame:
    """A row for each cell: arm, seed, final losses, and steps, evaluations and seconds at the end of the first epoch whose mean
    loss is at most `aim` (NaN where none is); `aim` is by default the highest loss that a cell ends at.

    Raises InputError where cells counted no evaluations.
    """
    histories: dict[tuple[str, int], pd.DataFrame] = {}
    cells: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in outcome.table.to_dict("records")]
    for cell in cells:
        name = f"{cell['arm']}-seed{cell['seed']}"
        history = pd.read_csv(folder / "cells" / name / "history.csv")
        missing = {LOSS, "quantum/steps", "quantum/evaluations"} - set(history)
        if missing:
            raise InputError(
                f"the history of {name} has no {', '.join(sorted(missing))}; the study's trainer needs "
                "callbacks: [{class_path: qmm.optimisers.CountEvaluations}]"
            )
        histories[cell["arm"], cell["seed"]] = history
    aim = max(float(h[LOSS].iloc[-1]) for h in histories.values()) if aim is None else aim
    found = []
    for row in cells:
        history = histories[row["arm"], row["seed"]]
        reached = history[history[LOSS] <= aim]
        share = (int(reached.index[0]) + 1) / len(history) if len(reached) else float("nan")
        found.append(
            {
                "arm": row["arm"],
                "seed": row["seed"],
                "choice": row["choice"],
                "aim": aim,
                "train_loss": float(history[LOSS].iloc[-1]),
                f"{row['split']}_loss": row["loss"],
                "accuracy": row.get("accuracy", float("nan")),
                "steps": float(history["quantum/steps"].iloc[-1]),
                "evaluations": float(history["quantum/evaluations"].iloc[-1]),
                "seconds": row["fit_seconds"],
                "steps_to_aim": float(reached["quantum/steps"].iloc[0]) if len(reached) else float("nan"),
                "evaluations_to_aim": float(reached["quantum/evaluations"].iloc[0]) if len(reached) else float("nan"),
                "seconds_to_aim": share * row["fit_seconds"],
            }
        )
    return pd.DataFrame(found)


def table(study: Study, outcome: Outcome, cells: pd.DataFrame, command: str) -> str:
    """Markdown, a row for each arm: mean ± standard deviation over seeds."""
    split = next(name.removesuffix("_loss") for name in map(str, cells) if name.endswith("_loss") and name != "train_loss")
    aim = cells["aim"].iloc[0]
    lines = [
        f"`{command}`: mean ± standard deviation over seeds {', '.join(map(str, sorted(cells['seed'].unique())))}; "
        f"an epoch at a time, so steps are whole epochs; the loss to reach is {aim:.3f}",
        "",
        f"| circuit weights by | training loss | {split} loss | {split} accuracy | steps to {aim:.3f} | evaluations to it | "
        "s to it | evaluations in all | s in all |" + (" chosen |" if study.tuning else ""),
        "|---|---|---|---|---|---|---|---|---|" + ("---|" if study.tuning else ""),
    ]
    for arm in study.arms:
        own = cells[cells["arm"] == arm]
        if len(own):
            columns = ["train_loss", f"{split}_loss", "accuracy"]
            shown = [_spread(own[c], "{:.3f}") for c in columns]
            shown += [_reached(own[c]) for c in ("steps_to_aim", "evaluations_to_aim", "seconds_to_aim")]
            shown += [_spread(own["evaluations"], "{:,.0f}"), _spread(own["seconds"], "{:.0f}")]
            shown += [outcome.chosen[arm]] if study.tuning else []
            lines.append(f"| {arm} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _spread(values: pd.Series, form: str) -> str:
    mean = form.format(values.mean())
    return mean + (f" ± {form.format(values.std())}" if len(values) > 1 and values.std() else "")


def _reached(values: pd.Series) -> str:
    known = values.dropna()
    if not len(known):
        return "not reached"
    some = "" if len(known) == len(values) else f" ({len(known)} of {len(values)} seeds)"
    return _spread(known, "{:,.0f}") + some


if __name__ == "__main__":
    main()
