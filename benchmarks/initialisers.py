"""How circuits start and where the training ends: every arm of a study of initialisers, its gradient variance before the first
step, and loss and accuracy after the last.

python benchmarks/initialisers.py [--config configs/studies/initialisers.yaml] [--folder FOLDER] [--jobs 1] [-- FLAGS]

Trainings that are done are in the folder; the same command goes on from there. What follows `--` goes to every `qmm fit`.
Losses are compared with those of the first arm, seed by seed.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from qmm.study import read_study
from qmm.study.runner import run_study

_HEAD = ["start", "seeds", "gradient variance at the start", "test loss", "difference from {}", "test accuracy", "training"]


def main(args: list[str]) -> None:
    own, flags = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/studies/initialisers.yaml", help="a study whose arms start circuits")
    parser.add_argument("--folder", type=Path, default=Path("studies/initialisers"), help="where trainings go")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time (default: 1)")
    options = parser.parse_args(own)
    options.folder.mkdir(parents=True, exist_ok=True)
    study = read_study(options.config)
    outcome = run_study(study, options.folder, options.jobs, flags)
    if len(outcome.table):
        print(table(outcome.table, next(iter(study.arms))))
    if outcome.failures:
        sys.exit(f"failed: {outcome.failures}")


def table(results: pd.DataFrame, reference: str) -> str:
    """Markdown: an arm a row, with means and standard deviations over its seeds; variances as geometric means."""
    head = [column.format(reference) for column in _HEAD]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    base = results[results.arm == reference].set_index("seed").loss
    for arm, rows in results.groupby("arm", sort=False):
        variance = rows.start_gradient_variance
        low, high = variance.min(), variance.max()
        paired = (rows.set_index("seed").loss - base).dropna()
        cells = [
            str(arm),
            str(len(rows)),
            f"{np.exp(np.log(variance).mean()):.1e} ({low:.1e} to {high:.1e})",
            _spread(rows.loss, 3),
            "" if arm == reference or not len(paired) else _spread(paired, 3, signed=True),
            _spread(rows.accuracy, 3),
            f"{rows.fit_seconds.mean():.0f} s",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: pd.Series, digits: int, signed: bool = False) -> str:
    mean = f"{values.mean():{'+' if signed else ''}.{digits}f}"
    return f"{mean} ± {values.std():.{digits}f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main(sys.argv[1:])
