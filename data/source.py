"""Source: the rows of a data set, whatever it is stored in. What is wrong with a row is a `BadSample`."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from qmm.errors import InputError

SPLITS = ("train", "val", "test", "predict")


class BadSample(NamedTuple):
    """A row that cannot be used."""

    row: int
    """1-based: the line of JSONL, the data row of CSV and Parquet (the header not counted), the row of an array."""
    field: str
    file: str
    """The file at fault: a picture, a sound, or the manifest itself."""
    reason: str
    """What is wrong, what was expected, what to do."""

    def __str__(self) -> str:
        return f"{self.file}: row {self.row}, field {self.field!r}: {self.reason}"


class Source(ABC):
    """Rows of every split. N rows; a row keeps its index whatever is dropped or skipped."""

    ids: list[str]
    """A name for each row."""
    splits: dict[str, np.ndarray]
    """Split name -> its rows, int64, ascending."""
    present: dict[str, np.ndarray]
    """Modality -> (N,) bool; its keys are the modalities of the set."""
    classes: list[str] | None
    """None for regression, and where there are no labels."""
    targets: dict[str, np.ndarray]
    """Name -> (N,): class indices int64 or values float32; rows without one, as in the split "predict", hold -1 or NaN."""
    references: list[list[str]] | None = None
    """By row, the sentences that say what it is, none in the split "predict"; None where the set has no sentences."""
    facts: list[dict[str, str]] | None = None
    """By row, fact -> value: what a sentence about it should name; a fact that is not known is left out."""
    words: dict[str, dict[str, list[str]]] | None = None
    """Fact -> value -> the words and phrases that name it."""
    prompts: list[str] | None = None
    """By row, the question or instruction that its sentence answers, "" for none."""
    bound: frozenset[str] = frozenset()
    """Modalities that belong to a row's answer, as its question does: their contents are never exchanged within a class."""
    groups: list[str] | None = None
    """What must not be torn apart by a split, by row: a speaker, a recording."""
    bad: list[BadSample]
    """Rows in no split, since something is wrong with them; only where the caller asked to skip such rows."""

    @abstractmethod
    def raw(self, modality: str, row: int) -> Any:
        """A picture (3, H, W) in [0, 1], a `Sound`, a str or a vector (D,). Raises InputError when it cannot be read."""

    @abstractmethod
    def key(self, modality: str, row: int) -> str:
        """Equal for equal content, and only then."""

    def verify(self, rows: Sequence[int], modalities: Sequence[str], thorough: bool) -> dict[int, BadSample]:
        """Row -> what is wrong with it, for rows whose content cannot be read; decode everything if `thorough`."""
        return {}


def near(wanted: str, offered: Collection[str]) -> str:
    """The names offered, and the one that was probably meant."""
    close = difflib.get_close_matches(wanted, list(offered), n=1)
    listed = ", ".join(map(str, list(offered)[:30])) or "none"
    return f"there are: {listed}" + (f"; did you mean {close[0]!r}?" if close else "")


def sort_classes(labels: Collection[str]) -> list[str]:
    """Alphabetical; by value where all are whole numbers."""
    unique = set(labels)
    return sorted(unique, key=int) if all(label.removeprefix("-").isdecimal() for label in unique) else sorted(unique)


def parse_value(value: Any) -> float:
    """A finite number, for regression; raises ValueError with a reason."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a number to regress on, got {value!r}; for class names set `regression: false`") from None
    if not np.isfinite(number):
        raise ValueError(f"expected a finite number, got {value!r}; give one, or remove the row")
    return number


def check_splits(names: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """Split name by row -> rows by split name. Raises InputError for a name that is not a split's."""
    for row, name in enumerate(names):
        if name not in SPLITS:
            raise InputError(f"{where}: row {row + 1}: unknown split {name!r}, expected one of {', '.join(SPLITS)}; rename it")
    array = np.array(names, dtype=object)
    return {split: np.flatnonzero(array == split) for split in SPLITS if split in set(names)}
