"""Initialisation: a training starts its circuits' weights from an initialiser."""

import inspect
import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from qmm.errors import InputError
from qmm.initialisers import Initialiser, SearchingInitialiser
from qmm.initialisers.landscape import ModelLandscape
from qmm.quantum import CompiledCircuit, recording

log = logging.getLogger(__name__)


class Start(NamedTuple):
    """What a training's circuits were started with."""

    initialiser: str
    circuits: list[str]
    left: list[str]
    """Circuits whose weights are not its to start: frozen, made by another network, or fitted by a compressor."""
    weights: int
    spread: float
    """Standard deviation of the weights, in radians."""
    variance: float | None
    """Of the entries of the loss's gradient, over weights and the batches that were looked at; None where none was."""
    told: str = ""

    def figures(self) -> dict[str, float]:
        known = {"gradient_variance": self.variance, "spread": self.spread}
        return {name: value for name, value in known.items() if value is not None}

    def __str__(self) -> str:
        lines = [
            f"{self.initialiser} started {self.weights} weights of {', '.join(self.circuits)}: standard deviation "
            f"{self.spread:.3f} rad" + ("" if self.variance is None else f", gradient variance {self.variance:.2e}")
        ]
        lines += [self.told] if self.told else []
        lines += [f"left as they were: {', '.join(self.left)}"] if self.left else []
        return "; ".join(lines)


