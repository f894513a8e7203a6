"""Runs the cells of a study, each in a process of its own; a finished cell is never run again."""

import json
import os
import queue
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from tqdm.auto import tqdm

from qmm.errors import InputError
from qmm.files import write_json
from qmm.study.plan import Cell, Config, Study, tuned_name
from qmm.study.worker import Worker

SCORED_ON_HELD_OUT = {"score_on": "val", "pictures": False}
"""Overlay of cells that tune: `val` is what was held out of the training split, and a test split is left alone."""


class Outcome(NamedTuple):
    table: pd.DataFrame
    """A row for each finished cell; also `folder/results.parquet`."""
    trials: pd.DataFrame
    """A row for each finished cell that tuned; also `folder/tuning.parquet`."""
    chosen: dict[str, str]
    """Arm, `-n` and the training size where there are several -> what its tuning chose."""
    failures: dict[str, str]
    """Cell -> why it failed."""


def run_study(study: Study, folder: Path, jobs: int = 1, flags: Iterable[str] = ()) -> Outcome:
    """Runs what is not finished: first the cells that tune, then, with what they chose, the seeds of every arm.

    `flags` go to every `qmm fit`. A cell that was killed continues from its last checkpoint. An arm is not run before all its
    tuning cells are there, since arms are compared at equal effort.
    """
    flags = tuple(flags)
    check_unchanged(study, folder, flags)
    with open_workers(jobs) as workers, tqdm(total=study.amount(), desc=study.name, unit="cell", smoothing=0) as bar:
        tuned, failures = _tune(study, folder, flags, workers, bar)
        chosen = choose(study, tuned)
        cells = study.settled(tuned).cells(chosen)
        failures |= run_cells(cells, folder, flags, workers, bar, "results.parquet")
    return Outcome(results(cells, folder), tuned, chosen, failures)


def read_outcome(study: Study, folder: Path) -> Outcome:
    """What is finished of a study, nothing run. Why others failed is not known any more."""
    tuned, known = pd.DataFrame(), -1
    while len(tuned) > known:
        known, tuned = len(tuned), results(study.trials(tuned), folder)
        _check_metric(study, tuned)
    chosen = choose(study, tuned)
    return Outcome(results(study.settled(tuned).cells(chosen), folder), tuned, chosen, {})


