"""Sizes of the classical members that have as many parameters as a budget says."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, Protocol

from qmm.contracts import Budget

TOLERANCE = 0.05


class Sized(Protocol):
    """A class of fusions whose capacity a few whole numbers decide."""

    SIZES: ClassVar[tuple[str, ...]]
    LEAST: ClassVar[int]
    STEP: ClassVar[int]

    @classmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int: ...


class Match(NamedTuple):
    """Sizes of a member, and how many parameters it then has together with its decoder."""

    sizes: tuple[int, ...]
    """In the order of the member's `SIZES`."""
    parameters: int
    excess: float
    """parameters / budget - 1"""


def match(member: type[Sized], widths: Mapping[str, int], budget: Budget) -> dict[str, Match]:
    """Sizes with which the member and its decoder have as many parameters as the budget.

    {"": match}: of those within 5 % the most balanced (sizes nearest in ratio), and of equals the nearest. Where there is none,
    {"-below": nearest below, "-above": nearest above}, without "-below" if even the smallest is too large. The decoder must
    not shrink as the fused features grow.
    """
    target = budget.parameters
    low, high = math.ceil(target * (1 - TOLERANCE)), math.floor(target * (1 + TOLERANCE))
    found = [Match(sizes, n, n / target - 1) for sizes, n in _candidates(member, widths, budget, low, high)]
    near = [m for m in found if low <= m.parameters <= high]
    if near:
        return {"": min(near, key=lambda m: (_imbalance(m), abs(m.excess)))}
    below, above = ([m for m in found if m.parameters < low], [m for m in found if m.parameters > high])
    nearest = {
        "-below": min(below, key=lambda m: (-m.parameters, _imbalance(m)), default=None),
        "-above": min(above, key=lambda m: (m.parameters, _imbalance(m))),
    }
    return {name: m for name, m in nearest.items() if m is not None}


def _candidates(
    member: type[Sized], widths: Mapping[str, int], budget: Budget, low: int, high: int
) -> Iterator[tuple[tuple[int, ...], int]]:
    """For each width of the fused features that leaves room: the sizes around the budget, and the most balanced within it."""
    cheapest = math.inf  # above the budget
    for out in range(member.LEAST, max(high, member.LEAST) + member.STEP + 1, member.STEP):
        decoder = budget.decoder_parameters(out)

        def total(inner: int, out: int = out, decoder: int = decoder) -> int:
            return decoder + (member.count(widths, inner, out) if len(member.SIZES) == 2 else member.count(widths, out))

        if out > member.LEAST and total(1) > max(high, cheapest):
            return
        for inner in _inner(total, out, low, high) if len(member.SIZES) == 2 else [1]:
            parameters = total(inner)
            if parameters > high:
                cheapest = min(cheapest, parameters)
            yield ((inner, out) if len(member.SIZES) == 2 else (out,)), parameters


def _inner(total: Callable[[int], int], out: int, low: int, high: int) -> set[int]:
    """The inner sizes just below and above the budget; within it, the one nearest to `out`, and the nearest to the target."""
    sizes = range(1, high + 2)
    fewest, most = 1 + bisect_right(sizes, low - 1, key=total), bisect_right(sizes, high, key=total)
    middle = bisect_right(sizes, (low + high) // 2, key=total)
    wanted = {fewest - 1, most + 1}
    if fewest <= most:
        wanted |= {min(max(size, fewest), most) for size in (out, middle, middle + 1)}
    return {size for size in wanted if size >= 1}


def _imbalance(found: Match) -> float:
    return abs(math.log(found.sizes[0] / found.sizes[-1]))
