"""Running mean and variance of the training samples, kept as buffers."""

import torch
from torch import Tensor, nn

_FEW = 8
"""With fewer rows than this, a batch's own spread says too little: the running one is used."""


class Standardise(nn.Module):
    """(B, D) -> (B, D) of mean 0 and variance 1, column by column.

    While training, statistics take in each batch, of any size from 1 on; each batch weighs as its share of the samples
    seen so far, of which at most the last `window` count. `batchwise` normalises training batches by their own
    statistics, as BatchNorm does, so that gradients know of the normalisation. A column that never varied is shifted only.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, width: int, window: int | None = None, batchwise: bool = False):
        super().__init__()
        self.window, self.batchwise = window, batchwise
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, values: Tensor) -> Tensor:
        if self.training and len(values):
            self._take_in(values.detach())
            if self.batchwise and len(values) >= _FEW:
                return _scaled(values, values.mean(0), values.var(0, correction=0))
        return _scaled(values, self.mean, self.variance)

    @torch.no_grad()
    def settle(self, values: Tensor) -> None:
        """Take the statistics of these (N, D) alone, whatever was seen before."""
        self.mean.copy_(values.mean(0))
        self.variance.copy_(values.var(0, correction=0))
        self.count.fill_(len(values))

    @torch.no_grad()
    def _take_in(self, values: Tensor) -> None:
        """The variance of a mixture of what was there (1 - share) and the batch (share)."""
        values = values.to(self.mean.dtype)
        self.count += len(values)
        share = len(values) / (self.count if self.window is None else self.count.clamp(max=max(self.window, len(values))))
        step = values.mean(0) - self.mean
        self.variance.mul_(1 - share).add_(share * values.var(0, correction=0)).add_(share * (1 - share) * step.square())
        self.mean.add_(share * step)


def _scaled(values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    constant = variance <= 1e-10 * (mean.square() + torch.finfo(torch.float32).tiny)  # within float32's rounding of the mean
    return (values - mean) * torch.where(constant, 1.0, variance).rsqrt()