def _tune(
    study: Study, folder: Path, flags: tuple[str, ...], workers: "queue.Queue[Worker]", bar: Any
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Rounds of trials, the next one from the scores of those before where it depends on them."""
    cells, tuned, failures = list[Cell](), pd.DataFrame(), dict[str, str]()
    while new := _without(study.trials(tuned), cells):
        failures |= run_cells(new, folder, flags, workers, bar)
        cells += new
        tuned = results(cells, folder)
        _check_metric(study, tuned)
        tuned.to_parquet(folder / "tuning.parquet")
    return tuned, failures


def _without(cells: list[Cell], others: list[Cell]) -> list[Cell]:
    names = {cell.name for cell in others}
    return [cell for cell in cells if cell.name not in names]


def _check_metric(study: Study, trials: pd.DataFrame) -> None:
    if study.tuning is not None and len(trials) and study.tuning.metric not in trials:
        raise InputError(
            f"the cells report no {study.tuning.metric!r}; set `tuning.metric` to one of {', '.join(trials.columns)}"
        )


def choose(study: Study, trials: pd.DataFrame) -> dict[str, str]:
    """Arm, and training size -> the choice with the best mean score on what was held out; of equals the first. Without arms
    that are not tuned to the end."""
    if study.tuning is None or not len(trials):
        return {}
    _check_metric(study, trials)
    chosen = {}
    for name, scores in study.scores(trials).items():
        if len(scores) == study.tuning.amount:
            best = (min if study.tuning.lowest else max)(sorted(scores), key=lambda trial: scores[trial])
            own = trials[[tuned_name(a, n) == name for a, n in zip(trials["arm"], trials["size"], strict=True)]]
            chosen[name] = str(own.loc[own["trial"] == best, "choice"].iloc[0])
    return chosen


class CellFailedError(Exception):
    """A cell ended without a result; the others go on."""


def run_cells(
    cells: list[Cell],
    folder: Path,
    flags: tuple[str, ...],
    workers: "queue.Queue[Worker]",
    bar: Any,
    table: str | None = None,
) -> dict[str, str]:
    """Runs the cells that are not finished and moves the bar on by each; `table` in the folder holds the finished ones.

    Returns why cells failed, by name.
    """
    todo = [cell for cell in cells if not _result(folder, cell).is_file()]
    bar.update(len(cells) - len(todo))
    failures: dict[str, str] = {}
    with ThreadPoolExecutor(workers.maxsize) as pool:
        futures = {pool.submit(_run_cell, cell, folder, flags, workers): cell for cell in todo}
        try:
            for future in as_completed(futures):
                cell = futures[future]
                try:
                    future.result()
                    if table is not None:
                        results(cells, folder).to_parquet(folder / table)
                except CellFailedError as error:
                    failures[cell.name] = str(error)
                    tqdm.write(f"{cell.name} failed: {error}", file=sys.stderr)
                bar.update()
        except BaseException:  # an interrupt ends the running cells, not one after the other
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if table is not None and cells and not todo:
        results(cells, folder).to_parquet(folder / table)
    return failures


@contextmanager
def open_workers(jobs: int) -> Iterator["queue.Queue[Worker]"]:
    """Processes for so many cells at the same time."""
    workers: queue.Queue[Worker] = queue.Queue(jobs)
    for _ in range(jobs):
        workers.put(Worker(_environment(jobs)))
    try:
        yield workers
    finally:
        while not workers.empty():
            workers.get().close()


def _environment(jobs: int) -> dict[str, str] | None:
    """Several cells share the cores."""
    return {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))} if jobs > 1 else None


def _result(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / cell.name / "result.json"


def check_unchanged(study: Study, folder: Path, flags: tuple[str, ...]) -> None:
    """Cells of one study are comparable only when they were made from the same configurations: raises InputError otherwise."""
    known_path = folder / "fingerprints.json"
    known = json.loads(known_path.read_text()) if known_path.is_file() else {}
    now = {arm: f"{study.fingerprint(arm)} {' '.join(flags)}" for arm in study.arms}
    changed = [arm for arm in now if arm in known and known[arm] != now[arm]]
    if changed:
        raise InputError(
            f"the configuration of {', '.join(changed)} changed since cells of {folder} ran; "
            "give another --folder, or delete that one to run everything again"
        )
    write_json(known_path, known | now)


def _run_cell(cell: Cell, folder: Path, flags: tuple[str, ...], workers: "queue.Queue[Worker]") -> None:
    """`qmm fit`, as a user would type it, with its output in the cell's folder."""
    home = folder / "cells" / cell.name
    home.mkdir(parents=True, exist_ok=True)
    configs = (*cell.configs, SCORED_ON_HELD_OUT) if cell.trial is not None else cell.configs
    args = ["fit"]
    for i, config in enumerate(configs):
        if isinstance(config, dict):
            inline = home / f"overlay_{i}.yaml"
            inline.write_text(yaml.safe_dump(config))
            config = str(inline)
        args += ["--config", config]
    args += ["--name", cell.name, "--runs", str(home.parent), "--seed_everything", str(cell.seed), *flags]
    if (home / "checkpoints" / "last.ckpt").is_file():
        args += ["--ckpt_path", "last"]
    log, worker, code = home / "log.txt", workers.get(), None
    began = time.perf_counter()
    try:
        code = worker.run(args, log, sorted(_classes(configs)))
    finally:
        if code is None:
            worker.close()
            worker = Worker(_environment(workers.maxsize))
        workers.put(worker)
    if code != 0:
        lines = [line for line in log.read_text().splitlines() if line.strip()] if log.is_file() else []
        status = "its process was ended" if code is None else f"exit status {code}"
        raise CellFailedError(f"{status}: {lines[-1] if lines else 'no output'} (see {log})")
    write_json(_result(folder, cell), _collect(cell, home, args, time.perf_counter() - began))


def _classes(configs: Sequence[Config]) -> set[str]:
    """The classes of ours that configurations name."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            path = value.get("class_path")
            if isinstance(path, str) and path.startswith("qmm."):
                yield path
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from walk(item)

    return {path for c in configs for path in walk(c if isinstance(c, dict) else yaml.safe_load(Path(c).read_text()))}


def _collect(cell: Cell, home: Path, args: list[str], seconds: float) -> dict[str, Any]:
    split = next((s for s in ("test", "val") if (home / s / "metrics.json").is_file()), None)
    if split is None:
        raise CellFailedError(f"wrote no metrics: the data has neither a test nor a val split (see {home / 'log.txt'})")
    report = json.loads((home / split / "metrics.json").read_text())
    predictions = pd.read_parquet(home / split / "predictions.parquet")
    columns = [name for name in ("id", "target", "prediction", "group") if name in predictions]
    return {
        "arm": cell.arm,
        "size": cell.size,
        "seed": cell.seed,
        "choice": cell.choice,
        **({} if cell.trial is None else {"trial": cell.trial, "part": cell.part}),
        "split": split,
        "samples": report["samples"],
        "train_samples": report["train_samples"],
        **report["metrics"],
        **{f"parameters_{name}": count for name, count in report["parameters"].items()},
        "epochs": report["epochs"],
        **{name: report[name] for name in ("fit_seconds", "fit_cpu_seconds", "fit_joules", "peak_memory_bytes")},
        "wall_seconds": round(seconds, 2),
        "skipped": report["skipped"],
        "threads": report["threads"],
        "predictions": predictions[columns].to_dict("records"),
        "curves": _curves(home),
        **_robustness(home),
        "versions": report["versions"],
        "config": (home / "config.yaml").read_text(),
        "command": " ".join(["-m", "qmm", *args]),
    }


def _curves(home: Path) -> list[dict[str, float]]:
    """By epoch; numbers that an epoch did not log are left out."""
    if not (home / "history.csv").is_file():
        return []
    records = pd.read_csv(home / "history.csv").to_dict("records")
    return [{str(name): value for name, value in record.items() if pd.notna(value)} for record in records]


def _robustness(home: Path) -> dict[str, Any]:
    path = home / "robustness.json"
    return {"robustness": json.loads(path.read_text())} if path.is_file() else {}


def results(cells: list[Cell], folder: Path) -> pd.DataFrame:
    """A row for each finished cell."""
    done = [_result(folder, cell) for cell in cells]
    return pd.DataFrame([json.loads(path.read_text()) for path in done if path.is_file()])
