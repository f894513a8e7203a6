"""Gram matrices, block by block: every block of rows against every other, each pair once where the matrix is symmetric."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .samples import Block

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


def gram_matrix(compare: Callable[[Tensor, Block, Tensor, Block], Tensor], first: Side, second: Side | None = None) -> Tensor:
    """K[i, j] = k(first[i], second[j]), or k(first[i], first[j]) without `second`: symmetric, each pair computed once.

    Sides that are not held compute each block again whenever it is needed, so that two are in memory at a time.

    Args:
        compare: What two blocks are compared by, and these -> (b, b').
    """
    pairs = list(_pairs(first, second))
    shape = [sum(len(block.rows) for block in side.blocks) for side in (first, second or first)]
    gram: Tensor | None = None
    current: tuple[Block, Tensor] | None = None
    for left, right in tqdm(pairs, desc="Gram matrix", unit="block", delay=_PATIENCE, disable=len(pairs) < 2):
        if current is None or current[0] is not left:
            current = None  # its memory goes before the next is made
            current = left, first.represent(left)
        same = second is None and right is left
        other = current[1] if same else (second or first).represent(right)
        values = compare(current[1], left, other, right)
        values = (values + values.mT) / 2 if same else values  # matrix products round either half in its own way
        gram = values.new_zeros(shape) if gram is None else gram
        gram[left.rows[:, None], right.rows] = values
        if second is None and not same:
            gram[right.rows[:, None], left.rows] = values.mT
    return torch.zeros(shape) if gram is None else gram


def _pairs(first: Side, second: Side | None) -> Iterator[tuple[Block, Block]]:
    for place, left in enumerate(first.blocks):
        yield from ((left, right) for right in (first.blocks[place:] if second is None else second.blocks))
