"""PerturbCircuits: what sets perturbations on a model for as long as it is trained."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from qmm.config import Configurable
from qmm.contracts import Perturbation, RunsCircuits
from qmm.errors import InputError
from qmm.quantum import Evaluation
from qmm.regularisation.base import CircuitPerturbation


class PerturbCircuits(Configurable, Callback):
    """Perturbs all circuits of a model's fusion, kernels and compressors (every `RunsCircuits`) while it is trained;
    validation, tests and predictions run them as they are.

    Args:
        perturbations: Applied in this order.

    Raises InputError without perturbations; at the start of a training where one finds nothing to change in any circuit; and
    after its first batch, where no circuit passed here, as those of kernels that are computed from states do not.
    """

    def __init__(self, perturbations: list[Perturbation]):
        if not perturbations:
            raise InputError("perturbations is empty; name one, qmm.regularisation.GateDropout for instance")
        self.perturbations = list(perturbations)
        self._watch = _Watch()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        runners = [module for module in pl_module.modules() if isinstance(module, RunsCircuits)]
        circuits = [weighted.circuit.circuit for runner in runners for weighted in runner.weighted_circuits().values()]
        for perturbation in self.perturbations:
            if isinstance(perturbation, CircuitPerturbation) and not any(map(perturbation.concerns, circuits)):
                raise InputError(
                    f"{type(perturbation).__name__} finds nothing to change in the {len(circuits)} trained circuits that "
                    "fusions, kernels and compressors of the model run; leave it out"
                )
        for runner in runners:
            runner.perturbations = (*runner.perturbations, self._watch, *self.perturbations)
        self._watch.seen = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._watch.seen:
            raise InputError(
                "no circuit passed the perturbations in the first batch: the model computes its values in another way (a "
                "KernelFusion, from exact states), or does not train what runs them; leave PerturbCircuits out"
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._remove(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._remove(pl_module)

    def _remove(self, module: LightningModule) -> None:
        own = {id(perturbation) for perturbation in (self._watch, *self.perturbations)}
        for runner in module.modules():
            if isinstance(runner, RunsCircuits):
                runner.perturbations = tuple(p for p in runner.perturbations if id(p) not in own)


class _Watch(Perturbation):
    """Notes that a circuit has passed."""

    seen = False

    def perturb(self, evaluation: Evaluation) -> Evaluation:
        self.seen = True
        return evaluation
