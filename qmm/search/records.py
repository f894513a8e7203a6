"""What was tried, on disk: a record of every point that was proposed, in order, whole at every moment."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from qmm.errors import InputError
from qmm.files import write_json
from qmm.search.proposers import Trial
from qmm.search.space import Point


class Record(NamedTuple):
    """A point that was proposed."""

    point: Point
    number: int | None = None
    """Of the trial, from 0; None for a point that was not run."""
    score: float | None = None
    """Mean of the metric over the trial's seeds; None while it runs, and where it failed."""
    failure: str = ""
    rejection: str = ""
    """Why it was not run."""
    costs: Mapping[str, int] = MappingProxyType({})
    """Of its circuits."""
    facts: Mapping[str, float] = MappingProxyType({})
    """`parameters` of fusion and decoder, `seconds` of training, summed over the seeds."""
    circuit: str = ""
    """`Examined.circuit`"""

    @property
    def planned(self) -> bool:
        """Whether it is to be run, or running."""
        return self.number is not None and self.score is None and not self.failure

    def trial(self, lowest: bool) -> Trial:
        """What a proposer is told; a loss, whatever is best."""
        loss = None if self.score is None else self.score if lowest else -self.score
        return Trial(self.point, loss, failed=bool(self.failure), rejected=bool(self.rejection))


class Records(NamedTuple):
    """The records of one arm, and their file."""

    path: Path
    rows: list[Record]

    @property
    def trials(self) -> list[Record]:
        """Those that were run, or are to be."""
        return [record for record in self.rows if record.number is not None]

    def best(self, lowest: bool) -> Record | None:
        """That with the best score, of equals the first."""
        scored = [record for record in self.rows if record.score is not None]
        return min(scored, key=lambda record: (1 if lowest else -1) * (record.score or 0.0), default=None)

    def save(self, fingerprint: str) -> None:
        write_json(self.path, {"fingerprint": fingerprint, "rows": [_as_json(record) for record in self.rows]})

    def rejected(self) -> int:
        return sum(bool(record.rejection) for record in self.rows)


def _as_json(record: Record) -> dict[str, Any]:
    return {**record._asdict(), "costs": dict(record.costs), "facts": dict(record.facts)}


def load_records(path: Path, fingerprint: str) -> Records:
    """What is in the file, nothing where there is none. Raises InputError where it is of another search."""
    if not path.is_file():
        return Records(path, [])
    found: dict[str, Any] = json.loads(path.read_text())
    if found["fingerprint"] != fingerprint:
        raise InputError(
            f"what is searched changed since trials of {path.parent} ran: configuration, space, budget, method, seed or flags; "
            "give another --folder, or delete that one to run everything again"
        )
    return Records(path, [Record(**{**row, "point": tuple(row["point"])}) for row in found["rows"]])


def mean_score(scores: list[float]) -> float:
    """NaN where one is not finite: such a training failed."""
    return math.fsum(scores) / len(scores) if all(map(math.isfinite, scores)) else math.nan
