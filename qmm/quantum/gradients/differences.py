"""Derivatives from small steps of inputs and weights: one after the other, or all at once in random directions."""

import hashlib
import math
from collections import OrderedDict
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.gradients.allotment import Allotment
from qmm.quantum.gradients.estimated import EstimatedGradient, Stencil
from qmm.quantum.gradients.evaluating import Points
from qmm.quantum.light_cone import drop_unfelt

_REMEMBERED = 4096  # inputs and weights whose directions were drawn
_FELT: WeakKeyDictionary[CompiledCircuit, NDArray[np.bool_]] = WeakKeyDictionary()


class FiniteDifference(EstimatedGradient):
    """Difference quotients, one input or weight at a time; those that no observable feels are not moved.

    Their bias is of the order of step**2 ("central") or step ("forward"), their variance of 1 / (shots * step**2): under
    shots, steps are long. For central differences of values between -1 and 1 both are balanced at about (9 / shots)**(1/6),
    which is 0.46 for 1,000 shots. The estimated variance knows nothing of the bias.

    Args:
        step: Radians.
        kind: "central": two points for each input and weight; "forward": one, and the point itself.
        shots, allotment, ahead: As for every EstimatedGradient.
    """

    def __init__(
        self,
        step: float = 0.3,
        kind: Literal["central", "forward"] = "central",
        shots: int | None = None,
        allotment: Allotment | None = None,
        ahead: bool = False,
    ):
        """Raises CircuitError for a step that is not positive, and another kind."""
        super().__init__(shots, allotment, ahead)
        if kind not in ("central", "forward"):
            raise CircuitError(f"kind={kind!r}; choose central or forward")
        self.step, self.kind = _positive(step), kind

    def stencil(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, wanted: tuple[bool, bool]) -> Stencil:
        identity = torch.eye(inputs.shape[1] + weights.shape[1], dtype=torch.float64)[_moved(circuit, wanted)]
        forward = self.kind == "forward"
        back = torch.zeros_like(identity[: min(1, len(identity))]) if forward else -identity
        shares = torch.cat([identity, -identity.sum(0, keepdim=True)[: len(back)] if forward else -identity])
        return Stencil(
            [_around(circuit, inputs, weights, self.step * torch.cat([identity, back]))],
            (shares / (self.step if forward else 2 * self.step)).unsqueeze(0),
        )


class SPSA(EstimatedGradient):
    """Simultaneous perturbation (Spall, IEEE Trans. Autom. Control 37, 332, 1992): all inputs and weights move at once, by plus
    or minus `step` each.

    Two points for each repetition, however many weights there are; each sample draws directions of its own, so that the
    gradient of shared weights averages over the batch as well. The bias is of the order of step**2. The estimated variance,
    which holds that of the directions, comes from the spread of the repetitions: NaN where there is only one.

    Args:
        repetitions: Directions for each sample.
        step: Radians.
        seed: Of the directions. They follow from it and from inputs and weights, so that a run that is begun again asks for
            what it had asked for; the same inputs and weights get others each time.
        shots, allotment, ahead: As for every EstimatedGradient.
    """

    def __init__(
        self,
        repetitions: int = 1,
        step: float = 0.2,
        seed: int = 0,
        shots: int | None = None,
        allotment: Allotment | None = None,
        ahead: bool = False,
    ):
        """Raises CircuitError for a step that is not positive, no repetition, and a negative seed."""
        super().__init__(shots, allotment, ahead)
        if repetitions < 1:
            raise CircuitError(f"repetitions={repetitions}; SPSA draws at least one direction")
        if seed < 0:
            raise CircuitError(f"seed={seed}; seeds are 0 or more")
        self.repetitions, self.step, self.seed = repetitions, _positive(step), seed
        self._drawn = OrderedDict[bytes, int]()

    def stencil(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, wanted: tuple[bool, bool]) -> Stencil:
        moved = _moved(circuit, wanted)
        repetitions, rng = self.repetitions if len(moved) else 0, self._rng(inputs, weights)
        shape = len(inputs), repetitions, inputs.shape[1] + weights.shape[1]
        directions = torch.zeros(shape, dtype=torch.float64)
        directions[..., moved] = torch.from_numpy(rng.choice([-1.0, 1.0], (*shape[:2], len(moved))))
        both = torch.stack([directions, -directions], dim=2).flatten(1, 2)
        return Stencil(
            [_around(circuit, inputs, weights, self.step * both)],
            both / (2 * self.step * self.repetitions),
            repetitions or None,
        )

    def _rng(self, inputs: Tensor, weights: Tensor) -> np.random.Generator:
        key = hashlib.sha256(torch.cat([inputs, weights], dim=1).numpy().tobytes()).digest()
        number = self._drawn.pop(key, 0)
        self._drawn[key] = number + 1
        if len(self._drawn) > _REMEMBERED:
            self._drawn.popitem(last=False)
        return np.random.default_rng([self.seed, number, *key])


def _around(circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, steps: Tensor) -> Points:
    """The points at `steps`, ([B,] S, n_inputs + n_weights), from each sample."""
    points = torch.cat([inputs, weights], dim=1).unsqueeze(1) + steps
    return Points(circuit, *points.split([inputs.shape[1], weights.shape[1]], dim=-1))


def _moved(circuit: CompiledCircuit, wanted: tuple[bool, bool]) -> NDArray[np.int64]:
    """The places, among inputs and then weights, of those that are wanted and that an observable feels."""
    own = circuit.circuit
    if circuit not in _FELT:
        used = set(drop_unfelt(own).quantum_circuit.parameters)
        _FELT[circuit] = np.array([p in used for p in (*own.inputs, *own.weights)], dtype=bool)
    asked = np.repeat(wanted, [len(own.inputs), len(own.weights)])
    return np.flatnonzero(_FELT[circuit] & asked)


def _positive(step: float) -> float:
    if not 0 < step < math.inf:
        raise CircuitError(f"step={step}; it is a positive number of radians: 0.2 for instance")
    return step
