"""ClassicalAutoencoder: what the quantum autoencoder has to be compared with, of any size, or of a given one."""

import math
import warnings
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qmm.errors import InputError

from ._autoencoding import Autoencoder, Scaled

_ALIKE = 0.05
"""How far numbers of parameters may be apart and still count as equal, as for the fusions' counterparts."""


class ClassicalAutoencoder(Autoencoder):
    """Layers z -> tanh(W z + b) down to k codes, and back by the transposed matrices, z -> tanh(W^T z + c), the last without
    tanh; trained to give back the features, in mean squared error. Tied weights, as a quantum autoencoder's U and U^dagger.

    Args:
        features: Number of angles, k.
        hidden: Widths of layers between; by default none.
        inputs: Features that enter, as principal components if there are more; by default all of them.
        parameters: In place of `inputs`, how many parameters it is to have: the first principal components enter, so many that
            it comes nearest. Where that is not within 5 %, it warns by how much (`mismatch`).
        steps: Of the training.
        batch_size: Samples of a step.
        learning_rate: The first; it falls to 0.
        seed: Of the first weights and of the order of samples.
        finetune: Whether the encoder goes on learning, from the task's loss, with the rest of the model.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
    """

    def __init__(
        self,
        features: int,
        hidden: list[int] | None = None,
        inputs: int | None = None,
        parameters: int | None = None,
        steps: int = 500,
        batch_size: int = 64,
        learning_rate: float = 0.02,
        seed: int = 0,
        finetune: bool = False,
        low: float = 0.0,
        high: float = math.pi,
        gain: float = 1.0,
    ):
        super().__init__(features, steps, batch_size, learning_rate, seed, finetune, low, high, gain)
        if inputs is not None and parameters is not None:
            raise InputError(f"inputs={inputs} and parameters={parameters}; give one of them, the other follows")
        if min([1, *(hidden or [])]) < 1 or (inputs or 1) < 1 or (parameters or 1) < 1:
            raise InputError(f"hidden={hidden}, inputs={inputs}, parameters={parameters}; expected numbers of at least 1")
        self.hidden, self.inputs, self.parameters_wanted = hidden or [], inputs, parameters

    def build(self, in_features: int) -> None:
        super().build(in_features)
        self.front = Scaled(in_features, self._inputs(in_features))
        widths = [self.front.width, *self.hidden, self.features]
        generator = torch.Generator().manual_seed(self.seed)
        drawn = [torch.randn(after, before, generator=generator) / math.sqrt(before) for before, after in pairwise(widths)]
        self.matrices = nn.ParameterList(drawn)
        self.down = nn.ParameterList([torch.zeros(width) for width in widths[1:]])
        self.up = nn.ParameterList([torch.zeros(width) for width in widths[:-1]])
        self.matrices.requires_grad_(self.finetune)
        self.down.requires_grad_(self.finetune)
        self.up.requires_grad_(False)  # no angle depends on them
        if abs(self.mismatch) > _ALIKE:
            warnings.warn(
                f"ClassicalAutoencoder: {self.n_parameters} parameters, {self.mismatch:+.0%} of the {self.parameters_wanted} "
                f"asked for; {in_features} features and whole numbers allow no nearer",
                stacklevel=2,
            )

    def _inputs(self, in_features: int) -> int:
        if self.parameters_wanted is None:
            return in_features if self.inputs is None else self.inputs
        widths = [*self.hidden, self.features]
        fixed = sum(a * b + a for a, b in pairwise(widths)) + sum(widths)
        return max(self.features, min(in_features, round((self.parameters_wanted - fixed) / (widths[0] + 1))))

    @property
    def n_parameters(self) -> int:
        """Of encoder and decoder together, without the principal components."""
        return sum(p.numel() for p in self.trained())

    @property
    def mismatch(self) -> float:
        """How many more parameters it has than asked for, as a share of these."""
        return self.n_parameters / self.parameters_wanted - 1 if self.parameters_wanted else 0.0

    def trained(self) -> list[nn.Parameter]:
        return [*self.matrices, *self.down, *self.up]

    def fit_front(self, samples: NDArray[np.float64]) -> None:
        self.front.fit(samples)

    def rows(self, pooled: Tensor) -> Tensor:
        rows: Tensor = self.front(pooled.to(self.standardise.mean.dtype))
        return rows

    def codes(self, rows: Tensor) -> Tensor:
        for matrix, bias in zip(self.matrices, self.down, strict=True):
            rows = (rows @ matrix.T + bias).tanh()
        return rows

    def decoded(self, codes: Tensor) -> Tensor:
        """(B, k) -> (B, m)"""
        last = len(self.matrices) - 1
        for place, (matrix, bias) in enumerate(zip(reversed(self.matrices), reversed(self.up), strict=True)):
            codes = codes @ matrix + bias
            codes = codes if place == last else codes.tanh()
        return codes

    def losses(self, rows: Tensor) -> Tensor:
        return (self.decoded(self.codes(rows)) - rows).square().sum(1)  # of rows whose length is 1 on average

    @torch.no_grad()
    def reconstruct(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, D), what the decoder makes of the codes."""
        self.require_fit()
        return self.front.undo(self.decoded(self.codes(self.rows(pooled))))
