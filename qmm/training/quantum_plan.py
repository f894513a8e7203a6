"""What a run will take of a device: its fusion once through, with a backend that counts and sends nothing."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmm.contracts import RunsCircuits
from qmm.model import MultimodalModel
from qmm.quantum import Backend, CompiledCircuit, ExactBackend, Gradient
from qmm.quantum.backends import Evaluation
from qmm.quantum.execution.jobs.budget import Plan


class Work(NamedTuple):
    """Samples that pass through the model."""

    purpose: str
    """ "train", "validate", "test", "predict"."""
    samples: int
    batch_size: int
    times: int = 1
    """How often they do."""

    def __str__(self) -> str:
        return f"{self.purpose} {f'{self.times} x ' if self.times > 1 else ''}{self.samples:,} samples"


def plan_of(task: Any, works: Sequence[Work]) -> Plan | None:
    """What all of it takes, of a task of qmm.tasks, where every sample has every modality; None where the backend does not say.

    Calibrations of mitigations count once for each circuit. Raises CircuitError for circuits that the backend cannot run.
    """
    backend = task.model.fusion.backend
    if not hasattr(backend, "plan"):
        return None
    counted: dict[tuple[bool, int], Plan] = {}
    counting = _Counting(backend)
    total = Plan()
    for work in works:
        whole, rest = divmod(work.samples, max(1, work.batch_size))
        for size, times in ((work.batch_size, whole), (rest, int(rest > 0))):
            key = work.purpose == "train", size
            if times and key not in counted:
                counted[key] = counting.plan_of(task, *key)
            if times:
                total += counted[key] * (times * work.times)
    return total + counting.once


class _Pretended(NamedTuple):
    """A job that was not sent."""

    values: Tensor

    def result(self) -> Tensor:
        return self.values

    def variances(self) -> Tensor:
        return torch.ones_like(self.values)


class _Counting(Backend):
    """In place of a backend: adds up its plans."""

    def __init__(self, backend: Any):
        self.backend = backend
        self.shots = getattr(backend, "shots", None)
        self.once = Plan()
        """Whatever is done once for each circuit."""
        self._each = Plan()
        self._known: dict[tuple[CompiledCircuit, int | None], Plan] = {}
        self._generator = torch.Generator().manual_seed(0)

    @property
    def gradient(self) -> Gradient:
        found: Gradient = self.backend.gradient
        return found

    def submit(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> _Pretended:
        return self.submit_many([Evaluation(circuit, inputs, weights)])[0]

    def submit_many(self, evaluations: Sequence[Evaluation]) -> list[_Pretended]:
        for circuit, inputs, _, shots in evaluations:
            key = circuit, shots
            if key not in self._known:
                one, two = (self.backend.plan(circuit, rows, shots) for rows in (1, 2))
                self._known[key] = _difference(two, one)
                self.once += _difference(one, self._known[key])
            self._each += self._known[key] * len(inputs)
        sizes = [(len(e.inputs), e.circuit.circuit.n_outputs) for e in evaluations]
        numbers = [torch.rand(size, generator=self._generator, dtype=torch.float64) for size in sizes]
        return [_Pretended(n.to(e.inputs)) for n, e in zip(numbers, evaluations, strict=True)]

    def plan_of(self, task: Any, training: bool, rows: int) -> Plan:
        """A batch of so many samples, with its gradients if it is one of a training."""
        self._each, fusion = Plan(), task.model.fusion
        places = [(module, module.backend, module.gradient) for module in fusion.modules() if isinstance(module, RunsCircuits)]
        try:
            for module, backend, gradient in places:
                if not isinstance(backend, ExactBackend | None):
                    module.backend, module.gradient = self, copy.deepcopy(gradient)  # SPSA's directions stay to be drawn
            self._pass_through(task, training, rows)
        finally:
            for module, backend, gradient in places:
                module.backend, module.gradient = backend, gradient
        return self._each

    def _pass_through(self, task: Any, training: bool, rows: int) -> None:
        model: MultimodalModel = task.model
        fusion = model.fusion
        device = next((p.device for p in fusion.parameters()), torch.device("cpu"))
        angles, present = {}, {}
        for m, branch in model.branches.items():
            trained = training and any(p.requires_grad for p in branch.parameters())
            low, high = branch.compressor.low, branch.compressor.high
            numbers = low + (high - low) * torch.rand(rows, branch.compressor.features, generator=self._generator)
            angles[m] = numbers.to(device).requires_grad_(trained)
            present[m] = torch.ones(rows, dtype=torch.bool, device=device)
        with torch.inference_mode(False), torch.set_grad_enabled(training):
            fused: Tensor = task.fuse(angles, present)
            wanted = [t for t in (*angles.values(), *fusion.parameters()) if t.requires_grad]
            if fused.requires_grad and wanted:
                upstream = torch.rand(fused.shape, generator=self._generator).to(fused)
                torch.autograd.grad(fused, wanted, upstream, allow_unused=True)


def _difference(more: Plan, less: Plan) -> Plan:
    seconds, price = (
        None if a is None or b is None else a - b for a, b in ((more.seconds, less.seconds), (more.price, less.price))
    )
    return Plan(more.circuits - less.circuits, more.shots - less.shots, seconds, price, more.currency)
