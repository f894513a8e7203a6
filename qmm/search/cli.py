"""`qmm search`"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tqdm.auto import tqdm

from qmm.errors import InputError

METHODS = {
    "random": "qmm.search.RandomSearch",
    "evolutionary": "qmm.search.Evolution",
    "mcts": "qmm.search.TreeSearch",
    "quadratic": "qmm.search.QuadraticModel",
}


def main(args: list[str]) -> None:
    """Searches what is left, writes tables, picture and overlays, compares the best of both kinds; exits with 1 when training
    the best failed."""
    options, rest = _parser().parse_known_args(args)
    _check(options)
    from qmm.costs.configuration import parse  # Lightning and Qiskit, which take seconds
    from qmm.search.arms import COSTS, Circuits
    from qmm.search.plan import read_budget, read_plan
    from qmm.search.runner import Search

    if options.cost is not None and options.cost not in COSTS:
        raise InputError(f"--cost {options.cost}; what circuits cost is one of {', '.join(COSTS)}")
    plan = read_plan(options.space)
    plan = plan._replace(budget={**plan.budget, **read_budget(options.budget)})
    plain = parse([*(word for file in options.config for word in ("--config", file)), *rest], "qmm search")
    method = Path(options.method).name.removesuffix(".yaml").rpartition(".")[2]
    folder = Path(options.folder or Path("studies") / f"{plain['name']}-search-{method}")
    folder.mkdir(parents=True, exist_ok=True)
    command = "qmm search " + " ".join(args)
    circuits = Circuits(plain, plan.circuit, plan.training, plan.budget)
    parse([*(word for file in options.config for word in ("--config", file)), *_first(circuits, folder), *rest], "qmm search")
    with Search(_tried(options, rest, plan), folder, options.jobs, 2 if options.counterparts else 1) as search:
        found = _search(search, options, plan, circuits)
        best = found["quantum"].records.best(plan.lowest)
        if best is None:
            failure = next((record.failure for record in found["quantum"].records.rows if record.failure), "none was run")
            sys.exit(f"qmm search: every trial failed: {failure}")
        tqdm.write(_report(found, options, plan, folder, command))
        if options.seeds:
            _compare(search, found, options, rest, plan, folder, command)


def _tried(options: argparse.Namespace, rest: list[str], plan: Any) -> Any:
    from qmm.search.runner import Tried

    epochs = ["--trainer.max_epochs", str(options.epochs)] if options.epochs else []
    return Tried(
        tuple(options.config),
        plan.held_out,
        (*rest, *epochs),
        named_proposer(options.method),
        options.trials,
        tuple(range(options.trial_seeds)),
        plan.metric,
        plan.lowest,
        options.seed,
    )


def _search(search: Any, options: argparse.Namespace, plan: Any, circuits: Any) -> dict[str, Any]:
    """Both arms, with equally many trials, epochs and seeds each; the counterparts are those of the best circuit."""
    from qmm.search.arms import Counterparts
    from qmm.search.report import Found

    found = {"quantum": Found(circuits, search.run(circuits, "quantum", options.retry))}
    best = found["quantum"].records.best(plan.lowest)
    if best is not None and options.counterparts:
        counterparts = Counterparts(circuits, best.point, plan.counterparts)
        name = f"classical-{_key(circuits.overlay(best.point))}"  # another best circuit has others
        found["classical"] = Found(counterparts, search.run(counterparts, name, options.retry))
    return found


def _report(found: Mapping[str, Any], options: argparse.Namespace, plan: Any, folder: Path, command: str) -> str:
    from qmm.search import report

    cost = options.cost or next(iter(plan.budget), "two_qubit_gates")
    report.write_results(folder, found, plan.lowest)
    text = report.summary(found, plan.metric, plan.lowest, cost, command, options.trial_seeds)
    (folder / "summary.md").write_text(text)
    title = f"{folder.name}: {len(found['quantum'].records.trials)} trials of circuits"
    report.picture(found, plan.metric, plan.lowest, cost, title).savefig(folder / "search.png", dpi=120)
    lines = [text]
    for name, (arm, records) in found.items():
        best = records.best(plan.lowest)
        if best is not None:
            path = folder / f"best_{name}.yaml"
            said = [
                f"Found by {command}: trial {best.number}, {plan.metric} {best.score:.4g} on held-out data.",
                f"  qmm fit {' '.join(f'--config {file}' for file in options.config)} --config {path}",
            ]
            report.write_overlay(path, arm.overlay(best.point), said)
            lines.append(f"Best {name}, for `qmm fit`: {path}")
    return "\n".join([*lines, f"Tables and picture: {folder / 'trials.parquet'}, {folder / 'search.png'}"])


def _compare(
    search: Any,
    found: Mapping[str, Any],
    options: argparse.Namespace,
    rest: list[str],
    plan: Any,
    folder: Path,
    command: str,
) -> None:
    """The best of each kind, trained anew on all of the training split, over seeds; on data that the search has not seen."""
    from qmm.study import Study
    from qmm.study.report import write_report

    bests = {name: (arm, records.best(plan.lowest)) for name, (arm, records) in found.items()}
    arms = {name: (*options.config, arm.overlay(best.point)) for name, (arm, best) in bests.items() if best is not None}
    home = folder / f"best-{_key(arms)}"  # of other configurations of the same names, `Tried.fingerprint` has told
    home.mkdir(exist_ok=True)
    study = Study("best of both", arms, tuple(range(options.seeds)), plan.compare)
    outcome = search.compare(study, home, tuple(rest))
    if len(outcome.table):
        if plan.compare not in outcome.table:
            raise InputError(f"the runs report no {plan.compare!r}; set `compare` to one of {', '.join(outcome.table.columns)}")
        tqdm.write(write_report(study, outcome, home, command))
    if outcome.failures:
        sys.exit(f"qmm search: {len(outcome.failures)} runs of the best failed: {', '.join(outcome.failures)}")


def named_proposer(name: str) -> Any:
    """One of `METHODS`, a class path, or a YAML file with `class_path` and `init_args`."""
    from qmm.search.proposers import Proposer
    from qmm.training.cli import instantiate

    config: Any = {"class_path": METHODS.get(name, name)}
    if name.endswith((".yaml", ".yml")):
        try:
            config = yaml.safe_load(Path(name).read_text())
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"--method {name}: {error}") from error
    try:
        return instantiate(Proposer, config)
    except InputError:
        raise
    except Exception as error:  # whatever jsonargparse makes of a wrong name or argument
        known = f"{', '.join(METHODS)}, class paths, and files with `class_path` and `init_args`"
        raise InputError(f"--method {name}: {error}; there are {known}") from error


def _first(circuits: Any, folder: Path) -> list[str]:
    """The flags of a space's first point, which are parsed before anything long begins: wrong settings are named at once."""
    path = folder / "first.yaml"
    path.write_text(yaml.safe_dump(circuits.overlay((0,) * len(circuits.space.sizes)), sort_keys=False))
    return ["--config", str(path)]


