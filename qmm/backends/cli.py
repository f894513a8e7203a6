"""`qmm backends`"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import LightningDataModule
from tqdm.auto import tqdm

from qmm.backends import comparing
from qmm.backends.configuration import Setup, build_setup
from qmm.backends.picture import picture
from qmm.backends.plan import Case, named_cases, read_cases
from qmm.errors import InputError
from qmm.files import write_json
from qmm.loading import load
from qmm.training.cli import ConfigurationCLI, instantiate


def main(args: list[str]) -> None:
    """Runs what is left of a comparison, prints its table; exits with 1 when a backend failed."""
    options, rest = _parser().parse_known_args(args)
    if not options.on and not options.cases:
        raise InputError("no backend: give --on configs/backend/shots.yaml, or --cases FILE")
    if options.samples is not None and options.samples < 1:
        raise InputError(f"--samples {options.samples}: give at least 1")
    cases = [*(read_cases(options.cases) if options.cases else []), *named_cases(options.on or [])]
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise InputError(f"two backends are called {next(n for n in names if names.count(n) > 1)!r}; name them, NAME=FILE")
    for case in cases:
        build_setup(case.setup)  # what is wrong with an overlay is better known before the first backend runs
    folder = Path(options.folder or Path(options.ckpt_path).parent.parent / "backends")
    task, loader = _load(options.ckpt_path, options.split, options.allow, rest)
    comparing.require_circuits(task)
    rows, failures = compare(task, loader, cases, options.samples, options.seeds, folder, options.ckpt_path)
    table = pd.DataFrame(rows)
    if len(table):
        table.to_csv(folder / "backends.csv", index=False)
        summary = summarise(table)
        print(summary.to_string(index=False, na_rep="-"))
        picture(table).savefig(folder / "backends.png", dpi=130)
        print(f"Table and picture: {folder / 'backends.csv'}, {folder / 'backends.png'}")
    if failures:
        sys.exit("\n".join(f"qmm backends: {name}: {message}" for name, message in failures.items()))


def compare(
    task: Any, loader: Any, cases: Sequence[Case], samples: int | None, seeds: Sequence[int], folder: Path, checkpoint: str
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row for each backend and seed, from `folder` where it is there already; and why backends failed, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    content = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    encoded: dict[int | None, tuple[comparing.Samples, comparing.Outcome]] = {}
    rows: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    todo = [(case, seed) for case in cases for seed in (seeds if case.setup else seeds[:1])]
    for case, seed in tqdm(todo, desc="backends", unit="run", disable=len(todo) < 2):
        number = case.samples if case.samples is not None else samples
        wanted = json.dumps([content, case.setup, number, seed, len(loader.dataset)], sort_keys=True)
        path = folder / "runs" / f"{hashlib.sha256(wanted.encode()).hexdigest()[:16]}.json"
        if not path.is_file():
            if number not in encoded:
                places = comparing.choose(loader.dataset, number, seed=0)
                known = comparing.encode(task, loader, places)
                encoded[number] = known, comparing.run(task, known, Setup(None, None))
            try:
                row = _row(task, case, seed, *encoded[number])
            except Exception as error:  # one backend that fails does not take the others with it
                failures[f"{case.name}, seed {seed}"] = f"{type(error).__name__}: {error}"
                continue
            path.parent.mkdir(exist_ok=True)
            write_json(path, row)
        rows.append({"backend": case.name, "seed": seed, **json.loads(path.read_text())})
    return rows, failures


def _row(task: Any, case: Case, seed: int, samples: comparing.Samples, exact: comparing.Outcome) -> dict[str, Any]:
    setup = build_setup(case.seeded(seed))
    outcome = comparing.run(task, samples, setup)
    ledger = getattr(setup.backend, "ledger", None)
    costs = {} if ledger is None else ledger.to_dict()
    found = comparing.compared(outcome, exact)
    return {"samples": samples.size, **outcome.metrics, **found, "seconds": outcome.seconds, **costs}


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each backend: means over seeds, with the standard deviation where there are several."""
    rows = []
    for name, group in table.groupby("backend", sort=False):
        row: dict[str, Any] = {"backend": name, "samples": int(group["samples"].iloc[0])}
        for column in [c for c in ("accuracy", "f1", "grounding", "mae", "recall@1") if c in table]:
            row[column] = _spread(group[column], 3)
        row["mean error"] = _spread(group["error"], 4)
        row["bias"] = _spread(group["bias"], 4)
        row["changed"] = _spread(group["changed"], 3)
        for column in ("shots", "circuits", "jobs"):
            if column in table and group[column].notna().any():
                row[column] = f"{group[column].mean():,.0f}"
        row["seconds"] = f"{group['seconds'].mean():,.3g}"
        rows.append(row)
    return pd.DataFrame(rows)


def _spread(values: "pd.Series[float]", digits: int) -> str:
    text = f"{values.mean():.{digits}f}"
    return f"{text} ±{values.std():.{digits}f}" if len(values) > 1 else text


def _load(checkpoint: str, split: str, allow: Sequence[str], rest: list[str]) -> tuple[Any, Any]:
    """The task with its weights, and the data loader of the split."""
    task = load(checkpoint, allow)
    config = ConfigurationCLI(["--ckpt_path", checkpoint, *rest], "qmm backends").config.as_dict()
    if not config.get("data"):
        raise InputError(f"checkpoint {checkpoint} names no data; give a configuration with it, --config FILE")
    data = instantiate(LightningDataModule, config["data"])
    data.connect({m: branch.encoder.preprocess for m, branch in task.model.branches.items()})
    data.setup("test" if split == "test" else "validate")
    loader = data.test_dataloader() if split == "test" else data.val_dataloader()
    if not len(loader):
        raise InputError('the data has no split "val"; give --split test')
    return task, loader


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qmm backends",
        description="Run a trained model on one backend after the other: how far the values of its circuits are from the exact "
        "ones, what that does to its predictions, and what it costs. Started again after a kill, it runs only what is left.",
        epilog="Every other flag is one of `qmm fit`, e.g. --config FILE, --data.init_args.path FILE.",
        usage="qmm backends --ckpt_path FILE --on [NAME=]FILE[,FILE...] ... [options]",
        allow_abbrev=False,
    )
    parser.add_argument("--ckpt_path", required=True, help="the trained model")
    parser.add_argument("--on", action="append", help="a backend: overlays as of `qmm fit`; again for more")
    parser.add_argument("--cases", help="a YAML file of backends by name, e.g. configs/comparisons/backends.yaml")
    parser.add_argument("--samples", type=int, help="a fixed subset of so many samples (default: all)")
    parser.add_argument("--split", choices=("val", "test"), default="val", help="which samples (default: val)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the backends: shots, twirls (default: 0)")
    parser.add_argument("--allow", nargs="+", default=[], metavar="PACKAGE", help="packages whose classes it may build, too")
    parser.add_argument("--folder", help="where rows, table and picture go (default: backends/ in the run's folder)")
    return parser
