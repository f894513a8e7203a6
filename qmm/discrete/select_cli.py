"""`qmm select`"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from qmm.discrete.selection import NAMED, Selected, branches, named_solver, read_features, select
from qmm.errors import InputError
from qmm.files import write_json

_COMPRESSOR = "qmm.encoders.SelectingCompressor"
_KEPT = ("low", "high", "gain")  # of the compressor whose place it takes: the range that the feature map was chosen for


def main(args: Sequence[str]) -> None:
    """Selects, prints what was found, and writes it as an overlay of `qmm fit`."""
    options, rest = _parser().parse_known_args(list(args))
    wanted = _wanted(options.keep)
    solver = named_solver(options.solver)
    from qmm.costs.configuration import parse  # Lightning, which takes seconds

    plain = parse(rest, "qmm select")
    pooled = read_features(plain, list(wanted))
    found = select(pooled, wanted, solver, options.balance, options.candidates, options.redundancy)
    print(found.choice.report())
    print(f"  of {len(pooled.targets):,} samples ({pooled.left_out:,} left out), {found.seconds:.2f} s")
    print(f"the most relevant features alone: objective {found.relevant.objective:.6g}")
    for modality, indices in found.indices.items():
        print(f"{modality}: {indices}")
    if options.json:
        content = {"indices": found.indices, "objective": found.choice.objective, "feasible": found.choice.feasible}
        write_json(Path(options.json), content | found.choice.terms | {"solver": options.solver, "balance": options.balance})
    if not found.choice.feasible:
        raise InputError(f"the solver found no choice as asked for: {'; '.join(found.choice.violations)}; take another solver")
    out = Path(options.out or Path("selections") / f"{plain['name']}.yaml")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f"# qmm select {' '.join(args)}\n" + yaml.safe_dump(overlay(plain, found), sort_keys=False))
    print(f"Overlay: {out}; `qmm fit`, and all that takes its flags, with `--config {out}` behind the others")


def overlay(plain: Mapping[str, Any], found: Selected) -> dict[str, Any]:
    """What puts a SelectingCompressor of what was found in the place of each modality's compressor, with its range."""
    whole = branches(plain)
    compressors = {}
    for modality, indices in found.indices.items():
        before = whole[modality]["compressor"].get("init_args") or {}
        kept = {name: before[name] for name in _KEPT if name in before}
        compressors[modality] = {"class_path": _COMPRESSOR, "init_args": {"indices": indices, **kept}}
    model: dict[str, Any] = {m: {"compressor": own} for m, own in compressors.items() if m in NAMED}
    others = {m: dict(branch) for m, branch in whole.items() if m not in NAMED}
    if any(m in compressors for m in others):  # an overlay replaces a dictionary as a whole
        model["others"] = {m: b | ({"compressor": compressors[m]} if m in compressors else {}) for m, b in others.items()}
    return {"model": {"init_args": {"model": model}}}


def _wanted(given: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in given:
        modality, _, number = text.partition("=")
        if not number.isdigit() or int(number) < 1:
            raise InputError(f"--keep {text}: give MODALITY=NUMBER, vision=4 for instance")
        found[modality] = int(number)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm select",
        description="Select features of each modality that say much of the target and little of each other, by solving a "
        "quadratic problem over bits (doi:10.1109/TPAMI.2005.159, arXiv:2203.13261); write them as an overlay.",
        epilog="Every other flag is one of `qmm fit`: --config FILE (again for overlays), --ckpt_path FILE for trained "
        "encoders, --cache FOLDER for features of frozen ones.",
        usage="qmm select --config FILE --keep MODALITY=NUMBER ... [options]",
        allow_abbrev=False,
    )
    parser.add_argument("--keep", nargs="+", required=True, metavar="MODALITY=NUMBER", help="vision=4 audio=4, for instance")
    parser.add_argument(
        "--solver",
        default="TabuSearch",
        help="a class of qmm.discrete, or YAML with class_path, init_args (default: TabuSearch)",
    )
    parser.add_argument("--balance", type=float, default=1.0, help="how much redundancy weighs (default: 1)")
    parser.add_argument("--candidates", type=int, help="look at so many features of each modality, the most relevant ones")
    parser.add_argument(
        "--redundancy", choices=("bins", "correlation"), default="bins", help="how it is measured (default: bins)"
    )
    parser.add_argument("--out", metavar="FILE", help="the overlay (default: selections/NAME.yaml)")
    parser.add_argument("--json", metavar="FILE", help="write indices and numbers there")
    return parser