def _key(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _check(options: argparse.Namespace) -> None:
    """Before anything long begins."""
    if min(options.trials, options.trial_seeds, options.jobs, options.epochs or 1) < 1 or options.seeds < 0:
        raise InputError("--trials, --trial-seeds, --jobs and --epochs are at least 1, --seeds at least 0")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm search",
        description="Search for the fusion circuit that does best on a held-out part of the training split, under a budget of "
        "gates; then, with as many trials, for its best classical counterpart; then train the best of both on all of the "
        "training split, over seeds. Started again after a kill, it runs only what is left.",
        epilog="Every other flag is one of `qmm fit`, e.g. --data.init_args.path FILE.",
        usage="qmm search --config FILE [--config OVERLAY ...] --space FILE [options]",
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="append", required=True, help="as for `qmm fit`; again for overlays")
    parser.add_argument("--space", required=True, help="YAML: choices of circuit and training, budget, what is held out")
    parser.add_argument(
        "--method", default="evolutionary", help=f"{', '.join(METHODS)}, or YAML with class_path (default: evolutionary)"
    )
    parser.add_argument("--trials", type=int, default=30, help="trainings of each kind, times --trial-seeds (default: 30)")
    parser.add_argument("--epochs", type=int, help="of each trial (default: the configuration's)")
    parser.add_argument(
        "--budget",
        nargs="+",
        default=[],
        metavar="COST=MOST",
        help="two_qubit_gates=40 depth=60, over the space's",
    )
    parser.add_argument("--trial-seeds", type=int, default=1, help="seeds of each trial, averaged (default: 1)")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the last comparison; 0: none (default: 5)")
    parser.add_argument("--cost", help="what the front of circuits is drawn against (default: the budget's first)")
    parser.add_argument("--seed", type=int, default=0, help="of what is proposed (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time (default: 1)")
    parser.add_argument("--folder", help="where all of it goes (default: studies/NAME-search-METHOD)")
    parser.add_argument("--no-counterparts", dest="counterparts", action="store_false", help="search circuits alone")
    parser.add_argument("--retry", action="store_true", help="run trials again that failed before")
    return parser
