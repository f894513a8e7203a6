"""`qmm study`"""

import argparse
import shlex
import sys
from pathlib import Path

from qmm.errors import InputError
from qmm.study.matching import match
from qmm.study.plan import ALL, Study, tuned_name
from qmm.study.reading import read_study
from qmm.study.report import write_report
from qmm.study.runner import Outcome, read_outcome, run_study
from qmm.study.statistics import prospect


def main(args: list[str]) -> None:
    """Runs what is left of a study, prints its summary, exits with 1 when a cell failed."""
    own, flags = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
    options = _parser().parse_args(own)
    study = read_study(options.config)
    folder = Path(options.folder or Path("studies") / study.name)
    folder.mkdir(parents=True, exist_ok=True)
    matched = match(study, folder, flags)
    study = _narrowed(matched.study, options)
    for line in (*matched.lines, prospect(len(study.seeds), len(study.pairs) * len(study.sizes))):
        print(f"qmm study: {line}", file=sys.stderr)
    outcome = read_outcome(study, folder) if options.report else run_study(study, folder, options.jobs, flags)
    table = outcome.table
    if len(table):
        if study.metric not in table:
            raise InputError(f"the cells report no {study.metric!r}; set `metric` to one of {', '.join(table.columns)}")
        print(write_report(study, outcome, folder, "qmm study " + shlex.join(arg for arg in args if arg != "--report")))
        print(f"Table: {folder / 'results.parquet'}")
    elif options.report:
        raise InputError(f"no cell of the study is finished in {folder}; run it without --report")
    if outcome.failures:
        sys.exit(f"qmm study: {_failed(study, outcome)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm study",
        description="Compare arms (overlays) over seeds and training sizes. The classical counterpart and two shams of the "
        "first quantum arm join in by themselves, unless the study says `counterparts: false`. Started again after a kill, it "
        "runs only what is left.",
        epilog="Anything after `--` goes to every `qmm fit`, e.g. `-- --trainer.max_epochs 1`.",
    )
    parser.add_argument("--config", required=True, help="the study: YAML with configs, arms, seeds")
    parser.add_argument("--folder", help="where cells, table and report go (default: studies/NAME)")
    parser.add_argument("--jobs", type=int, default=1, help="cells at the same time (default: 1)")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds instead of the study's")
    parser.add_argument("--arms", nargs="+", help="only these arms")
    parser.add_argument("--sizes", nargs="+", help="only these training sizes, such as 100 all")
    parser.add_argument("--report", action="store_true", help="run nothing: write the report of what is finished")
    return parser


def _narrowed(study: Study, options: argparse.Namespace) -> Study:
    """With the seeds, arms and sizes that were asked for."""
    if options.seeds:
        study = study._replace(seeds=tuple(options.seeds))
    if options.arms:
        _check_known(options.arms, list(study.arms), "arm")
        pairs = tuple(pair for pair in study.compare if set(pair) <= set(options.arms))
        study = study._replace(arms={arm: study.arms[arm] for arm in study.arms if arm in options.arms}, compare=pairs)
    if options.sizes:
        known = {"all" if size == ALL else str(size): size for size in study.sizes}
        _check_known(options.sizes, list(known), "training size")
        study = study._replace(sizes=tuple(known[size] for size in options.sizes))
    return study


def _check_known(given: list[str], known: list[str], what: str) -> None:
    if unknown := [name for name in given if name not in known]:
        raise InputError(f"the study has no {what} {', '.join(unknown)}; it has {', '.join(known)}")


def _failed(study: Study, outcome: Outcome) -> str:
    names = [tuned_name(arm, size) for arm in study.arms for size in study.sizes]
    untuned = [name for name in names if study.tuning is not None and name not in outcome.chosen]
    left = f"; not run, since not tuned to the end: {', '.join(untuned)}" if untuned else ""
    return f"{len(outcome.failures)} of {study.amount()} cells failed: {', '.join(outcome.failures)}{left}"
