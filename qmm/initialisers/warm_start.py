"""WarmStart: a classical counterpart is trained in the circuit's place, and the circuit learns to do what it does."""

import copy
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from qmm.errors import InputError
from qmm.initialisers.base import Initialiser, SearchingInitialiser
from qmm.initialisers.distributions import SmallAngle
from qmm.initialisers.landscape import Landscape, ModelLandscape, random_inputs
from qmm.quantum import Backend, Circuit, CompiledCircuit, Gradient, Probabilities, expectations, recording

_RIDGE = 1e-6  # of a variance of outputs, which are at most 1: where they hardly vary, nothing is made of them


class Counterpart(nn.Module):
    """A classical network with the inputs and outputs of a circuit: (B, n_inputs) radians -> (B, n_outputs).

    It sees the cosines and sines of the inputs, has one hidden layer of tanh, and keeps to what the circuit can give: an
    observable within the sum of its coefficients, probabilities that sum to 1.
    """

    def __init__(self, circuit: Circuit, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * len(circuit.inputs), hidden), nn.Tanh(), nn.Linear(hidden, circuit.n_outputs))
        observables = circuit.observables
        self.bounds = (
            None if isinstance(observables, Probabilities) else torch.tensor([float(abs(o.coeffs).sum()) for o in observables])
        )

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.layers(torch.cat([inputs.cos(), inputs.sin()], dim=1).float())
        return found.softmax(dim=1) if self.bounds is None else self.bounds.to(found) * found.tanh()


