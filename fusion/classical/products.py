"""Fusions by products of the modalities' features: outer product, its low-rank forms, bilinear forms."""

import math
from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._base import ClassicalFusion, biased, by_modality, shown

_TINY = 1e-6  # keeps the root's slope finite where a product is 0


class TensorFusion(ClassicalFusion):
    """Tensor fusion (arXiv:1707.07250): the outer product of all [x_m, 1], a linear layer, GELU. An absent modality is [0, 1].

    Its parameters grow with the product of the widths, so that it can often not be made as small as the others.

    Args:
        out: Width of the fused features.
    """

    reference = "arXiv:1707.07250"
    NAME = "tensor"
    SIZES = ("out",)

    def __init__(self, out: int = 8):
        super().__init__(out)

    @classmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int:
        return math.prod(k + 1 for k in widths.values()) * sizes[0]

    def _make(self) -> None:
        self.linear = nn.Linear(math.prod(k + 1 for k in self.widths.values()), self.out_features, bias=False)

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, out)"""
        product: Tensor | None = None
        for x in shown(angles, present, self.modalities):
            one = F.pad(x, (0, 1), value=1.0)
            product = one if product is None else torch.einsum("bi,bj->bij", product, one).flatten(1)
        return F.gelu(self.linear(product))


class LowRankFusion(ClassicalFusion):
    """Low-rank multimodal fusion (LMF, arXiv:1806.00064): tensor fusion with a weight tensor of rank r,

        h = sum_r v_r * prod_m ([x_m, 1] W_m[r]) + b,   then GELU.

    The factor of an absent modality is 1.

    Args:
        rank: r.
        out: Width of the fused features.
    """

    reference = "arXiv:1806.00064"
    NAME = "low-rank"
    SIZES = ("rank", "out")

    def __init__(self, rank: int = 4, out: int = 8):
        super().__init__(rank, out)

    @classmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int:
        rank, out = sizes
        return sum(k + 1 for k in widths.values()) * rank * out + rank + out

    def _make(self) -> None:
        rank = self.sizes["rank"]
        self.factors = by_modality(self.widths, rank, self.out_features)
        self.weights = nn.Parameter(torch.full((rank,), 1 / math.sqrt(rank)))
        self.bias = nn.Parameter(torch.zeros(self.out_features))

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, out)"""
        product = _product(angles, present, self.factors)
        return F.gelu(torch.einsum("brf,r->bf", product, self.weights) + self.bias)


class MFBFusion(ClassicalFusion):
    """Multi-modal factorised bilinear pooling (arXiv:1708.01471), for any number of modalities:

        z = sum over groups of k of prod_m (U_m [x_m, 1]),   then z / sqrt|z|, then to length 1.

    The factor of an absent modality is 1. No dropout, which at these sizes would remove whole features.

    Args:
        factors: k, products that are summed into each feature.
        out: Width of the fused features; at least 2, since one of length 1 would be a mere sign.
    """

    reference = "arXiv:1708.01471"
    NAME = "mfb"
    SIZES = ("factors", "out")
    LEAST = 2

    def __init__(self, factors: int = 4, out: int = 8):
        super().__init__(factors, out)

    @classmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int:
        factors, out = sizes
        return sum(k + 1 for k in widths.values()) * factors * out

    def _make(self) -> None:
        self.factors = by_modality(self.widths, self.sizes["factors"], self.out_features)

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, out)"""
        pooled = _product(angles, present, self.factors).sum(1)
        rooted = pooled / (pooled.abs() + _TINY).sqrt()
        return F.normalize(rooted, dim=1, eps=_TINY)


class MultiplicativeFusion(ClassicalFusion):
    """Multiplicative interactions (Jayakumar et al., ICLR 2020): sum_{m<n} x_m^T W_mn x_n + sum_m U_m [x_m, 1].

    With two modalities as there; of more, every two meet (MultiBench joins them one after the other, which leaves no meaning
    to a missing first one). With one modality it is linear.

    Args:
        out: Width of the fused features.
    """

    reference = "https://openreview.net/forum?id=rylnK6VtDH"
    NAME = "multiplicative"
    SIZES = ("out",)

    def __init__(self, out: int = 8):
        super().__init__(out)

    @classmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int:
        return (sum(a * b for a, b in combinations(widths.values(), 2)) + sum(k + 1 for k in widths.values())) * sizes[0]

    def _make(self) -> None:
        self.linear = by_modality(self.widths, self.out_features)
        pairs = {f"{a}-{b}": self.widths[a] * self.widths[b] for a, b in combinations(self.modalities, 2)}
        shapes = {f"{a}-{b}": (self.widths[a], self.widths[b], self.out_features) for a, b in combinations(self.modalities, 2)}
        self.pairs = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(shapes[name]).uniform_(-1, 1) / math.sqrt(size)) for name, size in pairs.items()}
        )

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, out)"""
        inputs = dict(zip(self.modalities, biased(angles, present, self.modalities), strict=True))
        terms = [x @ self.linear[m] for m, x in inputs.items()]
        for a, b in combinations(self.modalities, 2):
            terms.append(torch.einsum("bi,bj,ijf->bf", inputs[a][:, :-1], inputs[b][:, :-1], self.pairs[f"{a}-{b}"]))
        return torch.stack(terms).sum(0)


def _product(angles: Mapping[str, Tensor], present: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    """(B, r, F): the product over the present modalities of [x_m, 1] weights[m], (k + 1, r, F)."""
    modalities = tuple(weights)
    factors = []
    for m, x in zip(modalities, biased(angles, present, modalities), strict=True):
        factors.append(torch.where(present[m][:, None, None], torch.einsum("bk,krf->brf", x, weights[m]), 1.0))
    return torch.stack(factors).prod(0)
