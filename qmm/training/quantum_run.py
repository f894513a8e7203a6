"""QuantumRun: where a run's circuits run, what that will take, and what it took."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from qmm.contracts import Fusion, RunsCircuits
from qmm.files import write_json
from qmm.quantum import CircuitError, Gradient
from qmm.training.quantum_plan import Work
from qmm.training.quantum_use import QuantumUse, describe, expected, summary


class QuantumRun(Callback):
    """Before anything runs, says where circuits run and what that will take, and stops where it is over the budget of the
    backend; keeps the backend's journal in the run's folder; logs what each epoch took, `quantum/shots` and others, with the
    variance of gradients where it is known; in the end writes quantum.json, and prints the figures.

    Args:
        folder: The run's folder.
        scored: Which split is evaluated after a training, if any.
    """

    def __init__(self, folder: str, scored: Callable[[Any], str | None] = lambda data: None):
        self.folder, self.scored = Path(folder), scored
        self._use: QuantumUse | None = None
        self._stages: dict[str, Any] = {}
        self._planned = self._under_way = False
        self._epoch: Any = None
        self._variances: dict[str, list[float]] = {}

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        use, fusion = QuantumUse(pl_module, self.folder / "quantum"), pl_module.model.fusion
        if not use.has_circuits:
            return
        if self._use is None and trainer.is_global_zero:
            print(use.where())
        if fusion.gradient is None and hasattr(fusion.backend, "ledger"):
            fusion.run_on(fusion.backend, fusion.backend.gradient)  # one for all steps, whose variance can be asked for
        self._use = use

    def on_sanity_check_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._before_fit(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._before_fit(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "validate":
            self._before(trainer, [_work("validate", trainer.val_dataloaders, trainer.num_val_batches, trainer)])

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._before(trainer, [_work("test", trainer.test_dataloaders, trainer.num_test_batches, trainer)])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._epoch, self._variances = self._use and self._use.snapshot(), {}

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        for gradient in _gradients(pl_module.model.fusion):
            for name in ("input_variance", "weight_variance"):
                value = getattr(gradient, name, None)
                if value is not None and math.isfinite(value):
                    self._variances.setdefault(f"gradient_{name}", []).append(value)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self._epoch is None or self._use is None:
            return
        taken = (self._use.snapshot() - self._epoch).to_dict()
        means = {name: sum(values) / len(values) for name, values in self._variances.items()}
        for name, value in {**taken, **means}.items():
            if value is not None:
                pl_module.log(f"quantum/{name}", float(value))

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._after(trainer, "fit")

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "validate":
            self._after(trainer, "validate")

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._after(trainer, "test")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        if not self._under_way:
            return
        self._after(trainer, trainer.state.fn.value)  # type: ignore[union-attr]
        if isinstance(exception, CircuitError) and trainer.state.fn == "fit" and trainer.is_global_zero:
            again = (
                "with `--ckpt_path last`" if (self.folder / "checkpoints" / "last.ckpt").is_file() else "by the same command"
            )
            print(f"Continue {again}: what was measured is in {self.folder / 'quantum'}, and is not measured again.")

    def _before_fit(self, trainer: Trainer) -> None:
        if self._use is not None and not self._planned:
            scored = self.scored(getattr(trainer, "datamodule", None))
            self._before(trainer, list(_of_a_training(trainer, scored)))

    def _before(self, trainer: Trainer, works: Sequence[Work | None]) -> None:
        if self._use is None:
            return
        known = [work for work in works if work is not None]
        if not self._planned and len(known) == len(works):  # an evaluation after a training was planned with it
            plan = self._use.plan(known)
            if plan is not None:
                if trainer.is_global_zero:
                    print(expected(plan, known))
                self._use.require(plan)
                self._stages["plan"] = plan.to_dict()
        self._planned = self._under_way = True
        self._use.begin()

    def _after(self, trainer: Trainer, stage: str) -> None:
        self._under_way = False
        if self._use is None or not hasattr(self._use.backend, "ledger") or not trainer.is_global_zero:
            return
        self._stages[stage] = self._use.figures()
        write_json(self.folder / "quantum.json", {"backend": describe(self._use.backend), **self._stages})
        print(f"{stage}: " + "\n  ".join(summary(self._stages[stage])))


def _of_a_training(trainer: Trainer, scored: str | None) -> Iterator[Work | None]:
    """What is left of a training, and the evaluation after it; None for what cannot be counted."""
    loops: Any = trainer.fit_loop
    data: Any = getattr(trainer, "datamodule", None)
    if trainer.train_dataloader is None:
        loops.setup_data()
    loops.epoch_loop.val_loop.setup_data()
    batches = trainer.num_training_batches
    epochs = _epochs_left(trainer, batches)
    yield _work("train", trainer.train_dataloader, batches, trainer, epochs)
    if trainer.val_dataloaders and sum(trainer.num_val_batches):
        if not trainer.fit_loop.restarting:
            steps: Any = [min(n, trainer.num_sanity_val_steps) for n in trainer.num_val_batches]
            yield _work("check", trainer.val_dataloaders, steps, trainer)
        often = trainer.val_check_batch or math.inf
        rounds = max(1, int(batches / often)) if math.isfinite(often) and math.isfinite(batches) else 1
        every = trainer.check_val_every_n_epoch or 1
        yield _work("validate", trainer.val_dataloaders, trainer.num_val_batches, trainer, -(-epochs // every) * rounds)
    if scored is not None and not getattr(trainer, "fast_dev_run", False):
        yield Work(scored, len(data.rows[scored]), getattr(data, "batch_size", 1))


def _epochs_left(trainer: Trainer, batches: float) -> int:
    """One where a training has no end."""
    bounds = []
    if trainer.max_epochs not in (None, -1):
        bounds.append(trainer.max_epochs - trainer.current_epoch)
    if trainer.max_steps > 0:
        steps = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        bounds.append(math.ceil(steps / max(1, batches)))
    return max(0, min(bounds, default=1))


def _work(purpose: str, loaders: Any, batches: Any, trainer: Trainer, times: int = 1) -> Work | None:
    """So many batches of data loaders, of all processes together; None for data whose number nobody knows."""
    loaders, batches = (list(x) if isinstance(x, list | tuple) else [x] for x in (loaders, batches))
    samples, size = 0, 1
    for loader, number in zip(loaders, batches, strict=True):
        size = getattr(loader, "batch_size", None) or 1
        if not (math.isfinite(number) and hasattr(getattr(loader, "dataset", None), "__len__")):
            return None
        samples += min(len(loader.dataset), int(number) * size * trainer.world_size)
    return Work(purpose, samples, size, times)


def _gradients(fusion: Fusion) -> list[Gradient]:
    """What differentiates its circuits."""
    found = (module.gradient for module in fusion.modules() if isinstance(module, RunsCircuits))
    return list({id(gradient): gradient for gradient in found if gradient is not None}.values())
