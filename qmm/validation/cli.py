"""`qmm crossval`"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qmm.errors import InputError
from qmm.study.matching import read_configuration
from qmm.study.plan import Config, Study
from qmm.validation.plan import CrossValidation


def main(args: Sequence[str]) -> None:
    """Runs what is left of a cross-validation, prints its summary, exits with 1 when a cell failed."""
    given = list(args)
    own, flags = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    options = _parser().parse_args(own)
    validation = _plan(options)
    group = _check(validation)
    from qmm.validation.report import write_report
    from qmm.validation.running import cross_validate

    folder = Path(options.folder or Path("crossval") / validation.study.name)
    found = cross_validate(validation, folder, options.jobs, flags)
    if len(found.table):
        print(write_report(validation, found, folder, "qmm crossval " + " ".join(given), group))
        print(f"Tables: {folder / 'results.parquet'}, {folder / 'predictions.parquet'}")
    if found.failures:
        cells = len(validation.cells())
        sys.exit(f"qmm crossval: {len(found.failures)} of {cells} cells failed: {', '.join(found.failures)}")


def _plan(options: argparse.Namespace) -> CrossValidation:
    if options.folds < 2 or options.jobs < 1:
        raise InputError(f"--folds {options.folds}, --jobs {options.jobs}: expected at least 2 folds and 1 job")
    if options.group_pattern and not options.group:
        raise InputError("--group-pattern says what names a group in a column; give the column with --group")
    arms: dict[str, tuple[Config, ...]] = {options.base: tuple(options.config)}
    for text in options.arm:
        name, _, overlays = text.partition("=")
        if not name or not overlays or name in arms:
            raise InputError(
                f"--arm {text}: give NAME=OVERLAY or NAME=OVERLAY,OVERLAY, each name once (the base is {options.base!r})"
            )
        arms[name] = (*options.config, *overlays.split(","))
    for arm, configs in arms.items():
        missing = [str(config) for config in configs if not Path(str(config)).is_file()]
        if missing:
            raise InputError(f"arm {arm!r}: {missing[0]} does not exist; paths are relative to where qmm is started")
    name = options.name or Path(options.config[0]).stem
    study = Study(name, arms, tuple(options.seeds), options.metric)
    return CrossValidation(study, options.folds, options.group, options.group_pattern)


def _check(validation: CrossValidation) -> str | None:
    """The column that groups are named by, if any. Every arm's configuration is read once, before anything runs."""
    groups = []
    for configs in validation.study.arms.values():
        overlay = validation.overlay(0)
        try:
            data = _data((*configs, overlay))
        except SystemExit as end:
            data = _data(configs)
            if not data:
                raise InputError("no data: give a configuration with it, e.g. `--config configs/quickstart.yaml`") from end
            raise InputError(
                f"{data['class_path']} does not take {', '.join(overlay['data']['init_args'])}, by which folds are held out; "
                "take a data module of qmm.data (groups: one that reads users' files), or derive from MultimodalDataModule"
            ) from end
        groups.append((data.get("init_args") or {}).get("group"))
    return groups[0]


def _data(configs: Sequence[Config]) -> Mapping[str, Any]:
    """What configurations say of the data; exits, as argparse does, where there is no such argument."""
    return read_configuration(configs, (), "qmm crossval").get("data") or {}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm crossval",
        description="Cross-validate a configuration, and arms (overlays) on the same folds of its training split: stratified "
        "by class, in whole groups where there are any. Started again after a kill, it runs only what is left.",
        epilog="Anything after `--` goes to every `qmm fit`, e.g. `-- --trainer.max_epochs 1`. Encoders that were trained "
        "before on these samples know the held-out ones: their scores are too good.",
    )
    parser.add_argument("--config", action="append", required=True, metavar="FILE", help="as in qmm fit; again for overlays")
    parser.add_argument("--folds", type=int, default=5, help="parts of the training split (default: 5)")
    parser.add_argument("--group", metavar="COLUMN", help="what no fold may tear apart (default: what the configuration says)")
    parser.add_argument("--group-pattern", metavar="REGEX", help="the part of the column's values that names the group")
    parser.add_argument("--arm", action="append", default=[], metavar="NAME=OVERLAY[,OVERLAY]", help="another arm; repeatable")
    parser.add_argument("--base", default="base", metavar="NAME", help="name of the arm without an overlay (default: base)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of every arm and fold (default: 0)")
    parser.add_argument("--metric", default="accuracy", help="what arms are compared in (default: accuracy)")
    parser.add_argument("--name", help="of it all (default: that of the first configuration)")
    parser.add_argument("--folder", help="where cells, tables and summary go (default: crossval/NAME)")
    parser.add_argument("--jobs", type=int, default=1, help="cells at the same time (default: 1)")
    return parser
