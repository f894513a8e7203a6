"""What the check has to say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Severity = Literal["fault", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("fault", "warning", "note")


class Finding(NamedTuple):
    """One kind of thing that was found."""

    severity: Severity
    """fault: results on this set mislead. warning: look at it. note: good to know."""
    kind: str
    """missing, damaged, blank, duplicate, near-duplicate, contradiction, group leak, balance, presence, constant."""
    message: str
    """How many, where, and what to do."""
    number: int
    """Of rows, pairs, groups or classes; the message says which."""
    modality: str | None = None
    examples: Sequence[Mapping[str, Any]] = ()
    """At most 100, the worst first."""


class Rows(NamedTuple):
    """The samples that are checked."""

    splits: dict[str, NDArray[np.int64]]
    """By split, indices into the rest."""
    split_of: dict[int, str]
    """The same, by row."""
    ids: Sequence[str]
    labels: NDArray[Any] | None
    """(N,) class indices, -1 for none; or values, NaN for none."""
    classes: Sequence[str] | None
    """None where labels are values, or where there are none."""
    groups: Sequence[str] | None
    """By row, "" for none; None where the data says nothing of groups."""
    present: dict[str, NDArray[np.bool_]]
    """By modality, (N,)."""
    prompts: Sequence[str] | None

    def scored(self) -> list[str]:
        """The splits that are trained or scored on: what they share, leaks."""
        return [split for split in self.splits if split != "predict"]


def many(count: int, what: str) -> str:
    """ "1 pair", "2 pairs"; "2 classes", and "2 samples of x" of "sample of x"."""
    first, space, rest = what.partition(" ")
    ending = "" if count == 1 else "es" if first.endswith("s") else "s"
    return f"{count:,} {first}{ending}{space}{rest}"


def shown(examples: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first hundred."""
    return [example for example, _ in zip(examples, range(100), strict=False)]
