"""SPSA and QNSPSA: from two values of the loss, however many weights there are."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.optimisers.base import CircuitOptimizer
from qmm.optimisers.counting import metric_of
from qmm.optimisers.metric import Metric, solve
from qmm.optimisers.probing import Probes, flat, moved
from qmm.optimisers.tape import Felt, Tape
from qmm.quantum import states


class SPSA(CircuitOptimizer):
    """weights -= lr_k g_k, with g_k = (loss(w + c_k d) - loss(w - c_k d)) / (2 c_k) d for a random d of +-1 (Spall 1992).

    lr_k = lr / (k + 1 + stability)^alpha, c_k = perturbation / (k + 1)^gamma in step k = 0, 1, ...; alpha=0 leaves the
    learning rate to schedulers. Both values are those of the same batch with the same random numbers. Directions follow from
    the seed and k alone.

    Args:
        params, lr, max_step: As in CircuitOptimizer.
        perturbation: c, in radians; more where values are noisy.
        alpha, gamma, stability: How gains decay; the defaults of alpha and gamma are Spall's.
        resamplings: Directions that are averaged over in each step, two values each.
        seed: Of the directions.
    """

    reference = "Spall, IEEE Trans. Automat. Contr. 37, 332 (1992)"
    uses_gradient = False

    def __init__(
        self,
        params: Any = None,
        lr: float = 0.1,
        perturbation: float = 0.1,
        alpha: float = 0.602,
        gamma: float = 0.101,
        stability: float = 0.0,
        resamplings: int = 1,
        seed: int = 0,
        max_step: float | None = None,
    ):
        super().__init__(params, lr, max_step)
        if perturbation <= 0 or resamplings < 1 or stability < 0:
            raise InputError(
                f"perturbation={perturbation}, resamplings={resamplings}, stability={stability}; expected more than 0, at "
                "least 1, 0 or more"
            )
        self.perturbation, self.alpha, self.gamma, self.stability = perturbation, alpha, gamma, stability
        self.resamplings, self.seed = resamplings, seed
        self._found: Tensor | None = None

    def signs(self, number: int) -> Tensor:
        """(number, P) of +-1: the random directions of the step to come."""
        generator = torch.Generator().manual_seed(self.seed)
        offset = int(torch.randint(2**62, (1,), generator=generator))  # neighbouring seeds, far-apart streams
        generator.manual_seed(offset + self.steps)
        size = sum(p.numel() for p in self.parameters)
        return torch.randint(2, (number, size), generator=generator).double() * 2 - 1

    def explore(self, probes: Probes) -> float:
        here, radius = flat(self.parameters), self.perturbation / (self.steps + 1) ** self.gamma
        self._found, mean = torch.zeros_like(here), 0.0
        with moved(self.parameters) as put:
            for signs in self.signs(self.resamplings):
                values = []
                for turn in (radius, -radius):
                    put(here + turn * signs)
                    values.append(self.probe(probes))
                self._found += (values[0] - values[1]) / (2 * radius * self.resamplings) * signs
                mean += (values[0] + values[1]) / (2 * self.resamplings)
        return mean

    def probe(self, probes: Probes) -> float:
        """The loss at weights moved along a direction."""
        return probes.value()

    def direction(self) -> Tensor:
        assert self._found is not None
        return self._found / (self.steps + 1 + self.stability) ** self.alpha


class QNSPSA(SPSA):
    """SPSA along a natural gradient whose metric is estimated as well, from four overlaps of states in each step.

    g_k = -(F(w + e(h + h')) - F(w + e h) - F(w + e(h' - h)) + F(w - e h)) / (4 e^2) (h h'^T + h' h^T) / 2 for random h, h' of
    +-1, where F(v) = |<psi(w)|psi(v)>|^2, the mean over samples. The metric is the mean of the identity and all g_k so far, its
    eigenvalues made positive, plus regularisation. Overlaps are exact, from the engine.

    Args:
        params, lr, perturbation, alpha, gamma, stability, resamplings, seed, max_step: As in SPSA; e is c_k.
        regularisation: Added to the diagonal.
        rows: Samples of each batch whose states make the metric; None: all.
        memory: Steps that the mean of the metric reaches back, exponentially; None: all, evenly.
    """

    reference = "arXiv:2103.09232"
    watches = True

    def __init__(
        self,
        params: Any = None,
        lr: float = 0.02,
        perturbation: float = 0.1,
        alpha: float = 0.602,
        gamma: float = 0.101,
        stability: float = 0.0,
        resamplings: int = 1,
        seed: int = 0,
        regularisation: float = 0.01,
        rows: int | None = None,
        memory: int | None = None,
        max_step: float | None = None,
    ):
        super().__init__(params, lr, perturbation, alpha, gamma, stability, resamplings, seed, max_step)
        if regularisation < 0 or (rows is not None and rows < 1) or (memory is not None and memory < 1):
            raise InputError(
                f"regularisation={regularisation}, rows={rows}, memory={memory}; expected 0 or more, and 1 or more"
            )
        self.regularisation, self.rows, self.memory = regularisation, rows, memory
        self._tape = Tape(self.parameters) if self.param_groups else None

    def probe(self, probes: Probes) -> float:
        assert self._tape is not None
        value = self._tape.run(probes.value)
        if any(felt.picks is None for felt in self._tape.felt):
            raise InputError(
                "QNSPSA was given parameters of which circuit weights are made otherwise than by picking elements; take "
                "SPSA, or QuantumNaturalGradient"
            )
        return value

    def watching(self) -> ExitStack:
        assert self._tape is not None
        stack = ExitStack()
        stack.enter_context(self._tape.recording(graph=False))
        return stack

    def _estimate(self) -> None:
        assert self._tape is not None
        if not self._tape.felt:
            return  # no circuit took part in this batch
        radius = self.perturbation / (self.steps + 1) ** self.gamma
        directions = self.signs(3 * self.resamplings)[self.resamplings :].unflatten(0, (self.resamplings, 2))
        found = torch.stack([self.sample(self._tape.felt, first, second, radius) for first, second in directions]).mean(0)
        known, steps = self.own_state.get("metric"), self.steps
        before = torch.eye(len(found), dtype=torch.float64) if known is None else known.double().cpu()
        share = 1 / (steps + 2 if self.memory is None else min(steps + 2, self.memory))
        self.own_state["metric"] = ((1 - share) * before + share * found).to(self.parameters[0])

    def sample(self, felt: list[Felt], first: Tensor, second: Tensor, radius: float) -> Tensor:
        """(P, P): an estimate of the metric from the overlaps along two directions (P,)."""
        moves = torch.stack([first + second, first, second - first, -first]) * radius
        rows, total = 0, torch.zeros(4, dtype=torch.float64)
        for own in felt:
            inputs = own.inputs[: self.rows]
            rows += len(inputs)
            with metric_of(4 * len(inputs)):
                start = states(own.circuit, inputs, own.weights)
                for place, move in enumerate(moves):
                    there = states(own.circuit, inputs, own.weights + own.along(move.to(own.weights)))
                    total[place] += torch.linalg.vecdot(start, there).abs().square().double().sum().cpu()
        overlaps = total / max(1, rows)
        second_derivative = (overlaps[0] - overlaps[1] - overlaps[2] + overlaps[3]) / (2 * radius**2)
        return -second_derivative / 2 * (torch.outer(first, second) + torch.outer(second, first)) / 2

    def direction(self) -> Tensor:
        self._estimate()
        known = self.own_state.get("metric")
        if known is None:
            return super().direction()
        metric = known.double().cpu()
        values, vectors = torch.linalg.eigh(metric)
        positive = (vectors * values.abs()) @ vectors.mT
        return solve(Metric(positive, 1e-5), super().direction(), self.regularisation)
