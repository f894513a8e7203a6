"""`qmm trainability`"""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmm.errors import InputError
from qmm.files import write_json
from qmm.suggestions import did_you_mean
from qmm.trainability.observables import NAMES, OWN

if TYPE_CHECKING:  # they load torch, which takes seconds: `--help` and wrong flags need not wait
    from qmm.trainability.families import Family
    from qmm.trainability.measuring import Point
    from qmm.trainability.plan import Plan

_MCCLEAN: dict[str, Any] = {
    "qubits": [2, 3, 4, 5, 6, 7, 8],
    "depths": ["50"],
    "starts": ["uniform", "small-angle:spread=0.05"],
    "observables": ["zz"],
}


def main(args: list[str]) -> None:
    """Measures what is left, writes tables and pictures, prints the slopes; exits with 1 when a point failed."""
    options, rest = _parser().parse_known_args(args)
    if options.jobs < 1:
        raise InputError(f"--jobs {options.jobs}: it is at least 1")
    if rest and not options.config:
        raise InputError(f"{rest[0]} is a flag of `qmm fit`, which takes a --config; `qmm trainability --help` lists others")
    from qmm.trainability.measuring import run
    from qmm.trainability.picture import against_depth, against_qubits
    from qmm.trainability.report import as_json, markdown, series

    plan = _plan(options, rest)
    folder = Path(options.folder or Path("studies") / f"{plan.name}-trainability")
    folder.mkdir(parents=True, exist_ok=True)
    outcome = run(plan, folder, options.jobs)
    command = shlex.join(["qmm", "trainability", *args])
    rows = series(plan, outcome)
    write_json(folder / "trainability.json", as_json(plan, outcome, rows, command))
    if rows:
        table = markdown(plan, rows)
        (folder / "trainability.md").write_text(f"`{command}`\n\n{table}\n")
        print(table)
        figures = {"qubits": against_qubits(rows, options.weight), "depth": against_depth(rows, options.weight)}
        for name, figure in figures.items():
            if figure is not None:
                for kind in ("png", "svg"):
                    figure.savefig(folder / f"variance_by_{name}.{kind}", dpi=130, bbox_inches="tight")
    for line in _told(outcome.refused):
        print(f"\nNot measured: {line}")
    print(f"\nNumbers, table and pictures: {folder}/trainability.json, trainability.md, variance_by_qubits.png")
    if outcome.failed or not rows:
        reasons = [f"{point.name}: {error}" for point, error in {**outcome.refused, **outcome.failed}.items()]
        count = f"{len(outcome.failed)} points failed" if rows else "nothing could be measured"
        sys.exit(f"qmm trainability: {count}: {reasons[0] if not rows else next(iter(outcome.failed.values()))}")


def _told(refused: "Mapping[Point, str]") -> list[str]:
    """Reasons, each once for the circuits and the start that it is about."""
    found: dict[tuple[str, str], list[str]] = {}
    for point, reason in refused.items():
        found.setdefault((point.circuits, point.initialiser), []).append(reason)
    return [
        f"{circuits}, {start}: {reasons[0]}" + (f" (and {len(reasons) - 1} points more)" if len(reasons) > 1 else "")
        for (circuits, start), reasons in found.items()
    ]


def _plan(options: argparse.Namespace, rest: Sequence[str]) -> "Plan":
    """Of a file, in parts if flags say so; of a configuration; or McClean's own."""
    from qmm.trainability.plan import Case, Plan, make_family, make_initialiser, read_depth, read_plan

    if options.plan and options.config:
        raise InputError("--plan and --config: a plan names its configurations itself; give one of the two")
    if options.plan:
        return _narrowed(read_plan(options.plan), options)
    families = {name: make_family(name) for name in options.circuits or ([] if options.config else ["random"])}
    name, default = "-".join(options.circuits or ["mcclean"]), _MCCLEAN
    if options.config:
        family, name, default = _configured(options, rest)
        families[name] = family
    starts = {start: make_initialiser(start) for start in options.initialisers or default["starts"]}
    depths = tuple(read_depth(depth) for depth in options.depths or default["depths"])
    qubits = tuple(options.qubits or default["qubits"])
    observables = tuple(options.observables or default["observables"])
    cases = {n: Case(f, depths, tuple(starts)) for n, f in families.items()}
    return Plan(name, cases, qubits, observables, starts, options.count or 200, options.seed or 0).check()


