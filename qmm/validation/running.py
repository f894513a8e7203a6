"""Runs what is left of a cross-validation, with the processes of studies."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm.auto import tqdm

from qmm.errors import InputError
from qmm.study.report.reading import metrics
from qmm.study.runner import check_unchanged, open_workers, results, run_cells
from qmm.validation.plan import CrossValidation


class Validated(NamedTuple):
    """What a cross-validation found."""

    table: pd.DataFrame
    """A row for each finished cell: arm, fold, seed, its scores on the fold, sizes and times; `folder/results.parquet`."""
    predictions: pd.DataFrame
    """A row for each sample, arm and seed, predicted by a model that had not seen it; `folder/predictions.parquet`."""
    failures: dict[str, str]
    """Cell -> why it failed."""

    @property
    def scores(self) -> list[str]:
        """Columns of the table that say how good an arm is."""
        return metrics(self.table)


def cross_validate(validation: CrossValidation, folder: Path, jobs: int = 1, flags: Iterable[str] = ()) -> Validated:
    """Runs what is not finished; a cell that was killed continues from its last checkpoint, one that is done is never repeated.

    `flags` go to every `qmm fit`. Raises InputError where a configuration, the number of folds or the group changed since the
    folder was begun, and where the cells do not report the metric.
    """
    flags = tuple(flags)
    folder.mkdir(parents=True, exist_ok=True)
    check_unchanged(validation.study, folder, (*flags, json.dumps(validation.overlay(0), sort_keys=True)))
    cells = validation.cells()
    with open_workers(jobs) as workers, tqdm(total=len(cells), desc=validation.study.name, unit="cell", smoothing=0) as bar:
        failures = run_cells(cells, folder, flags, workers, bar)
    table = results(cells, folder)
    if not len(table):
        return Validated(table, pd.DataFrame(), failures)
    table.insert(1, "fold", table.pop("choice").astype(int))
    predictions = _predictions(table)
    found = Validated(table.drop(columns="predictions"), predictions, failures)
    found.table.to_parquet(folder / "results.parquet")
    predictions.to_parquet(folder / "predictions.parquet")
    if validation.study.metric not in found.table:
        raise InputError(f"the cells report no {validation.study.metric!r}; set `--metric` to one of {', '.join(found.scores)}")
    return found


def _predictions(table: pd.DataFrame) -> pd.DataFrame:
    each = table.explode("predictions", ignore_index=True)
    plain = pd.DataFrame([{k: _text(v) for k, v in row.items()} for row in each["predictions"]])
    return pd.concat([each[["arm", "fold", "seed"]], plain], axis=1)


def _text(value: object) -> object:
    """A column of a table has one type: lists of sentences, say, become text."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)
