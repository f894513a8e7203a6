"""Circuit evaluations: how many runs of a circuit at given angles a training takes, as a machine would have to run them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from qmm.optimisers.probing import current_probes
from qmm.optimisers.tape import Felt
from qmm.quantum import CircuitError, Evaluation, recording
from qmm.quantum.gradients.unrolling import unroll

_TOLD: ContextVar[bool] = ContextVar("qmm_told", default=False)
_TALLIES: ContextVar[tuple["Tally", ...]] = ContextVar("qmm_tallies", default=())


class Tally(list[Evaluation]):
    """Counts evaluations; keeps none. An evaluation is a circuit at the angles of one sample, with as many shots as one likes.

    Values cost one for each sample. Gradients by the parameter-shift rule cost two for each sample and each angle of a gate
    whose input or weight needs one; exact engines, which need fewer passes, are counted alike, so that optimisers compare as
    they would on a machine. A metric costs what `metric_evaluations` says, overlaps one each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values = self.gradients = self.metric = 0

    @property
    def total(self) -> int:
        return self.values + self.gradients + self.metric

    def append(self, evaluation: Evaluation) -> None:
        if _TOLD.get():
            return
        rows = len(evaluation.inputs)
        self.values += rows
        probes = current_probes()
        if torch.is_grad_enabled() and (probes is None or probes.backward):
            wanted = evaluation.inputs.requires_grad, evaluation.weights.requires_grad
            self.gradients += 2 * rows * _shifted(evaluation, wanted)


@contextmanager
def tallying(tally: Tally | None = None) -> Iterator[Tally]:
    """Counts what is evaluated inside the `with`."""
    tally = Tally() if tally is None else tally
    token = _TALLIES.set((*_TALLIES.get(), tally))
    try:
        with recording(tally):
            yield tally
    finally:
        _TALLIES.reset(token)


@contextmanager
def metric_of(evaluations: int) -> Iterator[None]:
    """While an optimiser computes a metric, it tells how many evaluations that counts as: the engine has other ways."""
    for tally in _TALLIES.get():
        tally.metric += evaluations
    token = _TOLD.set(True)
    try:
        yield
    finally:
        _TOLD.reset(token)


def metric_evaluations(felt: Felt, kind: str = "full", rows: int | None = None) -> int:
    """What the metric of these samples takes by overlaps of shifted circuits (arXiv:2008.06517): four for each pair of weights,
    one for a weight with itself. Weights of different blocks make no pairs."""
    from qmm.geometry.fisher import weight_blocks

    n_weights = felt.weights.shape[-1]
    sizes = [n_weights] if kind == "full" else [len(b) for b in weight_blocks(felt.circuit)] if kind == "block" else []
    pairs = sum(size * (size - 1) // 2 for size in sizes)
    samples = len(felt.inputs) if rows is None else min(rows, len(felt.inputs))
    return samples * (4 * pairs + n_weights)


def _shifted(evaluation: Evaluation, wanted: tuple[bool, bool]) -> int:
    try:
        return len(unroll(evaluation.circuit).chosen(wanted)) if any(wanted) else 0
    except CircuitError:  # no shift rule: as by finite differences
        circuit = evaluation.circuit.circuit
        return len(circuit.inputs) * wanted[0] + len(circuit.weights) * wanted[1]


class CountEvaluations(Callback):
    """Logs after each epoch how many circuit evaluations the training steps have taken so far: `quantum/evaluations`, and of
    them `quantum/evaluations_values`, `_gradients` and `_metric`, and how many steps, `quantum/steps`; resumed with the run."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._counting: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.tally.values, "gradients": self.tally.gradients, "metric": self.tally.metric}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, number in state_dict.items():
            setattr(self.tally, name, number)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._stop()
        self._counting = tallying(self.tally)
        self._counting.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("quantum/steps", float(trainer.global_step))
        pl_module.log("quantum/evaluations", float(self.tally.total))
        for name, number in self.state_dict().items():
            pl_module.log(f"quantum/evaluations_{name}", float(number))

    def _stop(self) -> None:
        if self._counting is not None:
            self._counting.__exit__(None, None, None)
            self._counting = None
