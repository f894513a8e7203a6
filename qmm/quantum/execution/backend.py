"""PrimitiveBackend: circuits run by any of Qiskit's V2 primitives, from a simulator to hardware."""

import copy
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from torch import Tensor

from qmm.quantum.backends import Backend, Evaluation, Gradient
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.jobs.budget import Budget, Plan
from qmm.quantum.execution.jobs.dispatch import NO_DRAWS, Dispatcher, Draws
from qmm.quantum.execution.jobs.ledger import Ledger
from qmm.quantum.execution.jobs.pretending import pretended
from qmm.quantum.execution.jobs.sending import Jobs
from qmm.quantum.execution.providers import Given, Provider
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Request, arranged
from qmm.quantum.execution.simplify import Simplifier
from qmm.quantum.execution.transpiling import Transpiler
from qmm.quantum.gathering import Gathering, gathering_of
from qmm.quantum.settings import Parts

_T = TypeVar("_T")


class EstimateJob:
    """Outputs under way."""

    def __init__(self, future: "Future[list[Estimates]]", finish: Callable[[list[Estimates]], Estimates], like: Tensor):
        self._future, self._finish, self._like = future, finish, like
        self._found: Estimates | None = None

    def estimates(self) -> Estimates:
        """(N, n_outputs): values and their variances."""
        if self._found is None:
            self._found = self._finish(self._future.result())
        return self._found

    def result(self) -> Tensor:
        """(N, n_outputs)"""
        return torch.from_numpy(self.estimates().values).to(self._like)

    def variances(self) -> Tensor:
        """(N, n_outputs): squared standard errors of the values."""
        return torch.from_numpy(self.estimates().variances).to(self._like)


class _LaterJob(EstimateJob):
    """Of a task among others (`PrimitiveBackend.together`): begun when all of them wait."""

    def __init__(self, begun: Callable[[], list[EstimateJob]], place: int, like: Tensor):
        self._begun, self._place, self._like = begun, place, like

    def estimates(self) -> Estimates:
        return self._begun()[self._place].estimates()


