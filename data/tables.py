"""The rows of a manifest, as dictionaries, from JSONL, CSV or Parquet."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from qmm.errors import InputError


def read_rows(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """The rows of a manifest and their numbers, as `BadSample.row` counts them; "" in CSV and null become None."""
    if not path.is_file():
        raise InputError(f"no manifest {path}; give the path of a .jsonl, .csv or .parquet file")
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: a manifest is {', '.join(readers)}, not {path.suffix or 'a file without a suffix'!r}")
    rows, numbers = readers[path.suffix.lower()](path)
    if not rows:
        raise InputError(f"{path}: the manifest holds no row")
    return rows, numbers


def _read_jsonl(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    rows, numbers = [], []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}: row {number}: not a JSON object ({error}); write one object a line") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}: row {number}: expected a JSON object, got {type(row).__name__}; write one object a line")
        rows.append(row)
        numbers.append(number)
    return rows, numbers


def _read_csv(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not a CSV file with a header that can be read ({error})") from error
    rows = [{str(name): value or None for name, value in row.items()} for row in table.to_dict("records")]
    return rows, list(range(1, len(rows) + 1))


def _read_parquet(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a Parquet file that can be read ({error})") from error
    return rows, list(range(1, len(rows) + 1))


def number_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows that are in memory already, numbered from 1."""
    if not rows:
        raise InputError("`rows` is empty; give at least one row, such as {'image': 'photo.jpg'}")
    return [dict(row) for row in rows], list(range(1, len(rows) + 1))
