"""ConcatFusion: concatenation and an MLP, the classical counterpart, sized to a number of parameters."""

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qmm.contracts import Budget, Fusion
from qmm.errors import InputError

_TOLERANCE = 0.05


class ConcatFusion(Fusion):
    """The present modalities' angles side by side, then two linear layers with GELU behind each.

    The first layer has a bias for each modality instead of one for all, so that a missing modality and one whose angles are
    0 differ: absent, it adds exactly nothing. With one modality this is an ordinary MLP.

    Args:
        hidden: Width between the two layers.
        out: Width of the fused features.
    """

    def __init__(self, hidden: int, out: int):
        super().__init__()
        if hidden < 1 or out < 1:
            raise InputError(f"hidden={hidden}, out={out}; both must be at least 1")
        self.hidden, self.out_features = hidden, out

    def build(self, widths: Mapping[str, int]) -> None:
        self.modalities = tuple(widths)
        self.first = nn.Linear(sum(widths.values()) + len(widths), self.hidden, bias=False)  # the flags carry the biases
        self.second = nn.Linear(self.hidden, self.out_features)

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, out)"""
        flags = torch.stack([present[m] for m in self.modalities], dim=1)
        shown = [angles[m].masked_fill(~present[m].unsqueeze(1), 0.0) for m in self.modalities]
        joined = torch.cat([*shown, flags.to(shown[0].dtype)], dim=1)
        return F.gelu(self.second(F.gelu(self.first(joined))))


class Match(NamedTuple):
    """A size of ConcatFusion, and how many parameters it has together with its decoder."""

    hidden: int
    out: int
    parameters: int


def concat_counterparts(widths: Mapping[str, int], budget: Budget) -> dict[str, ConcatFusion]:
    """ConcatFusions of the sizes of `match_mlp`, named "concat", or "concat-below" and "concat-above"."""
    matches = match_mlp(sum(widths.values()) + len(widths), budget)
    return {"concat" + name: ConcatFusion(match.hidden, match.out) for name, match in matches.items()}


def match_mlp(n_inputs: int, budget: Budget) -> dict[str, Match]:
    """Sizes of `Linear(n_inputs, hidden, bias=False)` and `Linear(hidden, out)` that, with their decoder, fit the budget.

    {"": match}: of those within 5 % the most balanced (hidden and out nearest in ratio), and of equals the nearest. Where
    there is none, {"-below": nearest below, "-above": nearest above}, without "-below" if even the smallest is too large.
    The decoder must not shrink as `out` grows.
    """
    target = budget.parameters
    low, high = math.ceil(target * (1 - _TOLERANCE)), math.floor(target * (1 + _TOLERANCE))
    near: list[Match] = []
    below: list[Match] = []
    above: list[Match] = []
    cheapest = math.inf  # above
    for out in itertools.count(1):
        fixed, each = out + budget.decoder_parameters(out), n_inputs + out  # parameters: fixed + hidden * each
        if fixed + each > max(high, cheapest):
            break

        def sized(hidden: int, out: int = out, fixed: int = fixed, each: int = each) -> Match:
            return Match(hidden, out, fixed + hidden * each)

        fewest, most = max(1, -((low - fixed) // -each)), (high - fixed) // each
        if fewest <= most:
            near.append(sized(min(max(out, fewest), most)))
        if (under := (target - fixed) // each) >= 1:
            below.append(sized(under))
        above.append(sized(max(1, -((target - fixed) // -each))))
        cheapest = min(cheapest, above[-1].parameters)
    if near:
        return {"": min(near, key=lambda m: (_imbalance(m), abs(m.parameters - target)))}
    nearest = {
        "-below": min(below, key=lambda m: (-m.parameters, _imbalance(m)), default=None),
        "-above": min(above, key=lambda m: (m.parameters, _imbalance(m))),
    }
    return {name: match for name, match in nearest.items() if match is not None}


def _imbalance(match: Match) -> float:
    return abs(math.log(match.hidden / match.out))
