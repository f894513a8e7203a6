"""Runs a search: proposes, leaves out what is over the budget, trains the rest by `qmm fit`, and remembers."""

import hashlib
import json
import math
import queue
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm.auto import tqdm

from qmm.config import to_config
from qmm.errors import InputError
from qmm.search.arms import Arm
from qmm.search.proposers import Proposer
from qmm.search.records import Record, Records, load_records, mean_score
from qmm.study.plan import Cell, Config, Study
from qmm.study.runner import Outcome, open_workers, results, run_cells
from qmm.study.worker import Worker

_PATIENCE = 500  # points in a row that may be over the budget before a search ends


class Tried(NamedTuple):
    """How points are tried, the same for every arm."""

    configs: tuple[Config, ...]
    held_out: dict[str, Any]
    """Overlay that puts a part of the training split in the place of val."""
    flags: tuple[str, ...]
    """Of every `qmm fit`."""
    proposer: Proposer
    trials: int
    seeds: tuple[int, ...]
    """Of each trial."""
    metric: str
    lowest: bool
    """Whether the lowest is the best."""
    seed: int
    """Of the proposals."""

    def fingerprint(self, arm: Arm) -> str:
        """Changes with all that scores depend on, but not with the number of trials: a search may go on."""
        files = [config if isinstance(config, dict) else Path(config).read_text() for config in self.configs]
        first = arm.overlay((0,) * len(arm.space.sizes))
        what = [files, arm.space.choices, first, to_config(self.proposer), *self._replace(trials=0, proposer=None, configs=())]  # type: ignore[arg-type]
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


class Search:
    """Runs arms one after the other, in the same worker processes, under one progress bar."""

    def __init__(self, tried: Tried, folder: Path, jobs: int, arms: int):
        self.tried, self.folder = tried, folder
        self._workers = open_workers(jobs)
        self._bar = tqdm(total=arms * tried.trials * len(tried.seeds), desc=folder.name, unit="training", smoothing=0)
        self._jobs = jobs

    def __enter__(self) -> "Search":
        self._queue: queue.Queue[Worker] = self._workers.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.close()
        self._workers.__exit__(*exception)

    def run(self, arm: Arm, name: str, retry: bool = False) -> Records:
        """All trials of an arm that are not finished; `name` is that of its file and of its cells.

        A trial that was running when the search was killed goes on from its last checkpoint. One that failed is run again with
        `retry` alone. Raises InputError where no point is within the budget.
        """
        fingerprint = self.tried.fingerprint(arm)
        records = load_records(self.folder / f"{name}.json", fingerprint)
        if retry:
            records.rows[:] = [record._replace(failure="") for record in records.rows]
        self._bar.update(sum(not r.planned for r in records.trials) * len(self.tried.seeds))
        while True:
            planned = [record for record in records.rows if record.planned]
            wanted = min(self._jobs, self.tried.trials - (len(records.trials) - len(planned)))
            for _ in range(wanted - len(planned)):
                if not self._plan(arm, records):
                    break
            planned = [record for record in records.rows if record.planned]
            records.save(fingerprint)
            if not planned:
                break
            self._finish(arm, name, records, planned)
            records.save(fingerprint)
        missing = self.tried.trials - len(records.trials)
        if missing > 0:  # the space holds no more
            self._bar.total = (self._bar.total or 0) - missing * len(self.tried.seeds)
            self._bar.refresh()
        return records

    def compare(self, study: Study, folder: Path, flags: tuple[str, ...]) -> Outcome:
        """The cells of a study without tuning that are not finished, in the same processes."""
        cells = study.cells()
        self._bar.total = (self._bar.total or 0) + len(cells)
        failures = run_cells(cells, folder, flags, self._queue, self._bar, "results.parquet")
        return Outcome(results(cells, folder), pd.DataFrame(), {}, failures)

    def _plan(self, arm: Arm, records: Records) -> bool:
        """Adds the next point that is to be run, and those before it that are not; False where there is none left."""
        circuits = {record.circuit: record.number for record in records.trials if record.circuit}
        for _ in range(_PATIENCE):
            chance = random.Random(f"{self.tried.seed} {len(records.rows)}")
            told = [record.trial(self.tried.lowest) for record in records.rows]
            point = self.tried.proposer.propose(arm.space.sizes, told, chance)
            if point is None:
                break
            costs, reason, circuit = arm.examine(point)
            key = hashlib.sha256(circuit.encode()).hexdigest() if circuit else ""
            if not reason and key in circuits:
                reason = f"the same circuit as trial {circuits[key]}"
            if not reason:
                records.rows.append(Record(point, len(records.trials), costs=costs, circuit=key))
                return True
            records.rows.append(Record(point, rejection=reason, costs=costs))
        if not records.trials:
            raise InputError(f"of {records.rejected()} points that were looked at none can be run: {_reasons(records)}")
        return False

    def _finish(self, arm: Arm, name: str, records: Records, planned: list[Record]) -> None:
        """Trains, and replaces the records by what came of them."""
        cells = {record.number: self._cells(arm, name, record) for record in planned}
        failures = run_cells([c for own in cells.values() for c in own], self.folder, self.tried.flags, self._queue, self._bar)
        for place, record in enumerate(records.rows):
            if record.planned and record.number in cells:
                records.rows[place] = self._told(record, cells[record.number], failures)

    def _cells(self, arm: Arm, name: str, record: Record) -> list[Cell]:
        configs = (*self.tried.configs, arm.overlay(record.point), self.tried.held_out)
        return [Cell(name, seed, configs, arm.space.label(record.point), record.number) for seed in self.tried.seeds]

    def _told(self, record: Record, cells: list[Cell], failures: dict[str, str]) -> Record:
        failed = [failures[cell.name] for cell in cells if cell.name in failures]
        if failed:
            return record._replace(failure=failed[0])
        table = results(cells, self.folder)
        if self.tried.metric not in table:
            raise InputError(f"trainings report no {self.tried.metric!r}; set `metric` to one of {', '.join(table.columns)}")
        score = mean_score(table[self.tried.metric].tolist())
        if math.isnan(score):
            tqdm.write(f"{cells[0].name}: {self.tried.metric} is not finite", file=sys.stderr)
            return record._replace(failure=f"{self.tried.metric} is not finite")
        parts = [part for part in ("parameters_fusion", "parameters_decoder") if part in table]
        facts = {"parameters": float(table[parts].iloc[0].sum()), "seconds": float(table["fit_seconds"].sum())}
        return record._replace(score=score, facts=facts)


def _reasons(records: Records) -> str:
    """The most frequent ones."""
    counted = Counter(record.rejection for record in records.rows if record.rejection)
    return "; ".join(reason for reason, _ in counted.most_common(3))
