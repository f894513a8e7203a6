"""What the classical members share: sizes that decide their capacity, and what an absent modality means."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qmm.contracts import Budget, Fusion
from qmm.errors import InputError

from .matching import match


class ClassicalFusion(Fusion):
    """Angles by modality -> (B, F), without a circuit.

    An absent modality has no influence: what belongs to it alone is left out of sums and averages, and is the neutral 1 in
    products. Its weights then get no gradient. A row in which nothing is present gets what is left then, a constant.

    Raises InputError for sizes below those that the member can work with.
    """

    NAME: ClassVar[str]
    """As a counterpart."""
    SIZES: ClassVar[tuple[str, ...]]
    """The constructor's arguments that decide the capacity; the last one is the width of the fused features."""
    LEAST: ClassVar[int] = 1
    """What that width is at least."""
    STEP: ClassVar[int] = 1
    """What that width is a multiple of."""
    reference: str = ""

    def __init__(self, *sizes: int):
        super().__init__()
        self.sizes = dict(zip(self.SIZES, sizes, strict=True))
        if min(sizes) < 1 or sizes[-1] < self.LEAST:
            given = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
            last = f", {self.SIZES[-1]} at least {self.LEAST}" if self.LEAST > 1 else ""
            raise InputError(f"{type(self).__name__}: {given}; sizes are at least 1{last}")
        self.out_features = sizes[-1]

    @classmethod
    @abstractmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int:
        """How many parameters `build(widths)` makes, for sizes in the order of `SIZES`; grows with each of them."""

    def build(self, widths: Mapping[str, int]) -> None:
        self.widths, self.modalities = dict(widths), tuple(widths)
        self._make()

    @abstractmethod
    def _make(self) -> None:
        """The parameters, for `self.widths`."""

    def counterparts(self, budget: Budget) -> dict[str, Fusion]:
        """The classical members of the same capacity."""
        return classical_counterparts(self.widths, budget)


def classical_counterparts(widths: Mapping[str, int], budget: Budget) -> dict[str, Fusion]:
    """Every subclass of ClassicalFusion, not yet built, in the sizes of `match`: "concat" within 5 % of the budget, or
    "concat-below" and "concat-above"."""
    return {
        member.NAME + suffix: member(*found.sizes)
        for member in ClassicalFusion.__subclasses__()
        for suffix, found in match(member, widths, budget).items()
    }


def shown(angles: Mapping[str, Tensor], present: Mapping[str, Tensor], modalities: tuple[str, ...]) -> list[Tensor]:
    """(B, k) of each modality, 0 where it is absent, whatever stands there."""
    return [angles[m].masked_fill(~present[m].unsqueeze(1), 0.0) for m in modalities]


def flags(present: Mapping[str, Tensor], modalities: tuple[str, ...], like: Tensor) -> Tensor:
    """(B, M): 1 where a modality is present, else 0."""
    return torch.stack([present[m] for m in modalities], dim=1).to(like.dtype)


def biased(angles: Mapping[str, Tensor], present: Mapping[str, Tensor], modalities: tuple[str, ...]) -> list[Tensor]:
    """(B, k + 1) of each modality: its angles and a 1; all 0 where it is absent."""
    values = shown(angles, present, modalities)
    return [F.pad(x, (0, 1), value=1.0) * present[m].unsqueeze(1) for m, x in zip(modalities, values, strict=True)]


def averaged(values: Tensor, here: Tensor) -> Tensor:
    """(B, N, F) and (B, N) of 1 and 0 -> (B, F): the mean of those that are there; 0 where none is."""
    return (values * here.unsqueeze(2)).sum(1) / here.sum(1, keepdim=True).clamp(min=1)


def by_modality(widths: Mapping[str, int], *shape: int) -> Mapping[str, nn.Parameter]:
    """For each modality (k + 1, *shape), the weights of `biased`, drawn as `nn.Linear` draws them."""
    drawn = {m: nn.Parameter(torch.empty(k + 1, *shape).uniform_(-1, 1) / k**0.5) for m, k in widths.items()}
    return nn.ParameterDict(drawn)  # type: ignore[return-value]
