"""Measures what is left of a plan, point by point: a point that is on disk is never measured again."""

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from qmm.config import to_config
from qmm.errors import InputError
from qmm.files import write_json
from qmm.quantum import CircuitError
from qmm.study.worker import CAN_FORK, die_with_parent
from qmm.trainability.ensembles import Ensemble
from qmm.trainability.estimates import resampled_variances
from qmm.trainability.families import Family
from qmm.trainability.plan import Depth, Plan


class Point(NamedTuple):
    """What is measured at once, by the names that the plan gives."""

    circuits: str
    depth: Depth
    qubits: int
    observable: str
    initialiser: str

    @property
    def size(self) -> tuple[Any, ...]:
        """The same for points that differ in their start alone."""
        return self[:4]

    @property
    def name(self) -> str:
        return f"{self.circuits}, depth {self.depth}, {self.qubits} qubits, {self.observable}, {self.initialiser}"


class Outcome(NamedTuple):
    found: dict[Point, dict[str, Any]]
    """What `measure` returned."""
    refused: dict[Point, str]
    """Why there is no such circuit, or no such start of it."""
    failed: dict[Point, str]


def points(plan: Plan) -> Iterator[Point]:
    """Those that differ in their start alone come together."""
    for circuits, case in plan.cases.items():
        for depth in case.depths:
            for qubits in plan.qubits:
                for observable in plan.observables:
                    yield from (Point(circuits, depth, qubits, observable, start) for start in case.initialisers)


def measure(plan: Plan, point: Point) -> dict[str, Any]:
    """Variances over circuits of the gradient of the first weight, and of all weights' on average: each as it is, then of
    resampled circuits (`resampled_variances`).

    Circuits depend on the plan's seed, their family and size, not on the start: initialisers are compared on the same ones.
    Raises InputError and CircuitError where there is no such circuit or start.
    """
    began = time.perf_counter()
    case = plan.cases[point.circuits]
    layers = point.depth.layers(point.qubits)
    circuits = [plan.seed, case.family.fingerprint(), point.qubits, layers]
    ensemble = _ensemble(case.family, point.qubits, layers, point.observable, plan.per_point, _seed(circuits))
    ensemble = ensemble.first(plan.circuits(point.initialiser))
    start = plan.initialisers[point.initialiser]
    described = None if start is None else to_config(start)
    weights = ensemble.draw(start, _seed([*circuits, described]))
    gradients = ensemble.gradients(weights).numpy()
    seed = _seed([*circuits, described, point.observable])
    return {
        "qubits": ensemble.n_qubits,
        "layers": layers,
        "circuits": len(gradients),
        "weights": gradients.shape[1],
        "first": resampled_variances(gradients[:, :1], seed).tolist(),
        "every": resampled_variances(gradients, seed).tolist(),
        "seconds": round(time.perf_counter() - began, 3),
    }


@lru_cache(maxsize=1)
def _ensemble(family: Family, qubits: int, layers: int, observable: str, count: int, seed: int) -> Ensemble:
    """Kept for the next start."""
    return family.ensemble(qubits, layers, observable, count, seed)


def run(plan: Plan, folder: Path, jobs: int = 1) -> Outcome:
    """Measures the points that `folder` does not hold, `jobs` sizes of circuit at the same time."""
    every = list(points(plan))
    paths = {point: _path(plan, point, folder) for point in every}
    todo = [point for point in every if not paths[point].is_file()]
    groups = [list(group) for _, group in groupby(todo, key=lambda point: point.size)]
    left: dict[str, dict[Point, str]] = {"refused": {}, "failed": {}}
    with tqdm(total=len(every), initial=len(every) - len(todo), desc=plan.name, unit="point", smoothing=0) as bar:
        for group, results in _measured(plan, groups, jobs, bar):
            for point, (kind, result) in zip(group, results, strict=True):
                if kind == "found":
                    write_json(paths[point], result)
                else:
                    left[kind][point] = result
                bar.update()
    found = {point: json.loads(path.read_text()) for point, path in paths.items() if path.is_file()}
    ordered = ({point: reasons[point] for point in every if point in reasons} for reasons in left.values())
    return Outcome(found, *ordered)


def _measured(plan: Plan, groups: Sequence[Sequence[Point]], jobs: int, bar: Any) -> Iterator[tuple[list[Point], list[Any]]]:
    """Points with what came of them, one by one or, from other processes, group by group."""
    if jobs == 1 or len(groups) < 2:
        for point in (point for group in groups for point in group):
            bar.set_postfix_str(point.name)
            yield [point], _try(plan, [point])
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("forkserver" if CAN_FORK else "spawn")
    context.set_forkserver_preload([__name__])  # what takes seconds to import is imported once
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(threads,)) as pool:
        futures = {pool.submit(_try, plan, group): list(group) for group in groups}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:  # an interrupt does not wait for what has not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(threads: int) -> None:
    die_with_parent()
    torch.set_num_threads(threads)


def _try(plan: Plan, group: Sequence[Point]) -> list[tuple[str, Any]]:
    results: list[tuple[str, Any]] = []
    for point in group:
        try:
            results.append(("found", measure(plan, point)))
        except (InputError, CircuitError) as error:
            results.append(("refused", str(error)))
        except Exception as error:  # one point that fails does not take the others with it
            tqdm.write(f"{point.name} failed: {error}", file=sys.stderr)
            results.append(("failed", f"{type(error).__name__}: {error}"))
    return results


def _path(plan: Plan, point: Point, folder: Path) -> Path:
    """Named by all that its numbers depend on."""
    start = plan.initialisers[point.initialiser]
    family = plan.cases[point.circuits].family.fingerprint()
    described = None if start is None else to_config(start)
    size = [point.depth.layers(point.qubits), point.qubits, plan.per_point, plan.circuits(point.initialiser)]
    content = [family, size, point.observable, described, plan.seed]
    key = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return folder / "points" / f"{point.qubits}-{point.observable}-{key}.json"


def _seed(content: Any) -> int:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).digest()
    return int.from_bytes(digest[:6], "big")
