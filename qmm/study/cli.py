"""`qmm study`"""

import argparse
import sys
from pathlib import Path

from qmm.errors import InputError
from qmm.study.plan import read_study
from qmm.study.report import write_report
from qmm.study.runner import run_study
from qmm.study.statistics import prospect


def main(args: list[str]) -> None:
    """Runs what is left of a study, prints its summary, exits with 1 when a cell failed."""
    parser = argparse.ArgumentParser(
        prog="qmm study",
        description="Compare arms (overlays) over seeds. Started again after a kill, it runs only what is left.",
        epilog="Anything after `--` goes to every `qmm fit`, e.g. `-- --trainer.max_epochs 1`.",
    )
    parser.add_argument("--config", required=True, help="the study: YAML with configs, arms, seeds")
    parser.add_argument("--folder", help="where cells, table and summary go (default: studies/NAME)")
    parser.add_argument("--jobs", type=int, default=1, help="cells at the same time (default: 1)")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds instead of the study's")
    parser.add_argument("--arms", nargs="+", help="only these arms")
    own, flags = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
    options = parser.parse_args(own)
    study = read_study(options.config)
    if options.seeds:
        study = study._replace(seeds=tuple(options.seeds))
    if options.arms:
        unknown = [arm for arm in options.arms if arm not in study.arms]
        if unknown:
            raise InputError(f"the study has no arm {', '.join(unknown)}; it has {', '.join(study.arms)}")
        study = study._replace(arms={arm: study.arms[arm] for arm in options.arms})
    folder = Path(options.folder or Path("studies") / study.name)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"qmm study: {prospect(len(study.seeds), len(study.arms) - 1)}", file=sys.stderr)
    outcome = run_study(study, folder, options.jobs, flags)
    table = outcome.table
    if len(table):
        if study.metric not in table:
            raise InputError(f"the cells report no {study.metric!r}; set `metric` to one of {', '.join(table.columns)}")
        print(write_report(study, outcome, folder, "qmm study " + " ".join(args)))
        print(f"Table: {folder / 'results.parquet'}")
    if outcome.failures:
        n_cells = len(study.trials()) + len(study.arms) * len(study.seeds)
        untuned = [arm for arm in study.arms if study.tuning is not None and arm not in outcome.chosen]
        left = f"; not run, since not tuned to the end: {', '.join(untuned)}" if untuned else ""
        sys.exit(f"qmm study: {len(outcome.failures)} of {n_cells} cells failed: {', '.join(outcome.failures)}{left}")