class Replaced(Gradient):
    """Gives the values of counterparts where circuits would be run."""

    def __init__(self, hidden: int, generator: torch.Generator):
        self._hidden, self._seed = hidden, int(torch.randint(2**31 - 1, (), generator=generator))
        self.counterparts: dict[CompiledCircuit, Counterpart] = {}
        """By circuit; made when first run, one for each set of present modalities too."""

    def values(self, backend: Backend, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        return self.counterpart(circuit, inputs)(inputs).to(inputs.dtype)

    def counterpart(self, circuit: CompiledCircuit, inputs: Tensor) -> Counterpart:
        """The one of this circuit, on the device of its inputs."""
        if circuit not in self.counterparts:
            with torch.random.fork_rng([]):
                torch.manual_seed(self._seed + len(self.counterparts))
                self.counterparts[circuit] = Counterpart(circuit.circuit, self._hidden).to(inputs.device)
        return self.counterparts[circuit]


class Lesson(NamedTuple):
    """What a circuit is to learn."""

    circuit: CompiledCircuit
    columns: Tensor
    """Of the landscape's weights, the circuit's own."""
    inputs: Tensor
    """(B, n_inputs) radians"""
    outputs: Tensor
    """(B, n_outputs) of the counterpart."""


class WarmStart(SearchingInitialiser):
    """Trains a classical counterpart in the circuits' place, then distils it into the circuits.

    First a small classical network with the inputs and outputs of each circuit (`Counterpart`) learns to do what the circuit
    does at the drawn weights, so that it begins with what a circuit can do. Then it stands in the circuit's place, and the
    whole model is trained so, by its own loss on its own data: `steps` steps of Adam. Then the circuits learn to give what
    their counterparts give at the inputs that these had last, by their mean square error (distillation, arXiv:1503.02531, of
    an inner layer, arXiv:1412.6550). Both ways take `distilling` steps of Adam, and run circuits exactly. What the rest of the
    model has learnt meanwhile it keeps, as in transfer learning from classical to quantum (arXiv:1912.08278), else what the
    circuits have learnt would be an answer to questions that nobody asks any more.

    The steps are training: count them where a warm start is compared with others.

    Args:
        initialiser: Draws the weights that the distillation starts from; by default SmallAngle.
        steps: Of the counterpart's training.
        distilling: Steps of the distillation.
        settling: Steps of the rest of the model behind the distilled circuits, if it is kept.
        hidden: Width of the counterpart's hidden layer.
        learning_rate: Of both.
        keep: Whether the rest of the model keeps what it has learnt; otherwise its weights are as before.
        batches: Of the data, gone through as often as the steps ask for.
    """

    reference = "arXiv:1503.02531"

    def __init__(
        self,
        initialiser: Initialiser | None = None,
        steps: int = 100,
        distilling: int = 200,
        settling: int = 50,
        hidden: int = 32,
        learning_rate: float = 0.01,
        keep: bool = True,
        batches: int = 16,
    ):
        if min(steps, distilling, hidden, batches) < 1 or settling < 0 or learning_rate <= 0:
            raise InputError(
                f"steps={steps}, distilling={distilling}, settling={settling}, hidden={hidden}, batches={batches}, "
                f"learning_rate={learning_rate}; each is at least 1, settling at least 0, the learning rate above 0"
            )
        self.initialiser = initialiser or SmallAngle()
        self.steps, self.distilling, self.hidden, self.keep = steps, distilling, hidden, keep
        self.settling = settling
        self.learning_rate, self.batches = learning_rate, batches

    def see(self, circuit: Circuit, inputs: Tensor) -> Initialiser:
        return WarmStart(**{**self.config_arguments(), "initialiser": self.initialiser.see(circuit, inputs)})

    def draw(self, circuit: Circuit, generator: torch.Generator, count: int = 1) -> Tensor:
        """Raises InputError: there is nothing to learn without a model and its data."""
        raise InputError("WarmStart needs a model and its data; start a training with it (qmm.training.Initialisation)")

    def first(self, circuit: Circuit, generator: torch.Generator) -> Tensor:
        return self.initialiser.first(circuit, generator)

    def improve(self, landscape: Landscape, start: Tensor, generator: torch.Generator) -> tuple[Tensor, str]:
        if not isinstance(landscape, ModelLandscape):
            raise InputError("WarmStart needs a model and its data, not a circuit alone")
        before = copy.deepcopy(landscape.module.state_dict())
        replaced = Replaced(self.hidden, generator)
        self._imitate(landscape, replaced, generator)
        with landscape.differentiated_by(replaced):
            losses = self._train(landscape, replaced.counterparts.values(), self.steps)
            lessons = self._lessons(landscape, replaced)
        with torch.no_grad():
            first = float(_unexplained(lessons, start))
        weights, left = self._distil(lessons, start)
        landscape.set(weights)
        if self.keep:
            settled = self._train(landscape, [], self.settling)
            kept = f"the rest of the model settled in {self.settling} steps" + (f", loss {settled[-1]:.3f}" if settled else "")
        else:
            landscape.module.load_state_dict(before)
            kept = "the rest of the model is as before"
        return weights, (
            f"counterparts trained for {self.steps} steps, loss {losses[0]:.3f} -> {losses[-1]:.3f}; distilled in "
            f"{self.distilling} steps, of the variance of their outputs {1 - first:.0%} -> {1 - left:.0%} explained; {kept}"
        )

    def _imitate(self, landscape: ModelLandscape, replaced: Replaced, generator: torch.Generator) -> None:
        """Counterparts learn what circuits do now, at the inputs that they have and at as many random ones."""
        with torch.no_grad(), recording() as tape:
            for batch in landscape.batches:
                landscape.loss(batch)
        for compiled in dict.fromkeys(evaluation.circuit for evaluation in tape):
            own = [evaluation for evaluation in tape if evaluation.circuit is compiled]
            given = torch.cat([evaluation.inputs for evaluation in own])
            inputs = torch.cat([given, random_inputs(compiled.circuit, generator, len(given)).to(given)])
            weights = own[0].weights if own[0].weights.ndim == 1 else own[0].weights[0]
            with torch.no_grad():
                wanted = expectations(compiled, inputs, weights)
            counterpart = replaced.counterpart(compiled, inputs)
            optimiser = torch.optim.Adam(counterpart.parameters(), self.learning_rate)
            for _ in range(self.distilling):
                with torch.enable_grad():
                    distance = (counterpart(inputs) - wanted).square().mean()
                    slopes = torch.autograd.grad(distance, list(counterpart.parameters()))
                for parameter, slope in zip(counterpart.parameters(), slopes, strict=True):
                    parameter.grad = slope
                optimiser.step()

    def _train(self, landscape: ModelLandscape, counterparts: Iterable[nn.Module], steps: int) -> list[float]:
        """Everything but circuit weights, and the counterparts; the losses, of every step one."""
        circuit_weights = {id(parameter) for parameter in landscape.parameters.values()}
        trained = [p for p in landscape.module.parameters() if p.requires_grad and id(p) not in circuit_weights]
        trained += [p for counterpart in counterparts for p in counterpart.parameters()]
        optimiser = torch.optim.Adam(trained, self.learning_rate)
        losses = []
        for step in tqdm(range(steps), desc="warm start", unit="step"):
            with torch.enable_grad():
                loss = landscape.loss(landscape.batches[step % len(landscape.batches)])
                found = torch.autograd.grad(loss, trained, allow_unused=True)
            for parameter, slope in zip(trained, found, strict=True):
                parameter.grad = slope
            optimiser.step()
            losses.append(float(loss.detach()))
        optimiser.zero_grad(set_to_none=True)
        return losses

    @torch.no_grad()
    def _lessons(self, landscape: ModelLandscape, replaced: Replaced) -> list[Lesson]:
        with recording() as tape:
            for batch in landscape.batches:
                landscape.loss(batch)
        lessons = []
        for compiled, columns in landscape.circuits.values():
            inputs = [evaluation.inputs.double().cpu() for evaluation in tape if evaluation.circuit is compiled]
            if inputs:
                rows = torch.cat(inputs)
                device = next(replaced.counterparts[compiled].parameters()).device
                outputs = replaced.counterparts[compiled](rows.to(device)).double().cpu()
                lessons.append(Lesson(compiled, columns, rows, outputs))
        if not lessons:
            raise InputError("WarmStart: no batch ran a circuit with all modalities present; give it more batches")
        return lessons

    def _distil(self, lessons: Sequence[Lesson], start: Tensor) -> tuple[Tensor, float]:
        """The weights, and the share of the outputs' variance that is left."""
        weights = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([weights], self.learning_rate)
        for _ in tqdm(range(self.distilling), desc="distilling", unit="step"):
            with torch.enable_grad():
                (weights.grad,) = torch.autograd.grad(_unexplained(lessons, weights), weights)
            optimiser.step()
        with torch.no_grad():
            return weights.detach(), float(_unexplained(lessons, weights))


def _unexplained(lessons: Sequence[Lesson], weights: Tensor) -> Tensor:
    """The share of the variance of counterparts' outputs that no affine map of the circuits' outputs gives."""
    shares = [
        unexplained(expectations(lesson.circuit, lesson.inputs, weights[lesson.columns]), lesson.outputs) for lesson in lessons
    ]
    return torch.stack(shares).mean()


def unexplained(found: Tensor, wanted: Tensor) -> Tensor:
    """Of the variance of `wanted` (B, m), the share that the best affine map of `found` (B, n) leaves, from 0 to 1."""
    found, wanted = found - found.mean(dim=0), wanted - wanted.mean(dim=0)
    gram = found.T @ found + _RIDGE * len(found) * torch.eye(found.shape[1], dtype=found.dtype)
    left = wanted - found @ torch.linalg.solve(gram, found.T @ wanted)
    return left.square().sum() / wanted.square().sum().clamp_min(torch.finfo(wanted.dtype).tiny)
