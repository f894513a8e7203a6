"""VectorsSource: feature-level data, one vector a modality and row, from .npz (never unpickled) or Parquet."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from qmm.errors import InputError

from .source import Source, check_splits, near, parse_value, sort_classes
from .splits import make_groups, split_rows


class VectorsSource(Source):
    """Rows of arrays; `VectorsDataModule` explains the arguments."""

    def __init__(
        self,
        path: str,
        columns: Mapping[str, str],
        label: str | None = "label",
        split: str | Mapping[str, float] | None = "split",
        id: str | None = None,
        group: str | None = None,
        group_pattern: str | None = None,
        classes: Sequence[str] | None = None,
        regression: bool = False,
        split_seed: int = 0,
    ):
        self.name, self.bad = path, []
        table = _read_npz(Path(path)) if path.endswith(".npz") else _read_parquet(Path(path), columns)
        named = {"label": label, "split": split if isinstance(split, str) else None, "id": id, "group": group}
        for key in [*columns.values(), *named.values()]:
            if key is not None and key not in table:
                raise InputError(f"{path}: no key {key!r}; {near(key, table)}")
        if not columns:
            raise InputError("`columns` is empty; map names to keys, such as {text: text, vision: video}")
        self._vectors, self.present = {}, {}
        for modality, key in columns.items():
            self._vectors[modality], self.present[modality] = _check_vectors(path, key, table[key])
        count = len(next(iter(self._vectors.values())))
        for key in [*columns.values(), *filter(None, named.values())]:
            if len(table[key]) != count:
                raise InputError(f"{path}: {key!r} has {len(table[key])} rows, {next(iter(columns.values()))!r} has {count}")
        self.ids = [str(value) for value in table[id]] if id else [str(row) for row in range(count)]
        if len(set(self.ids)) < count:
            raise InputError(f"{path}: {id!r} names two rows alike; ids must differ")
        if not np.any(list(self.present.values()), axis=0).all():
            row = int(np.argmin(np.any(list(self.present.values()), axis=0))) + 1
            raise InputError(f"{path}: row {row} has none of its modalities; remove it")
        if group is not None:
            self.groups = make_groups([str(value) for value in table[group]], group_pattern, path)
        labels = self._read_labels(table[label], classes, regression) if label else None
        self.splits = self._split(split, table, labels, regression, count, split_seed)
        self._set_targets(labels, classes, regression)

    def raw(self, modality: str, row: int) -> Tensor:
        return torch.from_numpy(self._vectors[modality][row].copy())

    def key(self, modality: str, row: int) -> str:
        return hashlib.sha256(self._vectors[modality][row].tobytes()).hexdigest()

    def _read_labels(self, values: Any, classes: Sequence[str] | None, regression: bool) -> list[Any]:
        """A number or a class name by row; whole numbers are places in `classes` where those are given."""
        labels: list[Any] = []
        for row, value in enumerate(values.tolist() if isinstance(values, np.ndarray) else values):
            try:
                if regression:
                    labels.append(parse_value(value))
                elif classes is not None and isinstance(value, int):
                    labels.append(_pick(classes, value))
                elif value is None or isinstance(value, float):
                    raise ValueError(f"expected a class, got {value!r}; for numbers set `regression: true`")
                else:
                    labels.append(str(value))
            except ValueError as error:
                raise InputError(f"{self.name}: row {row + 1}, label: {error}") from None
        return labels

    def _split(
        self,
        split: str | Mapping[str, float] | None,
        table: Mapping[str, Any],
        labels: list[Any] | None,
        regression: bool,
        count: int,
        seed: int,
    ) -> dict[str, np.ndarray]:
        if split is None:
            return {"predict": np.arange(count)}
        if isinstance(split, str):
            return check_splits([str(value) for value in table[split]], self.name)
        return split_rows(split, None if regression or labels is None else np.array(labels), self.groups, count, seed)

    def _set_targets(self, labels: list[Any] | None, classes: Sequence[str] | None, regression: bool) -> None:
        self.classes, self.targets = None, {}
        if labels is None:
            if set(self.splits) != {"predict"}:
                raise InputError(f"{self.name}: `label` is null; name the key of the labels, or set `split` to null to predict")
            self.classes = list(classes) if classes else None
        elif regression:
            self.targets["label"] = np.array(labels, dtype=np.float32)
        else:
            train = self.splits.get("train", np.arange(len(labels)))
            self.classes = list(classes) if classes else sort_classes([labels[row] for row in train])
            known = {name: index for index, name in enumerate(self.classes)}
            origin = "`classes`" if classes else "the training split"
            for row, name in enumerate(labels):
                if name not in known:
                    missing = f"unknown label {name!r}, which {origin} lacks; {near(name, known)}"
                    raise InputError(f"{self.name}: row {row + 1}: {missing}")
            self.targets["label"] = np.array([known[name] for name in labels], dtype=np.int64)


def _pick(classes: Sequence[str], index: int) -> str:
    if not 0 <= index < len(classes):
        raise ValueError(f"{index} is no place in `classes`, {list(classes)}; expected 0 to {len(classes) - 1}")
    return classes[index]


def _check_vectors(path: str, key: str, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) float32 and which rows are there (N,); a null of Parquet is a missing modality, NaN is a mistake."""
    rows = list(values) if not isinstance(values, np.ndarray) else values
    present = np.array([value is not None for value in rows], dtype=bool)
    if not present.any():
        raise InputError(f"{path}: {key!r} holds no vector at all")
    if not present.all():
        width = len(rows[int(np.argmax(present))])
        rows = [np.zeros(width, dtype=np.float32) if value is None else value for value in rows]
    try:
        array = np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {key!r} is not made of vectors of one length ({error})") from error
    if array.ndim != 2:
        raise InputError(f"{path}: {key!r} has shape {array.shape}, expected (rows, width): one vector a row")
    broken = np.flatnonzero(~np.isfinite(array).all(axis=1)) + 1
    if len(broken):
        listed = ", ".join(map(str, broken[:10])) + (f" and {len(broken) - 10} more" if len(broken) > 10 else "")
        raise InputError(f"{path}: {key!r} holds NaN or infinite numbers in row {listed} (counted from 1); remove or fill them")
    return array, present


