"""MixedReport: what a run's folder says of several answers to one sample."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from qmm.decoders.mixed import MixedDecoder
from qmm.training.reports import Report, report_for
from qmm.types import Batch, rows_of

_NULLABLE = {"int64": "Int64", "bool": "boolean"}
"""What integers and truth values become beside gaps; without it, they would be numbers with a point, and objects."""


class MixedReport(Report):
    """Every part's columns, headed by its name (`label.prediction`), empty where a sample lacks its target; also its pictures.

    Right is a sample whose answers are all right; `error` is the mean of theirs.
    """

    decoder: MixedDecoder

    def __init__(self, decoder: MixedDecoder, data: Any = None):
        super().__init__(decoder)
        self.parts = {name: report_for(part, data) for name, part in decoder.parts.items()}

    def rows(self, batch: Batch, scores: Any) -> pd.DataFrame:
        table = pd.DataFrame({"id": batch.ids})
        for name, part in self.parts.items():
            where = self.decoder.having(name, batch.targets).cpu()
            if where.any():
                rest = {field: rows_of(getattr(batch, field), where) for field in ("targets", "ids", "prompts")}
                own = part.rows(batch._replace(inputs={}, present={}, **rest), rows_of(scores[name], where))
                table = _beside(table, own.set_index(where.nonzero().squeeze(1).numpy()), name)
        return table

    def finish(self, table: pd.DataFrame) -> pd.DataFrame:
        whole = table[["id"]]
        for name, part in self.parts.items():
            own = _own(table, name)
            if len(own):
                whole = _beside(whole, part.finish(own), name)
        there = [name for name in self.parts if f"{name}.right" in whole]
        columns: dict[str, Any] = {
            "target": _joined(whole, there, "target"),
            "prediction": _joined(whole, there, "prediction"),
            "error": whole[[f"{name}.error" for name in there]].mean(axis=1),
            "right": whole[[f"{name}.right" for name in there]].fillna(True).all(axis=1).astype(bool),
            "summary": _joined(whole, there, "summary", "\n"),
        }
        return whole.assign(**columns)

    def pictures(self, table: pd.DataFrame) -> Mapping[str, Figure]:
        tables = {name: _own(table, name) for name in self.parts}
        return {
            f"{name}_{file}": picture
            for name, own in tables.items()
            if len(own)
            for file, picture in self.parts[name].pictures(own).items()
        }

    def lines(self, table: pd.DataFrame) -> list[str]:
        return [line for name, part in self.parts.items() for line in part.lines(_own(table, name))]


@report_for.register
def _(decoder: MixedDecoder, data: Any = None) -> Report:
    return MixedReport(decoder, data)


def _beside(table: pd.DataFrame, own: pd.DataFrame, name: str) -> pd.DataFrame:
    own = own.drop(columns="id").astype({c: _NULLABLE[str(t)] for c, t in own.dtypes.items() if str(t) in _NULLABLE})
    return table.join(own.add_prefix(f"{name}."))


def _own(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The columns of a part, of the rows that have its target, as the part's own report made them."""
    columns = {column: column.removeprefix(f"{name}.") for column in table.columns if column.startswith(f"{name}.")}
    if not columns:
        return table[:0]
    own = table[["id", *columns]].rename(columns=columns)
    own = own[own["target"].notna()]
    plain = {nullable: dtype for dtype, nullable in _NULLABLE.items()}
    return own.astype({c: plain[str(t)] for c, t in own.dtypes.items() if str(t) in plain})


def _joined(table: pd.DataFrame, names: list[str], column: str, between: str = "; ") -> list[str]:
    rows = zip(*(table[f"{name}.{column}"] for name in names), strict=True)
    return [between.join(f"{n}: {_text(v)}" for n, v in zip(names, row, strict=True) if not _is_gap(v)) for row in rows]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_gap(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
