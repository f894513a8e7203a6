"""Gram matrices, block by block: every block of rows against every other, each pair once where the matrix is symmetric."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .samples import Block

Compare: TypeAlias = Callable[[Tensor, Block, Tensor, Block], Tensor]
Together: TypeAlias = Callable[[Sequence[Callable[[], Tensor]]], list[Tensor]]

_PATIENCE = 2.0  # seconds, after which a progress bar shows


class Side(NamedTuple):
    """The blocks of one side of the matrix, and what each is compared by, a row each (b, d): states, mostly."""

    blocks: Sequence[Block]
    represent: Callable[[Block], Tensor]

    def held(self) -> "Side":
        """The same, each block computed once and kept."""
        made: dict[int, Tensor] = {}

        def represent(block: Block) -> Tensor:
            if id(block) not in made:
                made[id(block)] = self.represent(block)
            return made[id(block)]

        return self._replace(represent=represent)

    def known(self, represented: Sequence[Tensor]) -> "Side":
        """The same, all blocks computed before."""
        made = {id(block): values for block, values in zip(self.blocks, represented, strict=True)}
        return self._replace(represent=lambda block: made[id(block)])


def gram_matrix(compare: Compare, first: Side, second: Side | None = None) -> Tensor:
    """K[i, j] = k(first[i], second[j]), or k(first[i], first[j]) without `second`: symmetric, each pair computed once.

    Sides that are not held compute each block again whenever it is needed, so that two are in memory at a time.

    Args:
        compare: What two blocks are compared by, and these -> (b, b').
    """
    pairs = list(_pairs(first, second))
    gram: Tensor | None = None
    current: tuple[Block, Tensor] | None = None
    for left, right in tqdm(pairs, desc="Gram matrix", unit="block", delay=_PATIENCE, disable=len(pairs) < 2):
        if current is None or current[0] is not left:
            current = None  # its memory goes before the next is made
            current = left, first.represent(left)
        other = current[1] if second is None and right is left else (second or first).represent(right)
        values = compare(current[1], left, other, right)
        gram = _place(gram, values, left, right, first, second)
    return _empty(first, second) if gram is None else gram


def gram_matrix_together(compare: Compare, together: Together, first: Side, second: Side | None = None) -> Tensor:
    """The same where circuits travel in jobs: `together` runs those of all blocks, then those of all pairs of blocks."""
    sides = [first] if second is None else [first, second]
    represented = iter(together([partial(side.represent, block) for side in sides for block in side.blocks]))
    sides = [side.known([next(represented) for _ in side.blocks]) for side in sides]
    pairs = list(_pairs(first, second))
    tasks = [partial(compare, sides[0].represent(a), a, sides[-1].represent(b), b) for a, b in pairs]
    gram: Tensor | None = None
    for (left, right), values in zip(pairs, together(tasks), strict=True):
        gram = _place(gram, values, left, right, first, second)
    return _empty(first, second) if gram is None else gram


def _place(gram: Tensor | None, values: Tensor, left: Block, right: Block, first: Side, second: Side | None) -> Tensor:
    """Puts the values of a pair of blocks into the matrix, which the first of them begins."""
    symmetric = second is None and right is left
    values = (values + values.mT) / 2 if symmetric else values  # matrix products round either half in its own way
    gram = values.new_zeros(_shape(first, second)) if gram is None else gram
    gram[left.rows[:, None], right.rows] = values
    if second is None and not symmetric:
        gram[right.rows[:, None], left.rows] = values.mT
    return gram


def _empty(first: Side, second: Side | None) -> Tensor:
    return torch.zeros(_shape(first, second))


def _shape(first: Side, second: Side | None) -> list[int]:
    return [sum(len(block.rows) for block in side.blocks) for side in (first, second or first)]


def _pairs(first: Side, second: Side | None) -> Iterator[tuple[Block, Block]]:
    for place, left in enumerate(first.blocks):
        yield from ((left, right) for right in (first.blocks[place:] if second is None else second.blocks))
