"""What autoencoders share: the training that finds them, and what follows the code on its way to angles."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR
from tqdm.auto import tqdm

from qmm.errors import InputError

from ._squashed import FittedOnce
from ._statistics import Standardise

_WINDOW = 512  # as of the compressors that are trained end to end
_PATIENCE = 2.0  # seconds, after which a progress bar shows
_FLAT = 1e-4  # a code that deviates by less, of a range of 2, says nothing that noise and rounding do not
_CHUNK = 4096  # rows whose codes are computed at once


class Scaled(nn.Module):
    """(B, D) -> (B, m): features minus their training mean, over their root mean square length, so that the training split's
    rows have length 1 on average. With m < D, the first m principal components of them."""

    mean: Tensor
    components: Tensor | None
    scale: Tensor

    def __init__(self, in_features: int, width: int | None = None):
        super().__init__()
        self.width = in_features if width is None else min(width, in_features)
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("components", torch.zeros(self.width, in_features) if self.width < in_features else None)
        self.register_buffer("scale", torch.ones(()))

    def fit(self, samples: NDArray[np.float64]) -> None:
        """(N, D). Raises InputError where they do not vary, or are fewer than the components."""
        from sklearn.decomposition import PCA

        mean = samples.mean(0)
        length = float(np.sqrt(((samples - mean) ** 2).sum(1).mean()))
        if not length > 1e-10 * (1 + np.abs(mean).max()):
            raise InputError("the training features do not vary; there is nothing to compress")
        if self.components is not None:
            if len(samples) < self.width:
                raise InputError(f"{self.width} principal components from {len(samples)} samples; set `inputs` to fewer")
            self.components.copy_(torch.as_tensor(PCA(self.width, svd_solver="full").fit(samples).components_))
        self.mean.copy_(torch.as_tensor(mean))
        self.scale.fill_(length)

    def forward(self, pooled: Tensor) -> Tensor:
        centred = (pooled - self.mean) / self.scale
        return centred if self.components is None else centred @ self.components.T

    def undo(self, rows: Tensor) -> Tensor:
        """(B, m) -> (B, D); what other components held is at its mean."""
        return (rows if self.components is None else rows @ self.components) * self.scale + self.mean


class Autoencoder(FittedOnce):
    """A code (B, k) from which the features can be had back, learned on the training split without labels, by Adam with a
    cosine schedule; standardised there, and squashed.

    Args:
        features: Number of angles, k.
        steps: Of the training.
        batch_size: Samples of a step.
        learning_rate: The first; it falls to 0.
        seed: Of the first weights and of the order of samples.
        finetune: Whether it goes on learning, from the task's loss, with the rest of the model.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
    """

    def __init__(
        self,
        features: int,
        steps: int,
        batch_size: int,
        learning_rate: float,
        seed: int,
        finetune: bool,
        low: float,
        high: float,
        gain: float,
    ):
        super().__init__(features, low, high, gain)
        if steps < 1 or batch_size < 1 or not learning_rate > 0:
            raise InputError(
                f"steps={steps}, batch_size={batch_size}, learning_rate={learning_rate}: expected at least 1, 1, and above 0"
            )
        self.steps, self.batch_size, self.learning_rate, self.seed = steps, batch_size, learning_rate, seed
        self.finetune = finetune

    def build(self, in_features: int) -> None:
        super().build(in_features)
        self.standardise = Standardise(self.features, _WINDOW, batchwise=True)

    @abstractmethod
    def fit_front(self, samples: NDArray[np.float64]) -> None:
        """What needs no training: (N, D) features of the training split."""

    @abstractmethod
    def rows(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, m), what is encoded."""

    @abstractmethod
    def codes(self, rows: Tensor) -> Tensor:
        """(B, m) -> (B, k) between -1 and 1."""

    @abstractmethod
    def losses(self, rows: Tensor) -> Tensor:
        """(B, m) -> (B,), what is lost of each."""

    @abstractmethod
    def trained(self) -> list[nn.Parameter]:
        """What `fit` trains."""

    def code_name(self, index: int) -> str:
        return f"code {index}"

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and self.finetune)  # else its statistics stay as well

    def fit(self, pooled: Iterable[Tensor]) -> None:
        """Train on (b, D) batches of the training split.

        Raises InputError for too few samples, features that do not vary, and a code that does not.
        """
        samples = self.gather(pooled, max(2, self.features))
        self.fit_front(samples)
        with self._fitting():
            with torch.no_grad():
                rows = self.rows(torch.from_numpy(samples).to(self.standardise.mean))
            self._descend(rows)
            with torch.no_grad():
                codes = torch.cat([self.codes(part) for part in rows.split(_CHUNK)])
        flat = [self.code_name(i) for i, spread in enumerate(codes.std(0).tolist()) if spread < _FLAT]
        if flat:
            raise InputError(f"{self._name}: {', '.join(flat)} does not vary over the training split; ask for fewer features")
        self.standardise.settle(codes)
        self.fitted.fill_(True)

    def scores(self, pooled: Tensor) -> Tensor:
        self.require_fit()
        return self.standardise(self.codes(self.rows(pooled)))

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        """Gradients of what is trained, and nothing else; modes as they were afterwards."""
        mode, wanted = self.training, [p.requires_grad for p in self.parameters()]
        self.eval().requires_grad_(False)
        for parameter in self.trained():
            parameter.requires_grad_(True)
        try:
            with torch.enable_grad():
                yield
        finally:
            self.train(mode)
            for parameter, want in zip(self.parameters(), wanted, strict=True):
                parameter.requires_grad_(want).grad = None

    def _descend(self, rows: Tensor) -> None:
        optimizer = Adam(self.trained(), self.learning_rate)
        schedule = CosineAnnealingLR(optimizer, self.steps)
        for batch in tqdm(
            self._batches(len(rows)), desc=self._name, total=self.steps, delay=_PATIENCE, mininterval=1, leave=False
        ):
            optimizer.zero_grad()
            self.losses(rows[batch.to(rows.device)]).mean().backward()
            optimizer.step()
            schedule.step()

    def _batches(self, n_rows: int) -> Iterator[Tensor]:
        generator, left = torch.Generator().manual_seed(self.seed), self.steps
        while left:
            for batch in torch.randperm(n_rows, generator=generator).split(self.batch_size)[:left]:
                yield batch
                left -= 1
