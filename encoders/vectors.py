"""Vectors: data that comes as one vector a sample (B, D) -> Features."""

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from qmm.contracts import Encoder
from qmm.errors import InputError
from qmm.types import Features

from ._statistics import Standardise
from .preprocess import VectorPreprocess


class VectorEncoder(Encoder):
    """Standardises each column by the training samples' statistics, then, on request, a small MLP.

    Columns that never vary are centred only. Values more than `clip` standard deviations out are pulled in to there, since
    extracted features (of COVAREP, say) have wild outliers.

    Args:
        dim: Width of the vectors.
        hidden: Widths of linear layers with GELU between them (default: none, the standardised vector itself).
        dropout: Between these layers.
        standardize: Whether columns are standardised.
        clip: In standard deviations; 0 keeps all.
    """

    def __init__(
        self, dim: int, hidden: list[int] | None = None, dropout: float = 0.0, standardize: bool = True, clip: float = 10.0
    ):
        super().__init__()
        if dim < 1 or min(hidden or [1]) < 1:
            raise InputError(f"dim={dim}, hidden={hidden}: expected widths of at least 1")
        self.clip, self._preprocess = clip, VectorPreprocess(dim)
        self.standardise = Standardise(dim) if standardize else None
        layers: list[nn.Module] = []
        for before, after in pairwise([dim, *(hidden or [])]):
            layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers[:-2])  # the last layer stays linear
        self.dim = hidden[-1] if hidden else dim

    @property
    def preprocess(self) -> VectorPreprocess:
        return self._preprocess

    @property
    def frozen(self) -> bool:
        """Never while it standardises: the statistics are learned, though no gradient reaches them."""
        return self.standardise is None and super().frozen

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Features:
        """(B, dim) -> pooled (B, D); `lengths` has no meaning here."""
        if values.shape[1:] != (self._preprocess.dim,):
            raise InputError(f"vectors of shape {tuple(values.shape)}; expected (B, {self._preprocess.dim}), as `dim` says")
        if self.standardise is not None:
            values = self.standardise(values)
            values = values.clamp(-self.clip, self.clip) if self.clip else values
        pooled: Any = self.layers(values)
        return Features(pooled)