def _read_npz(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"no file {path}; give the path of a .npz or .parquet file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: _load_array(archive, path, key) for key in archive.files}
    except (OSError, BadZipFile, EOFError) as error:
        raise InputError(f"{path}: not a .npz file that can be read ({error}); it may be truncated") from error


def _load_array(archive: Any, path: Path, key: str) -> np.ndarray:
    try:
        return archive[key]
    except ValueError as error:
        raise InputError(f"{path}: {key!r} is pickled, and never opened; save numbers or strings ({error})") from error


def _read_parquet(path: Path, columns: Mapping[str, str]) -> dict[str, Any]:
    """Columns by name; where a modality's key is none, the numbered columns that start with it: `key0`, `key_1` ..."""
    if not path.is_file():
        raise InputError(f"no file {path}; give the path of a .npz or .parquet file")
    try:
        arrow = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a .npz or Parquet file that can be read ({error})") from error
    table: dict[str, Any] = {}
    for name in arrow.column_names:
        column = arrow.column(name)
        plain = not pa.types.is_nested(column.type) and not column.null_count
        table[name] = np.array(column.to_pylist()) if plain else column.to_pylist()
    for key in columns.values():
        numbered = [name for name in arrow.column_names if re.fullmatch(re.escape(key) + r"_?\d+", name)]
        if key not in table and numbered:
            numbered.sort(key=lambda name: int(re.findall(r"\d+", name)[-1]))
            table[key] = np.stack([arrow.column(name).to_numpy() for name in numbered], axis=1)
    return table
