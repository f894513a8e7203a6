"""Rotosolve and NFT: each weight in turn goes to the minimum of the sinusoid that the loss is along it."""

import math
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.optimisers.base import CircuitOptimizer
from qmm.optimisers.probing import Probes, flat, moved
from qmm.optimisers.tape import Felt, Tape
from qmm.quantum import CircuitError, CompiledCircuit
from qmm.quantum.gradients.unrolling import unroll

_ZERO = 1e-9


class Sinusoid(NamedTuple):
    """a + b cos(f t) + s sin(f t)"""

    mean: float
    cosine: float
    sine: float
    frequency: float

    @classmethod
    def through(cls, middle: float, ahead: float, behind: float, frequency: float) -> "Sinusoid":
        """With these values at t = 0 and at f t = +-pi/2."""
        mean = (ahead + behind) / 2
        return cls(mean, middle - mean, (ahead - behind) / 2, frequency)

    def minimum(self) -> float:
        """The nearest t at which it is lowest; 0 where it is constant."""
        if math.hypot(self.cosine, self.sine) <= _ZERO * max(1.0, abs(self.mean)):
            return 0.0
        return math.atan2(-self.sine, -self.cosine) / self.frequency

    def __call__(self, t: float) -> float:
        return self.mean + self.cosine * math.cos(self.frequency * t) + self.sine * math.sin(self.frequency * t)


class Rotosolve(CircuitOptimizer):
    """One weight after the other, the loss at three angles of it, and a move to where the sinusoid through them is lowest.

    The loss is that sinusoid where it is linear in expectation values; where a decoder and a cross-entropy lie between, the
    sinusoid is an approximation, and a share of the way (lr < 1) does better, as it does on small batches.

    Args:
        params, max_step: As in CircuitOptimizer.
        lr: Share of the way to the minimum, 1 in the paper.
        weights: How many weights a step treats, the next step the next ones; None: all.
        reset: Weights after which the loss where one stands is measured anew; between them it is that of the last sinusoid.

    Raises InputError, when it steps, for weights that are angles of several gates, or of one that is no rotation of two
    eigenvalues (controlled rotations), or that are made of parameters otherwise than by picking elements.
    """

    reference = "arXiv:1905.09692"
    uses_gradient = False

    def __init__(
        self,
        params: Any = None,
        lr: float = 1.0,
        weights: int | None = None,
        reset: int = 1,
        max_step: float | None = None,
    ):
        super().__init__(params, lr, max_step)
        if lr > 1 or reset < 1 or (weights is not None and weights < 1):
            raise InputError(f"lr={lr}, weights={weights}, reset={reset}; expected a share of at most 1, and at least 1 each")
        self.weights, self.reset = weights, reset
        self._tape = Tape(self.parameters) if self.param_groups else None
        self._moves: Tensor | None = None

    def explore(self, probes: Probes) -> float:
        here, rates = flat(self.parameters), super().rates()
        frequencies, middle = self._frequencies(probes, len(here))
        place, loss = here.clone(), middle
        with moved(self.parameters) as put:

            def at(index: int, angle: float) -> float:
                there = place.clone()
                there[index] += angle
                put(there)
                return probes.value()

            for turn, index in enumerate(self._turns(frequencies)):
                frequency = float(frequencies[index])
                if turn and turn % self.reset == 0:
                    middle = at(index, 0.0)
                quarter = math.pi / 2 / frequency
                curve = Sinusoid.through(middle, at(index, quarter), at(index, -quarter), frequency)
                move = curve.minimum() * float(rates[index])
                place[index] += move
                middle = curve(move)
        self._moves = here - place
        return loss

    def rates(self) -> Tensor:
        """1: learning rates are in the moves already."""
        return torch.ones_like(super().rates())

    def direction(self) -> Tensor:
        assert self._moves is not None
        return self._moves

    def _turns(self, frequencies: Tensor) -> list[int]:
        """The weights of this step; those that no output of the batch's circuits feels are left out."""
        size = len(frequencies)
        count = size if self.weights is None else min(self.weights, size)
        start = self.steps * count % size
        chosen = [(start + i) % size for i in range(count)]
        return [index for index in chosen if frequencies[index]]

    def _frequencies(self, probes: Probes, size: int) -> tuple[Tensor, float]:
        """(P,): the periods of the loss in a turn of 2 pi of each weight, 0 for what nothing feels; and the loss."""
        assert self._tape is not None
        loss = self._tape.run(probes.value)
        found = torch.zeros(size, dtype=torch.float64)
        for felt in self._tape.felt:
            own = _frequencies_of(felt)
            assert felt.picks is not None
            picks = felt.picks.cpu()
            known = found[picks]
            if ((known != own) & (known != 0) & (own != 0)).any():
                raise _untreatable("a weight that is an angle at another rate in another circuit of the same pass")
            found[picks] = torch.maximum(known, own)
        return found, loss


class NFT(Rotosolve):
    """Rotosolve with two values for a weight: the third is that of the last sinusoid at its minimum, measured anew after
    `reset` weights.

    Args:
        params, lr, weights, max_step: As in Rotosolve.
        reset: As in Rotosolve; the paper's value is 32.
    """

    reference = "arXiv:1903.12166"

    def __init__(
        self,
        params: Any = None,
        lr: float = 1.0,
        weights: int | None = None,
        reset: int = 32,
        max_step: float | None = None,
    ):
        super().__init__(params, lr, weights, reset, max_step)


_KNOWN: WeakKeyDictionary[CompiledCircuit, Tensor] = WeakKeyDictionary()


def _frequencies_of(felt: Felt) -> Tensor:
    """(W,) of a circuit's weights. Raises InputError for one that stands in several angles."""
    if felt.picks is None:
        raise _untreatable("weights that are not each an element of a parameter, each another one")
    if felt.circuit in _KNOWN:
        return _KNOWN[felt.circuit]
    circuit = felt.circuit.circuit
    try:
        unrolled = unroll(felt.circuit)
    except CircuitError as error:
        raise _untreatable(f"a gate without a shift rule ({error})") from error
    if unrolled.angles.formulas and any(formula.weights for formula in unrolled.angles.formulas):
        raise _untreatable("an angle that is no linear function of a weight")
    inputs, weights = (torch.zeros(1, len(p), dtype=torch.float64) for p in (circuit.inputs, circuit.weights))
    slopes = unrolled.slopes(np.arange(len(unrolled.of_inputs)), inputs, weights)[0, :, len(circuit.inputs) :].abs()
    times = (slopes > _ZERO).sum(0)
    for weight, number in zip(circuit.weights, times.tolist(), strict=True):
        if number > 1:
            raise _untreatable(f"weight {weight.name!r}, which turns {number} gates, or one that is no plain rotation")
    _KNOWN[felt.circuit] = slopes.sum(0)
    return _KNOWN[felt.circuit]


def _untreatable(what: str) -> InputError:
    return InputError(
        f"Rotosolve cannot treat {what}: along it the loss is no sinusoid; take another optimiser (SPSA, "
        "QuantumNaturalGradient), or an ansatz in which each weight is the angle of one Pauli rotation"
    )
