"""What a report is made of."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure


class Table(NamedTuple):
    """As it is shown; the first column heads each row."""

    key: str
    """Part of file names and anchors."""
    caption: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: pd.DataFrame | None = None
    """What is written as CSV; None for the shown rows."""
    note: str = ""

    @property
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=list(self.columns)) if self.numbers is None else self.numbers


class Picture(NamedTuple):
    """A plot, and what it says to who does not see it."""

    key: str
    title: str
    description: str
    figure: Figure
    is_wide: bool = False
    """Wider than a phone, on light paper of its own: a circuit."""


class Bitmap(NamedTuple):
    """A picture that is there already."""

    key: str
    title: str
    description: str
    png: bytes


class Detail(NamedTuple):
    """A long text, folded away."""

    summary: str
    text: str


class Verdict(NamedTuple):
    """What became of one comparison."""

    mark: str
    """A sign that goes with the word, so that colour is not needed."""
    word: str
    sentence: str


class Section(NamedTuple):
    key: str
    heading: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    more_tables: Sequence[Table] = ()
    """Folded away, as `more_pictures` are."""
    more_pictures: Sequence[Picture] = ()
    bitmaps: Sequence[Bitmap] = ()
    details: Sequence[Detail] = ()


class Page(NamedTuple):
    title: str
    question: str
    facts: Sequence[tuple[str, str]]
    cautions: Sequence[str]
    answer: str
    """All verdicts in a sentence."""
    verdicts: Sequence[Verdict]
    more_verdicts: Sequence[Verdict]
    """Folded away."""
    more: str
    """What these are."""
    sections: Sequence[Section]
    command: str


def mean_and_spread(values: pd.Series) -> str:
    """`0.812 ± 0.013`; without a spread where there is one value."""
    values = values.dropna()
    if not len(values):
        return "–"
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")


def signed(value: float) -> str:
    return f"{value:+.3f}" if pd.notna(value) else "–"


def joined(names: Sequence[str], last: str = "and") -> str:
    """a, b and c"""
    return f" {last} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