class Initialisation(Callback):
    """Starts all circuit weights of a LightningModule when its training begins, not when a checkpoint is continued.

    Circuits are found by themselves, in whatever module they are; what a compressor fits to data stays as it was fitted.
    Initialisers that ask for data see the first training batches, and gradients of the loss that `training_step` returns,
    without dropout and without a log of it. A start that is killed is simply made anew; with the same seed it is the same.
    Random numbers of the training are left as they were. `start_gradient_variance` and `start_spread` stand among the metrics
    of an evaluation.

    Args:
        initialiser: What the weights start from; None: they stay as the model made them, and are measured like others.
        seed: Of the initialiser; by default that of the training (`seed_everything`), or 0.
        batches: How many training batches are looked at, by default as many as the initialiser asks for, else 4. With 0 no
            gradient is computed, which is to be thought of where circuits run on hardware; then nothing can be searched.
    """

    def __init__(self, initialiser: Initialiser | None = None, seed: int | None = None, batches: int | None = None):
        if batches is not None and batches < (1 if isinstance(initialiser, SearchingInitialiser) else 0):
            raise InputError(f"batches={batches}; {type(initialiser).__name__} looks at one batch at least")
        self.initialiser, self.seed = initialiser, seed
        self.batches: int = getattr(initialiser, "batches", 4) if batches is None else batches
        self.start: Start | None = None
        """What was done; None before, and where a checkpoint was continued."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raises InputError for a module without circuit weights of its own."""
        if trainer.ckpt_path is not None:
            log.info("Initialisation: a checkpoint is continued, its circuit weights stay")
            return
        with isolate_rng(), quiet(pl_module):
            batches = first_batches(trainer, self.batches) if trainer.is_global_zero else []
            landscape = ModelLandscape(pl_module, batches, lambda batch: loss_of(pl_module, batch))
            if not landscape.size:
                left = f" ({', '.join(landscape.left)}: frozen, fitted, or made by a network)" if landscape.left else ""
                raise InputError(f"{type(pl_module).__name__} has no circuit weights to start{left}; leave Initialisation out")
            done = self._start(landscape) if trainer.is_global_zero else None
            self.start = done = trainer.strategy.broadcast(done)
            assert done is not None
            if trainer.world_size > 1:
                state = {name: parameter.detach() for name, parameter in pl_module.named_parameters()}
                pl_module.load_state_dict(trainer.strategy.broadcast(state), strict=False)
        if trainer.is_global_zero:
            print(f"Initialisation: {self.start}")
        for logger in trainer.loggers:
            logger.log_metrics({f"start/{name}": value for name, value in done.figures().items()}, step=0)

    def state_dict(self) -> dict[str, Any]:
        return {"start": None if self.start is None else self.start._asdict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start = None if state_dict["start"] is None else Start(**state_dict["start"])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._report(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._report(pl_module, "test")

    def _report(self, pl_module: LightningModule, split: str) -> None:
        for name, value in ({} if self.start is None else self.start.figures()).items():
            pl_module.log(f"{split}/start_{name}", value)

    def _start(self, landscape: ModelLandscape) -> Start:
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if self.seed is None else self.seed
        weights, told = landscape.weights, ""
        if self.initialiser is not None:
            generator = torch.Generator().manual_seed(seed)
            weights = drawn(self.initialiser, landscape, generator)
            landscape.set(weights)
            if isinstance(self.initialiser, SearchingInitialiser):
                weights, told = self.initialiser.improve(landscape, weights, generator)
                landscape.set(weights)
        return Start(
            "the model" if self.initialiser is None else type(self.initialiser).__name__,
            list(landscape.circuits),
            landscape.left,
            landscape.size,
            float(weights.std(correction=0)),
            float(landscape.variances(weights[None])[0]) if landscape.batches else None,
            told,
        )


def drawn(initialiser: Initialiser, landscape: ModelLandscape, generator: torch.Generator) -> Tensor:
    """(W,): what an initialiser draws for all circuits of a model; a weight that circuits share is as the largest one says."""
    seen = circuit_inputs(landscape)
    weights, done = landscape.weights, set[int]()
    for compiled, columns in sorted(landscape.circuits.values(), key=lambda started: -len(started.columns)):
        own = initialiser.see(compiled.circuit, seen[compiled]) if compiled in seen else initialiser
        first = own.first(compiled.circuit, generator)[0]
        new = [place for place, column in enumerate(columns.tolist()) if column not in done]
        weights[columns[new]] = first[new]
        done.update(columns.tolist())
    return weights


def circuit_inputs(landscape: ModelLandscape) -> dict[CompiledCircuit, Tensor]:
    """(B, n_inputs) that each circuit is given on the landscape's batches."""
    with torch.no_grad(), recording() as tape:
        for batch in landscape.batches:
            landscape.loss(batch)
    found: dict[CompiledCircuit, list[Tensor]] = {}
    for evaluation in tape:
        found.setdefault(evaluation.circuit, []).append(evaluation.inputs)
    return {circuit: torch.cat(rows) for circuit, rows in found.items()}


def first_batches(trainer: Trainer, count: int) -> list[Any]:
    """So many training batches, on the module's device. Raises InputError where there is none."""
    if not count:
        return []
    batches = itertools.islice(iter(trainer.train_dataloader), count)  # type: ignore[arg-type]
    found = [trainer.strategy.batch_to_device(batch, dataloader_idx=0) for batch in batches]
    if not found:
        raise InputError("the training data have no batch to start circuits with")
    return found


def loss_of(module: LightningModule, batch: Any) -> Tensor:
    """What `training_step` minimises on a batch. Raises InputError where it returns no loss (manual optimisation, say)."""
    given = (batch, 0)[: max(1, len(inspect.signature(module.training_step).parameters))]
    found: Any = module.training_step(*given)
    loss = found.get("loss") if isinstance(found, dict) else found
    if not isinstance(loss, Tensor):
        raise InputError(f"{type(module).__name__}.training_step returns {type(loss).__name__}, where a loss was expected")
    return loss


@contextmanager
def quiet(module: LightningModule) -> Iterator[None]:
    """Inside the `with` nothing is logged, and all parts are in evaluation mode: no dropout, no running statistics."""
    modes = {inner: inner.training for inner in module.modules()}
    module.eval()
    module.__dict__["log"] = module.__dict__["log_dict"] = lambda *given, **named: None
    try:
        yield
    finally:
        del module.__dict__["log"], module.__dict__["log_dict"]
        for inner, mode in modes.items():
            inner.training = mode
