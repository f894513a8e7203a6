"""Concatenation and an MLP, and the MLPs of single modalities averaged."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._base import ClassicalFusion, averaged, biased, by_modality, flags, shown


class ConcatFusion(ClassicalFusion):
    """Early fusion (arXiv:1705.09406): the present modalities' angles side by side, then two linear layers, GELU behind each.

    The first layer has a bias for each modality instead of one for all, so that a missing modality and one whose angles are
    0 differ: absent, it adds exactly nothing. With one modality this is an ordinary MLP.

    Args:
        hidden: Width between the two layers.
        out: Width of the fused features.
    """

    reference = "arXiv:1705.09406"
    NAME = "concat"
    SIZES = ("hidden", "out")

    def __init__(self, hidden: int = 8, out: int = 8):
        super().__init__(hidden, out)

    @classmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int:
        hidden, out = sizes
        return (sum(widths.values()) + len(widths)) * hidden + (hidden + 1) * out

    def _make(self) -> None:
        n_inputs = sum(self.widths.values()) + len(self.widths)  # the flags carry the biases
        self.first = nn.Linear(n_inputs, self.sizes["hidden"], bias=False)
        self.second = nn.Linear(self.sizes["hidden"], self.out_features)

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, out)"""
        values = shown(angles, present, self.modalities)
        joined = torch.cat([*values, flags(present, self.modalities, values[0])], dim=1)
        return F.gelu(self.second(F.gelu(self.first(joined))))


class LateFusion(ClassicalFusion):
    """Late fusion (arXiv:1705.09406): each modality's own MLP, (k -> hidden -> out) with GELU between, averaged over those that
    are present. Modalities never meet before a linear decoder, which makes this the average of their decisions.

    Args:
        hidden: Width between the two layers of each.
        out: Width of the fused features.
    """

    reference = "arXiv:1705.09406"
    NAME = "late"
    SIZES = ("hidden", "out")

    def __init__(self, hidden: int = 8, out: int = 8):
        super().__init__(hidden, out)

    @classmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int:
        hidden, out = sizes
        return sum((k + 1) * hidden + (hidden + 1) * out for k in widths.values())

    def _make(self) -> None:
        hidden, out = self.sizes["hidden"], self.out_features
        self.branches = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(k, hidden), nn.GELU(), nn.Linear(hidden, out)) for m, k in self.widths.items()}
        )

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, out)"""
        values = shown(angles, present, self.modalities)
        told = torch.stack([self.branches[m](x) for m, x in zip(self.modalities, values, strict=True)], dim=1)
        return averaged(told, flags(present, self.modalities, told))


class GatedFusion(ClassicalFusion):
    """Gated multimodal units (arXiv:1702.01992): sum_m z_m * tanh(W_m [x_m, 1]).

    The gate z_m = sigmoid(sum_n V_mn [x_n, 1]) looks at all modalities. As in the paper's unit for many modalities, each has a
    gate of its own; an absent one adds nothing to any gate.

    Args:
        out: Width of the fused features.
    """

    reference = "arXiv:1702.01992"
    NAME = "gated"
    SIZES = ("out",)

    def __init__(self, out: int = 8):
        super().__init__(out)

    @classmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int:
        inputs = sum(widths.values()) + len(widths)
        return (inputs + len(widths) * inputs) * sizes[0]

    def _make(self) -> None:
        self.values = by_modality(self.widths, self.out_features)
        self.gates = by_modality(self.widths, len(self.widths), self.out_features)
        with torch.no_grad():
            for weight, k in zip(self.gates.values(), self.widths.values(), strict=True):
                weight.mul_(math.sqrt(k / sum(self.widths.values())))  # a gate sums over all of them

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, out)"""
        inputs = dict(zip(self.modalities, biased(angles, present, self.modalities), strict=True))
        values = torch.stack([torch.tanh(x @ self.values[m]) for m, x in inputs.items()], dim=1)
        looked = torch.stack([torch.einsum("bk,kmf->bmf", x, self.gates[m]) for m, x in inputs.items()])
        return (torch.sigmoid(looked.sum(0)) * values).sum(1)  # tanh(0) = 0 where a modality is absent
