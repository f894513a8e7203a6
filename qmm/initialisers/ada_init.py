"""AdaInit: initial weights are proposed again and again, and kept when they raise the variance of gradients."""

import logging
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from qmm.circuits.gates import check_name
from qmm.errors import InputError
from qmm.initialisers.base import Initialiser, SearchingInitialiser
from qmm.initialisers.distributions import SmallAngle
from qmm.initialisers.landscape import CircuitLandscape, Landscape, random_inputs
from qmm.initialisers.proposers import EvolutionStrategy, Proposer, Task
from qmm.quantum import Circuit

log = logging.getLogger(__name__)
_UNITS = ("start", "one")


class Search(NamedTuple):
    """What a search did."""

    weights: Tensor
    """(W,) radians: of the last proposal that was kept, else the start."""
    kept: list[tuple[int, float]]
    """The rounds (0: the start) whose best proposal was kept, and its variance; the variances rise."""
    rounds: int
    evaluations: int
    """Starts whose gradients were looked at."""
    threshold: float
    """The least rise for which a proposal was kept."""


class AdaInit(SearchingInitialiser):
    """Iterative search for weights at which gradients vary.

    The best variance so far, S, is a submartingale: a proposal replaces the weights only where its variance is above S by at
    least 1 / (N**degree K), of N qubits and K rounds, so S never falls, and, being bounded, rises only so often. The search
    stops after K rounds, or when `patience` rounds in a row have kept nothing: had each of them a chance p of an improvement,
    all of them would fail with probability (1 - p)**patience, 4 % for p = 0.1 and 30 rounds.

    In a training, gradients are those of the loss on its first batches (`qmm.training.Initialisation`); for a circuit alone,
    those of the mean of its outputs at random inputs. The paper's threshold is for gradients of expectation values; those of
    a loss have another scale, hence `unit`. A large variance at the start does not promise a good minimum.

    Args:
        proposer: What proposes; by default EvolutionStrategy.
        initialiser: Draws the first weights; by default SmallAngle.
        rounds: K, at most.
        patience: See above.
        degree: See above.
        unit: Of the threshold: "start", the variance at the first weights, or "one", as in the paper.
        inputs: How many random inputs, for a circuit alone.
        batches: Of training data, in a training.
    """

    reference = "arXiv:2502.13166"

    def __init__(
        self,
        proposer: Proposer | None = None,
        initialiser: Initialiser | None = None,
        rounds: int = 40,
        patience: int = 15,
        degree: int = 2,
        unit: str = "start",
        inputs: int = 8,
        batches: int = 2,
    ):
        if min(rounds, patience, inputs, batches) < 1:
            raise InputError(f"rounds={rounds}, patience={patience}, inputs={inputs}, batches={batches}; each is at least 1")
        self.proposer, self.initialiser = proposer or EvolutionStrategy(), initialiser or SmallAngle()
        self.rounds, self.patience, self.degree, self.inputs = rounds, patience, degree, inputs
        self.batches = batches
        self.unit = check_name("unit", unit, _UNITS)

    def see(self, circuit: Circuit, inputs: Tensor) -> "Initialiser":
        return AdaInit(**{**self.config_arguments(), "initialiser": self.initialiser.see(circuit, inputs)})

    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        """A search for each row."""
        rows = []
        for start in self.initialiser.draw(circuit, generator, count):
            landscape = CircuitLandscape(circuit, random_inputs(circuit, generator, self.inputs))
            rows.append(self.search(landscape, start, generator).weights)
        return torch.stack(rows) if rows else torch.zeros(0, len(circuit.weights), dtype=torch.float64)

    def first(self, circuit: Circuit, generator: torch.Generator) -> Tensor:
        return self.initialiser.first(circuit, generator)

    def improve(self, landscape: Landscape, start: Tensor, generator: torch.Generator) -> tuple[Tensor, str]:
        found = self.search(landscape, start, generator, progress=True)
        told = (
            f"gradient variance {found.kept[0][1]:.2e} -> {found.kept[-1][1]:.2e} in {found.rounds} rounds, "
            f"{found.evaluations} starts looked at, {len(found.kept) - 1} kept"
        )
        return found.weights, told

    def search(self, landscape: Landscape, start: Tensor, generator: torch.Generator, progress: bool = False) -> Search:
        """From the weights `start` (W,)."""
        with landscape.remembering():
            return self._search(landscape, start, generator, progress)

    def _search(self, landscape: Landscape, start: Tensor, generator: torch.Generator, progress: bool) -> Search:
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        best, (variance,) = start, landscape.variances(start[None]).tolist()
        threshold = (variance if self.unit == "start" else 1.0) / (max(1, landscape.n_qubits) ** self.degree * self.rounds)
        self.proposer.begin(Task(landscape.size, landscape.n_qubits, landscape.depth, seed), start, variance)
        kept, evaluations, done = [(0, variance)], 1, 0
        with tqdm(total=self.rounds, desc="AdaInit", unit="round", disable=not progress) as bar:
            for done in range(1, self.rounds + 1):
                proposals = self.proposer.propose()
                found = landscape.variances(proposals)
                self.proposer.observe(proposals, found)
                evaluations += len(proposals)
                if float(found.max()) - variance >= max(threshold, torch.finfo(torch.float64).tiny):
                    best, variance = proposals[int(found.argmax())], float(found.max())
                    kept.append((done, variance))
                bar.update()
                bar.set_postfix(variance=f"{variance:.2e}")
                if done - kept[-1][0] >= self.patience:
                    break
        self.proposer.end()
        return Search(best, kept, done, evaluations, threshold)
