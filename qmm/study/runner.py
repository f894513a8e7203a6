"""Runs the cells of a study, each in a process of its own; a finished cell is never run again."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tqdm.auto import tqdm

from qmm.errors import InputError
from qmm.files import write_json
from qmm.study.plan import Cell, Study


def run_study(study: Study, folder: Path, jobs: int = 1, flags: Iterable[str] = ()) -> tuple[pd.DataFrame, dict[str, str]]:
    """Runs what is not finished; returns the table (also `folder/results.parquet`) and why cells failed, by name.

    `flags` go to every `qmm fit`. A cell that was killed continues from its last checkpoint.
    """
    cells = study.cells()
    _check_unchanged(cells, folder, tuple(flags))
    todo = [cell for cell in cells if not _result(folder, cell).is_file()]
    failures: dict[str, str] = {}
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=len(cells), initial=len(cells) - len(todo), desc=study.name, unit="cell", smoothing=0) as bar,
    ):
        futures = {pool.submit(_run_cell, cell, folder, tuple(flags), jobs): cell for cell in todo}
        for future in as_completed(futures):
            cell = futures[future]
            try:
                future.result()
                _table(cells, folder).to_parquet(folder / "results.parquet")
            except CellFailedError as error:
                failures[cell.name] = str(error)
                tqdm.write(f"{cell.name} failed: {error}", file=sys.stderr)
            bar.update()
    table = _table(cells, folder)
    if len(table):
        table.to_parquet(folder / "results.parquet")
    return table, failures


class CellFailedError(Exception):
    """A cell ended without a result; the others go on."""


def _result(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / cell.name / "result.json"


def _check_unchanged(cells: list[Cell], folder: Path, flags: tuple[str, ...]) -> None:
    """Cells of one study are comparable only when they were made from the same configurations."""
    known_path = folder / "fingerprints.json"
    known = json.loads(known_path.read_text()) if known_path.is_file() else {}
    now = {cell.arm: f"{cell.fingerprint} {' '.join(flags)}" for cell in cells}
    changed = [arm for arm in now if arm in known and known[arm] != now[arm]]
    if changed:
        raise InputError(
            f"the configuration of {', '.join(changed)} changed since cells of {folder} ran; "
            "give another --folder, or delete that one to run everything again"
        )
    write_json(known_path, known | now)


def _run_cell(cell: Cell, folder: Path, flags: tuple[str, ...], jobs: int) -> None:
    """`qmm fit`, as a user would type it, with its output in the cell's folder."""
    home = folder / "cells" / cell.name
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "qmm", "fit"]
    for i, config in enumerate(cell.configs):
        if isinstance(config, dict):
            inline = home / f"overlay_{i}.yaml"
            inline.write_text(yaml.safe_dump(config))
            config = str(inline)
        command += ["--config", config]
    command += ["--name", cell.name, "--runs", str(home.parent), "--seed_everything", str(cell.seed), *flags]
    if (home / "checkpoints" / "last.ckpt").is_file():
        command += ["--ckpt_path", "last"]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)} if jobs > 1 else None
    began = time.perf_counter()
    with (home / "log.txt").open("a") as log:
        code = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, preexec_fn=_die_with_parent
        ).returncode
    if code:
        lines = [line for line in (home / "log.txt").read_text().splitlines() if line.strip()]
        raise CellFailedError(f"exit status {code}: {lines[-1] if lines else 'no output'} (see {home / 'log.txt'})")
    write_json(_result(folder, cell), _collect(cell, home, command, time.perf_counter() - began))


def _die_with_parent() -> None:
    """A study that is killed must not leave a cell running that its successor starts again (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _collect(cell: Cell, home: Path, command: list[str], seconds: float) -> dict[str, Any]:
    split = next((s for s in ("test", "val") if (home / s / "metrics.json").is_file()), None)
    if split is None:
        raise CellFailedError(f"wrote no metrics: the data has neither a test nor a val split (see {home / 'log.txt'})")
    report = json.loads((home / split / "metrics.json").read_text())
    predictions = pd.read_parquet(home / split / "predictions.parquet", columns=["id", "target", "prediction"])
    return {
        "arm": cell.arm,
        "seed": cell.seed,
        "split": split,
        "samples": report["samples"],
        **report["metrics"],
        **{f"parameters_{name}": count for name, count in report["parameters"].items()},
        "epochs": report["epochs"],
        "fit_seconds": report["fit_seconds"],
        "wall_seconds": round(seconds, 2),
        "skipped": report["skipped"],
        "threads": report["threads"],
        "predictions": predictions.to_dict("records"),
        "config": (home / "config.yaml").read_text(),
        "command": " ".join(command[1:]),
    }


def _table(cells: list[Cell], folder: Path) -> pd.DataFrame:
    done = [_result(folder, cell) for cell in cells]
    return pd.DataFrame([json.loads(path.read_text()) for path in done if path.is_file()])
