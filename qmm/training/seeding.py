"""RepeatableSteps: random numbers that depend on the seed and the step alone, not on what ran before."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class RepeatableSteps(Callback):
    """Reseeds torch before every training step, so that a run killed and resumed draws what an unbroken one draws.

    Args:
        seed: Of the run; dropout, masks and noise of step s follow from it and s.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        offset = int(torch.randint(2**62, (1,), generator=generator))  # neighbouring seeds, far-apart streams
        torch.manual_seed((offset + trainer.global_step * trainer.world_size + trainer.global_rank) % 2**63)