class PrimitiveBackend(Backend):
    """Runs circuits on whatever has one of Qiskit's V2 primitives.

    Each circuit is transpiled once. A batch, with all that a gradient and mitigations add to it, travels in one job.

    Args:
        primitive: A provider (`Aer`, `Runtime`, ...), or a primitive of the user's own.
        shots: Of each sample, in each measurement basis.
        mitigation: What is done against noise; the order does not matter.
        optimization_level: Of the transpiler, 0 to 3.
        seed: Of the transpiler, of simulators, and of what mitigations draw.
        jobs: How jobs are sent, what is done when they fail, and where they are kept.
        budget: What may be taken of the device at most, and what it charges.
        simplify: Whether gates and qubits that no observable feels are left out, and weights that are not being trained go to a
            device as numbers, so that fewer gates run (`qmm.quantum.execution.simplify`). Values stay the same.
    """

    def __init__(
        self,
        primitive: Provider | BaseSamplerV2 | BaseEstimatorV2,
        shots: int = 1000,
        mitigation: Sequence[Mitigation] = (),
        optimization_level: int = 3,
        seed: int = 0,
        jobs: Jobs | None = None,
        budget: Budget | None = None,
        simplify: bool = True,
    ):
        """Raises CircuitError for shots below one, a primitive that is none, and mitigations that do not go together."""
        if isinstance(shots, bool) or not isinstance(shots, int) or shots < 1:
            raise CircuitError(f"shots={shots!r}; a circuit is run at least once: give a whole number, 1000 for instance")
        self.provider = primitive if isinstance(primitive, Provider) else Given(primitive)
        self.shots, self.seed, self.simplify = shots, seed, simplify
        self.mitigation = arranged(mitigation)
        self.transpiler = Transpiler(self.provider.device, optimization_level, seed)
        self.dispatcher = Dispatcher(self.provider, seed, jobs, budget)
        self._memory: dict[Hashable, Any] = {}
        self._simplifiers: WeakKeyDictionary[CompiledCircuit, Simplifier] = WeakKeyDictionary()

    @cached_property
    def gradient(self) -> Gradient:  # one, which remembers the variance of its latest gradient
        from qmm.quantum.gradients import ParameterShift

        return ParameterShift()

    @property
    def ledger(self) -> Ledger:
        """What ran so far."""
        return self.dispatcher.ledger

    @property
    def budget(self) -> Budget | None:
        return self.dispatcher.budget

    def keep_in(self, folder: str | Path) -> None:
        """Keeps job ids and results there, unless `jobs` names a folder. Raises CircuitError for one that cannot be made."""
        self.dispatcher.keep_in(folder)

    @torch.no_grad()
    def plan(self, circuit: CompiledCircuit, n_rows: int, shots: int | None = None) -> Plan:
        """What estimating a circuit's outputs for so many samples takes, with what mitigations add, and have yet to calibrate.

        Nothing is sent. Raises CircuitError where mitigations do, for a device that they do not fit for instance.
        """
        rng = np.random.default_rng(self.seed)
        sizes = (n_rows, len(circuit.circuit.inputs)), (len(circuit.circuit.weights),)
        inputs, weights = (torch.from_numpy(rng.uniform(-np.pi, np.pi, size)) for size in sizes)
        request, _ = self._request(Evaluation(circuit, inputs, weights, shots), fold=False)
        asked: list[Request] = []

        def pretend(requests: Sequence[Request]) -> list[Estimates]:
            asked.extend(requests)
            return [pretended(one) for one in requests]

        memory = {key: copy.deepcopy(value) for key, value in self._memory.items()}
        expansion = self._expand(request, self._execution(rng, pretend, memory))
        return self.dispatcher.plan([*asked, *expansion.requests])

    @torch.no_grad()
    def submit(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, shots: int | None = None) -> EstimateJob:
        """Begins to estimate a circuit's outputs.

        Args:
            circuit: What to run.
            inputs: (N, n_inputs) radians.
            weights: (W,), or (N, W).
            shots: In place of the backend's own number.
        """
        return self.submit_many([Evaluation(circuit, inputs, weights, shots)])[0]

    @torch.no_grad()
    def submit_many(self, evaluations: Sequence[Evaluation]) -> list[EstimateJob]:
        """Begins to estimate the outputs of several circuits in one job, each with its own number of shots."""
        gathering = gathering_of(self._begin)
        if gathering is None:
            return self._begin(evaluations)
        begun = gathering.ask(evaluations)
        return [_LaterJob(begun, place, evaluation.inputs) for place, evaluation in enumerate(evaluations)]

    def together(self, tasks: Sequence[Callable[[], _T]]) -> list[_T]:
        """The results of tasks that do not need each other; what they submit travels in one job."""
        if len(tasks) < 2:
            return [task() for task in tasks]
        return (gathering_of(self._begin) or Gathering(self._begin)).run(tasks)

    @torch.no_grad()
    def _begin(self, evaluations: Sequence[Evaluation]) -> list[EstimateJob]:
        asked = [self._request(evaluation) for evaluation in evaluations]
        draws = [self._draws(request) for request, _ in asked]
        try:
            prepared = [(self.expand(r, draw.rng), own) for (r, own), draw in zip(asked, draws, strict=True)]
        except BaseException:
            _undo(draws)
            raise
        future = self.dispatcher.submit([request for expansion, _ in prepared for request in expansion.requests])
        future.add_done_callback(lambda done: _undo(draws) if done.cancelled() or done.exception() else None)
        jobs, first = [], 0
        for evaluation, (expansion, own) in zip(evaluations, prepared, strict=True):
            last = first + len(expansion.requests)
            jobs.append(EstimateJob(future, partial(_finish, expansion, own, slice(first, last)), evaluation.inputs))
            first = last
        return jobs

    def _request(self, evaluation: Evaluation, fold: bool = True) -> tuple[Request, Parts]:
        """`fold`: Whether weights may go as numbers."""
        compiled, inputs, weights, shots = evaluation
        if compiled not in self._simplifiers:
            self._simplifiers[compiled] = Simplifier(compiled.circuit, self.simplify)
        found = self._simplifiers[compiled].reduced
        if fold and self.simplify and self.provider.device is not None and weights.ndim == 1 and not weights.requires_grad:
            found = self._simplifiers[compiled].folded(weights.double().numpy(force=True))
        bindings = torch.cat([inputs, weights.expand(len(inputs), -1)], dim=1).double().numpy(force=True)[:, found.columns]
        shots = self.shots if shots is None else shots
        return Request(found.quantum_circuit, found.parameters, bindings, found.parts.measurement, shots), found.parts

    def expand(self, request: Request, rng: np.random.Generator | None = None) -> Expansion:
        """What is really run for a request: mitigated, and in the device's instruction set.

        Args:
            request: As it was written.
            rng: What mitigations draw from; None: numbers that follow from the seed and the request.
        """
        rng = self._draws(request).rng if rng is None else rng
        return self._expand(request, self._execution(rng, self._run, self._memory))

    def _draws(self, request: Request) -> Draws:
        return self.dispatcher.draws(request) if self.mitigation else NO_DRAWS

    def _execution(
        self, rng: np.random.Generator, run: Callable[[Sequence[Request]], list[Estimates]], memory: dict[Hashable, Any]
    ) -> Execution:
        provider = self.provider
        return Execution(provider.device, lambda: provider.noise_model, rng, run, self.transpiler, memory)

    def _expand(self, request: Request, execution: Execution) -> Expansion:
        logical = [m for m in self.mitigation if m.stage < Mitigation.PHYSICAL]
        steps: list[Callable[[Request], Expansion]] = [
            *(_step(m, execution) for m in logical),
            lambda request: Expansion([self.transpiler(request)], _only),
            *(_step(m, execution) for m in self.mitigation[len(logical) :]),
        ]
        return nested(request, steps)

    def _run(self, requests: Sequence[Request]) -> list[Estimates]:
        return self.dispatcher.submit(requests).result()


def nested(request: Request, steps: Sequence[Callable[[Request], Expansion]]) -> Expansion:
    """The first step expands the request, the next each of its requests, and so on; combined from the last to the first."""
    if not steps:
        return Expansion([request], _only)
    first = steps[0](request)
    inner = [nested(r, steps[1:]) for r in first.requests]

    def combine(estimates: Sequence[Estimates]) -> Estimates:
        rest = iter(estimates)
        return first.combine([part.combine([next(rest) for _ in part.requests]) for part in inner])

    return Expansion([r for part in inner for r in part.requests], combine)


def _undo(draws: Sequence[Draws]) -> None:
    for draw in draws:
        draw.undo()


def _finish(expansion: Expansion, own: Parts, place: slice, estimates: list[Estimates]) -> Estimates:
    values, variances = expansion.combine(estimates[place])
    return Estimates(own.assemble(values), own.assemble_variances(variances))


def _step(mitigation: Mitigation, execution: Execution) -> Callable[[Request], Expansion]:
    return lambda request: mitigation.expand(request, execution)


def _only(estimates: Sequence[Estimates]) -> Estimates:
    (found,) = estimates
    return found
