"""A sweep over qubits a register and layers: what each cell costs and what it reaches."""

import hashlib
import inspect
import json
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm.auto import tqdm

from qmm.circuits import count
from qmm.costs.configuration import build, fusion_config
from qmm.costs.expressing import METRICS
from qmm.errors import InputError
from qmm.files import write_json
from qmm.quantum import Circuit
from qmm.study import Study, run_study


class Cell(NamedTuple):
    qubits: int
    """Of each register."""
    layers: int
    arguments: dict[str, Any]
    """Of the fusion, in place of those of the configuration."""
    circuits: dict[str, Circuit]
    """None where the fusion cannot be built."""
    reason: str = ""
    """Why not."""

    @property
    def name(self) -> str:
        return f"qubits{self.qubits}-layers{self.layers}"

    @property
    def overlay(self) -> dict[str, Any]:
        """The configuration of `qmm fit` that makes this cell of a base."""
        return {"model": {"init_args": {"model": {"fusion": {"init_args": self.arguments}}}}}

    def costs(self) -> dict[str, int]:
        return total_costs(self.circuits.values())


def total_costs(circuits: Iterable[Circuit]) -> dict[str, int]:
    """Sums over the circuits; of qubits and depth, the greatest."""
    counts = [count(circuit) for circuit in circuits]
    return {
        "total_qubits": max(c.qubits for c in counts),
        "depth": max(c.depth for c in counts),
        "gates": sum(c.gates for c in counts),
        "two_qubit_gates": sum(c.two_qubit_gates for c in counts),
        "parameters": sum(c.parameters for c in counts),
    }


def plan(plain: Mapping[str, Any], qubits: Iterable[int], layers: Iterable[int]) -> list[Cell]:
    """A cell for each pair. One that cannot be built, its registers too small for the features for instance, says why.

    Raises InputError where the fusion takes no `qubits` and `layers`, or no cell has a circuit.
    """
    module, _, name = fusion_config(plain)["class_path"].rpartition(".")
    kind = getattr(import_module(module), name)
    taken = inspect.signature(kind).parameters
    if not {"qubits", "layers"} <= set(taken):
        raise InputError(f"{kind.__name__} has no `qubits` and `layers` to sweep over; it takes {', '.join(taken)}")
    by_modality = "dict" in str(typing.get_type_hints(kind.__init__)["qubits"])
    modalities = list(build(plain).entries)

    def cell(n_qubits: int, n_layers: int) -> Cell:
        sizes = dict.fromkeys(modalities, n_qubits) if by_modality else n_qubits
        arguments = {"qubits": sizes, "layers": n_layers}
        try:
            return Cell(n_qubits, n_layers, arguments, build(plain, **arguments).fusion.circuits())
        except InputError as error:
            return Cell(n_qubits, n_layers, arguments, {}, str(error))

    cells = [cell(q, n) for q in qubits for n in layers]
    if not any(c.circuits for c in cells):
        reasons = "; ".join(sorted({c.reason or f"{kind.__name__} has no circuit" for c in cells}))
        raise InputError(f"nothing to sweep: {reasons}")
    return cells


def express(cells: Sequence[Cell], metric: str, seeds: Sequence[int], folder: Path, plain: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each cell and seed, the value averaged over the circuits. What `folder` holds already is not computed again.

    Raises InputError where it was computed from another configuration.
    """
    _check_unchanged(plain, metric, folder)
    todo = [(cell, seed) for cell in cells if cell.circuits for seed in seeds]
    for cell, seed in tqdm(todo, desc=metric.replace("_", " "), unit="cell"):
        path = _path(folder, cell, seed)
        if not path.is_file():
            values = [METRICS[metric](circuit, seed) for circuit in cell.circuits.values()]
            write_json(
                path, {"qubits": cell.qubits, "layers": cell.layers, "seed": seed, metric: math.fsum(values) / len(values)}
            )
    return pd.DataFrame([json.loads(_path(folder, cell, seed).read_text()) for cell, seed in todo])


def train(
    cells: Sequence[Cell],
    metric: str,
    seeds: Sequence[int],
    folder: Path,
    configs: Sequence[str],
    flags: Sequence[str],
    jobs: int,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The same table by `qmm fit`, a study whose arms are the cells; and why cells failed, by name."""
    arms: dict[str, tuple[str | dict[str, Any], ...]] = {cell.name: (*configs, cell.overlay) for cell in cells if cell.circuits}
    outcome = run_study(Study(folder.name, arms, tuple(seeds), metric), folder, jobs, flags)
    table, failures = outcome.table, outcome.failures
    if not len(table):
        return table, failures
    if metric not in table:
        raise InputError(f"the cells report no {metric!r}; they report {', '.join(table.columns)}")
    place = {cell.name: cell for cell in cells}
    rows = [(place[arm].qubits, place[arm].layers, seed, value) for arm, seed, value in table[["arm", "seed", metric]].values]
    return pd.DataFrame(rows, columns=["qubits", "layers", "seed", metric]), failures


def _path(folder: Path, cell: Cell, seed: int) -> Path:
    return folder / "cells" / f"{cell.name}-seed{seed}.json"


def _check_unchanged(plain: Mapping[str, Any], metric: str, folder: Path) -> None:
    """Cells are comparable only when they were made from the same fusion."""
    content = json.dumps([plain["model"], metric], sort_keys=True, default=str)
    now, path = hashlib.sha256(content.encode()).hexdigest(), folder / "fingerprint.json"
    if path.is_file() and json.loads(path.read_text()) != now:
        raise InputError(
            f"the configuration changed since cells of {folder} were computed; give another --folder, or delete that one"
        )
    write_json(path, now)
