"""What share of a training step is spent in the fusion.

    python benchmarks/fusion_share.py --config configs/quickstart.yaml

After every training step the fusion is run again alone, forward and backward, on the angles of that step; printed is the
median of the ratios. Loading data is not counted as part of the step.
"""

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch
from lightning import Callback, Trainer

from qmm.training.cli import TrainingCLI


class FusionShare(Callback):
    """Times each step, and the fusion of that step again alone."""

    def __init__(self, warm_up: int):
        self.warm_up, self.ratios = warm_up, []
        self.seen: tuple[Any, ...] = ()

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        def remember(module: Any, inputs: tuple[Any, ...]) -> None:
            self.seen = inputs

        pl_module.model.fusion.register_forward_pre_hook(remember)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = time.perf_counter() - self.began
        angles, present = self.seen
        leaves = {modality: value.detach().requires_grad_() for modality, value in angles.items()}
        fusion = pl_module.model.fusion
        began = time.perf_counter()
        with torch.enable_grad():
            torch.autograd.grad(fusion(leaves, present).sum(), [*leaves.values(), *fusion.parameters()])
        if batch_idx >= self.warm_up:
            self.ratios.append((time.perf_counter() - began) / step)


class Measured(TrainingCLI):
    """`qmm fit` of a few steps."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks.append(FusionShare(warm_up=5))
        return trainer

    def after_fit(self) -> None:
        ratios = next(c for c in self.trainer.callbacks if isinstance(c, FusionShare)).ratios
        low, high = statistics.quantiles(ratios, n=10)[0], statistics.quantiles(ratios, n=10)[-1]
        print(f"share of the fusion in a training step: {statistics.median(ratios):.1%} "
              f"(deciles {low:.1%} to {high:.1%}, {len(ratios)} steps, {torch.get_num_threads()} threads)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", action="append", required=True, help="as for qmm fit; repeat for overlays")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    configs = [word for config in options.config for word in ("--config", config)]
    limits = {"max_steps": options.steps, "max_epochs": -1, "limit_val_batches": 0, "num_sanity_val_steps": 0}
    flags = [word for name, value in limits.items() for word in (f"--trainer.{name}", str(value))]
    with tempfile.TemporaryDirectory() as runs:
        Measured(["fit", *configs, *flags, "--runs", runs])


if __name__ == "__main__":
    main()
