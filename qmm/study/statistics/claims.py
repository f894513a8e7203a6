"""What a study's table says of each pair of arms that it compares."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from qmm.study.statistics.bootstrap import Interval, sample_interval
from qmm.study.statistics.comparing import Comparison, holm, paired_difference


class Claim(NamedTuple):
    first: str
    other: str
    seeds: Comparison
    """Over seeds; p values adjusted for all claims of the table."""
    samples: Interval | None
    """Over seeds and samples, where predictions tell it."""
    size: int | None = None
    """Of the training part that both were trained on; None where the table has not several sizes."""

    @property
    def verdict(self) -> str:
        return self.seeds.verdict

    def in_words(self) -> str:
        said = self.seeds.in_words(self.first, self.other)
        at = "" if self.size is None else f"With {'all' if self.size < 0 else f'{self.size:,}'} training samples: "
        if self.samples is None or self.verdict not in ("higher", "lower") or not self.samples.low <= 0 <= self.samples.high:
            return at + said
        return (
            f"{at}{said} Other samples might tell otherwise: the interval over seeds and samples, {self.samples.low:+.3f} to "
            f"{self.samples.high:+.3f}, has 0 in it."
        )


def claims(
    table: pd.DataFrame, arms: Sequence[str], metric: str, pairs: Sequence[tuple[str, str]] | None = None, overlap: float = 0.0
) -> list[Claim]:
    """The first arm against each other one, or the `pairs` given, over the seeds that both have; size by size where the table
    has several. `overlap` as in `paired_difference`.

    Pairs without a seed in common are left out.
    """
    compared = [(arms[0], other) for other in arms[1:]] if pairs is None else pairs
    sizes: list[Any] = sorted(table.get("size", pd.Series()).unique(), key=lambda n: (n < 0, n))
    if len(sizes) < 2:
        sizes = [None]
    found: list[Claim] = []
    for size in sizes:
        part = table if size is None else table[table["size"] == size]
        wide = part.pivot(index="seed", columns="arm", values=metric)
        for first, other in compared:
            if {first, other} <= set(wide) and len(both := wide[[first, other]].dropna()):
                paired = paired_difference(both[first].tolist(), both[other].tolist(), overlap=overlap)
                kept = part[part["seed"].isin(both.index)]
                samples = sample_interval(kept, first, other, metric)
                found.append(Claim(first, other, paired, samples, None if size is None else int(size)))
    adjusted = holm([claim.seeds for claim in found])
    return [claim._replace(seeds=seeds) for claim, seeds in zip(found, adjusted, strict=True)]
