"""`qmm circuit sweep`"""

import argparse
import sys
from pathlib import Path

from qmm.errors import InputError

_SWEPT = ("fusion.init_args.layers", "fusion.init_args.qubits")
_DIRECT = ("expressibility", "entangling", "effective_dimension")
_COSTS = ("two_qubit_gates", "gates", "depth", "parameters", "total_qubits")


def main(args: list[str]) -> None:
    """Computes what is left of a sweep, writes table and picture, names the sweet spot; exits with 1 when a cell failed."""
    options, rest = _parser().parse_known_args(args)
    _check(options, rest)
    from qmm.costs import sweep, sweet_spot
    from qmm.costs.configuration import parse
    from qmm.costs.heatmap import heatmap

    plain = parse([*_configs(options.config), *rest], "qmm circuit sweep")
    cells = sweep.plan(plain, options.qubits, options.layers)
    folder = Path(options.folder or Path("studies") / f"{plain['name']}-sweep-{options.metric}")
    folder.mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}
    if options.metric in _DIRECT:
        table = sweep.express(cells, options.metric, range(options.seeds), folder, plain)
    else:
        flags = [*rest, *(["--trainer.max_epochs", str(options.epochs)] if options.epochs else [])]
        runs = range(options.seeds)
        table, failures = sweep.train(cells, options.metric, runs, folder, options.config, flags, options.jobs)
    summary = sweet_spot.summarise(cells, table, options.metric)
    if not summary[options.metric].notna().any():
        sys.exit(f"qmm circuit sweep: every cell failed: {next(iter(failures.values()))}")
    table.to_parquet(folder / "sweep.parquet")
    summary.to_csv(folder / "sweep.csv", index=False)
    spot = sweet_spot.sweet_spot(summary, options.metric, options.cost, options.tolerance)
    figure = heatmap(summary, options.metric, options.cost, spot, plain["name"])
    figure.savefig(folder / "sweep.png", dpi=130)
    print(summary.drop(columns=["reason", "error"]).to_string(index=False, float_format=lambda x: f"{x:.4g}", na_rep="-"))
    for reason in sorted({cell.reason for cell in cells if cell.reason}):
        print(f"Not built: {reason}")
    print(sweet_spot.describe(spot, options.metric, options.cost, options.tolerance is not None))
    if note := sweet_spot.caution(summary, options.metric):
        print(note)
    print(f"Table and picture: {folder / 'sweep.csv'}, {folder / 'sweep.parquet'}, {folder / 'sweep.png'}")
    if failures:
        sys.exit(f"qmm circuit sweep: {len(failures)} cells failed: {', '.join(failures)}")


def _configs(files: list[str]) -> list[str]:
    return [word for file in files for word in ("--config", file)]


def _check(options: argparse.Namespace, rest: list[str]) -> None:
    """Before anything long begins."""
    if min(*options.qubits, *options.layers, options.seeds, options.jobs, options.epochs or 1) < 1:
        raise InputError("--qubits, --layers, --seeds, --jobs and --epochs are at least 1")
    swept = [flag for flag in rest if any(name in flag for name in _SWEPT)]
    if swept:
        raise InputError(f"{swept[0]} would be the same in every cell; give --qubits and --layers")
    if options.tolerance is not None and options.tolerance < 0:
        raise InputError(f"--tolerance {options.tolerance}: it is at least 0")
    if options.epochs and options.metric in _DIRECT:
        raise InputError(f"--epochs is for --metric accuracy; {options.metric} trains nothing")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm circuit sweep",
        description="Sweep qubits a register and layers; find the cheapest circuit that does as well as the best. Started "
        "again after a kill, it computes only what is left.",
        epilog="Every other flag is one of `qmm fit`, e.g. --data.init_args.path FILE.",
        usage="qmm circuit sweep --config FILE [--config OVERLAY ...] --qubits N ... --layers N ... [options]",
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="append", required=True, help="as for `qmm fit`; again for overlays")
    parser.add_argument("--qubits", type=int, nargs="+", required=True, help="qubits of each register, e.g. 2 3 4")
    parser.add_argument("--layers", type=int, nargs="+", required=True, help="layers, e.g. 1 2 3")
    parser.add_argument(
        "--metric",
        choices=(*_DIRECT, "accuracy"),
        default="expressibility",
        help="expressibility (divergence from Haar-random states, lower is better), entangling (Meyer-Wallach), "
        "effective_dimension, or accuracy, which trains every cell (default: expressibility)",
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds in each cell (default: 3)")
    parser.add_argument("--cost", choices=_COSTS, default="two_qubit_gates", help="what is cheap (default: two_qubit_gates)")
    parser.add_argument(
        "--tolerance", type=float, help="how far from the best the sweet spot may be (default: one standard error of the best)"
    )
    parser.add_argument("--folder", help="where cells, table and picture go (default: studies/NAME-sweep-METRIC)")
    parser.add_argument("--epochs", type=int, help="of each training, for accuracy (default: the configuration's)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time (default: 1)")
    return parser