def _configured(options: argparse.Namespace, rest: Sequence[str]) -> "tuple[Family, str, dict[str, Any]]":
    """The family of a configuration, its name, and what is measured of it by default."""
    from qmm.costs.configuration import build, fusion_config
    from qmm.trainability.configured import ConfiguredFusion

    family = ConfiguredFusion(options.config, list(rest), options.features_per_qubit, options.circuit)
    plain = family.plain
    registers = len(build(plain).entries)
    layers = (fusion_config(plain).get("init_args") or {}).get("layers")
    default = {
        "qubits": [registers * each for each in (1, 2, 3, 4)],
        "depths": [str(layers)] if isinstance(layers, int) else ["3"],
        "starts": ["uniform", "small-angle", OWN],
        "observables": [OWN, "parity"],
    }
    return family, str(plain["name"]), default


def _narrowed(plan: "Plan", options: argparse.Namespace) -> "Plan":
    """The parts of a plan that flags ask for."""
    from qmm.trainability.plan import read_depth

    for asked, known, what in (
        (options.circuits, plan.cases, "circuits"),
        (options.initialisers, plan.initialisers, "initialisers"),
    ):
        for name in asked or ():
            if name not in known:
                raise InputError(f"the plan has no {what} {name!r}{did_you_mean(name, known)}; it has {', '.join(known)}")
    depths = tuple(read_depth(depth) for depth in options.depths or ())
    cases = {
        name: case._replace(
            depths=depths or case.depths,
            initialisers=tuple(s for s in case.initialisers if s in (options.initialisers or plan.initialisers)),
        )
        for name, case in plan.cases.items()
        if name in (options.circuits or plan.cases)
    }
    return plan._replace(
        cases=cases,
        qubits=tuple(options.qubits or plan.qubits),
        observables=tuple(options.observables or plan.observables),
        per_point=options.count or plan.per_point,
        seed=plan.seed if options.seed is None else options.seed,
    ).check()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm trainability",
        description="How fast do gradients vanish? Their variance over many circuits, against qubits and depth, for several "
        "initialisations and observables (arXiv:1803.11173), and the slope of its logarithm per qubit. Started again after a "
        "kill, it measures only what is left. Without --plan or --config: the random circuits of that paper.",
        epilog="With --config, every other flag is one of `qmm fit`: --model.init_args.model.fusion.init_args.reupload true.",
        usage="qmm trainability [--plan FILE | --config FILE [--config OVERLAY ...]] [options]",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to measure")
    what.add_argument("--plan", metavar="FILE", help="YAML, as configs/trainability/initialisers.yaml; what follows narrows it")
    what.add_argument(
        "--config", action="append", metavar="FILE", help="a configuration of `qmm fit`, whose fusion is meant; again: overlays"
    )
    what.add_argument("--circuits", nargs="+", metavar="NAME", help="random, hardware-efficient, a class path; names of a plan")
    what.add_argument("--qubits", type=int, nargs="+", metavar="N", help="of all registers together (McClean: 2 to 8)")
    what.add_argument("--depths", nargs="+", metavar="N", help="layers, 50, or layers for each qubit, 10n (McClean: 50)")
    what.add_argument("--observables", nargs="+", metavar="NAME", help=f"{', '.join(NAMES)} (McClean: zz)")
    what.add_argument(
        "--initialisers",
        nargs="+",
        metavar="NAME",
        help="short names, with arguments if any (small-angle:spread=0.05), class paths, or own, the fusion's own start",
    )
    what.add_argument("--count", type=int, help="circuits for each point (default: 200)")
    what.add_argument("--seed", type=int, help="of circuits, features and starts (default: 0)")
    what.add_argument("--features-per-qubit", type=int, help="with --config: features grow with registers (default: no)")
    what.add_argument("--circuit", metavar="NAME", help="with --config: which of the fusion's circuits (default: its first)")
    how = parser.add_argument_group("how, and where to")
    how.add_argument("--weight", choices=("first", "every"), default="first", help="whose gradient is drawn (default: first)")
    how.add_argument("--jobs", type=int, default=1, help="sizes of circuits at the same time (default: 1)")
    how.add_argument("--folder", help="where points, tables and pictures go (default: studies/NAME-trainability)")
    return parser
