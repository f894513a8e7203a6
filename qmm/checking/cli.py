"""`qmm data check`"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmm.errors import InputError
from qmm.files import write_json
from qmm.suggestions import did_you_mean

_READERS = {".npz": "qmm.data.VectorsDataModule"}
_READER = "qmm.data.ManifestDataModule"


def main(args: Sequence[str]) -> None:
    """Checks a data set, prints a report, exits with 1 where something is at fault."""
    given = list(args)
    if given[:1] != ["check"]:
        _usage(given)
    path = given[1] if len(given) > 1 and not given[1].startswith("-") else None
    options, flags = _parser().parse_known_args(given[1 if path is None else 2 :])
    report = _check(path, options, flags)
    print(report.text(options.examples))
    if options.json:
        write_json(Path(options.json), {"command": " ".join(["qmm data", *given]), **report.as_dict()})
        print(f"All of it: {options.json}", file=sys.stderr)
    faults, warnings = report.number_of("fault"), report.number_of("warning")
    if faults or (options.strict and warnings):
        from qmm.checking.finding import many

        sys.exit(f"qmm data check: {many(faults, 'fault')}, {many(warnings, 'warning')}")


def _check(path: str | None, options: argparse.Namespace, flags: list[str]) -> Any:
    from lightning import LightningDataModule  # takes seconds, as all below

    from qmm.checking.check import check
    from qmm.training.cli import ConfigurationCLI, instantiate

    flags = [*(word for config in options.config for word in ("--config", config)), *flags]
    if path is not None:
        reader = _READERS.get(Path(path).suffix.lower(), _READER)
        flags = ["--data", reader, "--data.init_args.path", path, *flags]
    plain = ConfigurationCLI(flags, "qmm data check").config.as_dict()
    config = plain.get("data")
    if not config:
        raise InputError("no data: give a manifest, or a configuration with data: `--config configs/quickstart.yaml`")
    arguments = dict(config.get("init_args") or {})
    own = {"group": options.group, "group_pattern": options.group_pattern}
    arguments |= {name: value for name, value in own.items() if value is not None}
    if "on_bad_sample" in arguments:
        arguments["on_bad_sample"] = "skip"  # so that all that is wrong is listed, not the first
    unknown = [name for name, value in own.items() if value is not None and name not in (config.get("init_args") or {})]
    if unknown:
        raise InputError(f"{config['class_path']} takes no {', '.join(unknown)}; its data has no columns to name groups by")
    return check(instantiate(LightningDataModule, {**config, "init_args": arguments}), options.exact)


def _usage(given: list[str]) -> None:
    """There is one thing to do with data, so far."""
    parser = argparse.ArgumentParser(prog="qmm data", description="qmm data check: read a data set before it is studied")
    parser.add_argument("action", metavar="check")
    action = parser.parse_args(given[:1]).action
    parser.error(f"there is no action {action!r}{did_you_mean(action, ['check'])}; `qmm data check --help` tells the rest")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm data check",
        description="Read a data set before it is studied: missing and damaged files, duplicates and near-duplicates within "
        "and across splits, groups torn apart, class balance, modalities whose absence tells the class. MANIFEST: .jsonl, .csv "
        "or .parquet, or an .npz of vectors; its place is the first.",
        epilog="Every other flag is one of `qmm fit`, such as --data.init_args.label digit. Exits with 1 where something is "
        "at fault. Alike are pictures by perceptual hash and thumbnail, sounds by mel spectrum and waveform, sentences by "
        "shared pieces of words, vectors by their angle; what was mirrored, turned, cropped or played faster is not found.",
        usage="qmm data check (MANIFEST | --config FILE [--config OVERLAY ...]) [options] [flags of qmm fit]",
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="as in qmm fit; again for overlays")
    parser.add_argument("--group", metavar="COLUMN", help="what no split may tear apart (default: what the configuration says)")
    parser.add_argument("--group-pattern", metavar="REGEX", help="the part of the column's values that names the group")
    parser.add_argument("--exact", action="store_true", help="look for equal contents alone, not for what is alike")
    parser.add_argument("--strict", action="store_true", help="warnings, too, are at fault")
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="of each finding, in the terminal (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="write all of it there")
    return parser
