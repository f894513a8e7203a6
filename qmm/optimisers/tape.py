"""Tape: the circuits of a pass, and how their weights follow from the parameters of an optimiser."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from qmm.circuit_weights import jacobian, places
from qmm.quantum import CompiledCircuit, Evaluation, recording


class Felt(NamedTuple):
    """An evaluation whose weights depend on the parameters, detached."""

    circuit: CompiledCircuit
    inputs: Tensor
    """(b, n_inputs)"""
    weights: Tensor
    """(W,) or (b, W)"""
    picks: Tensor | None
    """(W,): which element of the parameters (P,) each weight is; None where weights are made of them in another way."""
    slopes: Tensor
    """d weights / d parameters, (W, P) or (b, W, P); (W, 0) where they are picks."""

    def along(self, vector: Tensor) -> Tensor:
        """(P,) -> how fast the weights change along it, (W,) or (b, W)."""
        return vector[self.picks] if self.picks is not None else self.slopes @ vector

    def back(self, gradient: Tensor, size: int) -> Tensor:
        """(W,), or (b, W), the derivatives by the weights -> (P,), those by the parameters, summed over samples."""
        if self.picks is not None:
            return gradient.new_zeros(size).index_add_(0, self.picks, gradient)
        return torch.einsum("...wp,...w->p", self.slopes, gradient)


class Tape(list[Evaluation]):
    """Takes in, while the graph of a pass is there, what of its evaluations depends on the parameters.

    What picks elements of parameters does so for as long as the numbers agree; how is found once for each circuit.
    """

    def __init__(self, parameters: Sequence[Tensor]):
        super().__init__()
        self.felt: list[Felt] = []
        self.unknown = False
        """Whether something was evaluated without a graph, of which it is not known yet how it depends on them."""
        self._parameters = {str(i): nn.Parameter(p) if not isinstance(p, nn.Parameter) else p for i, p in enumerate(parameters)}
        self._known: WeakKeyDictionary[CompiledCircuit, dict[int, Tensor | None]] = WeakKeyDictionary()
        self._met: Counter[int] = Counter()
        self._graph = True

    def recording(self, graph: bool = True) -> AbstractContextManager[list[Evaluation]]:
        """Of another pass; what the last one left is forgotten. Without a `graph`, only circuits seen before are known."""
        self.felt, self.unknown, self._graph = [], False, graph
        self._met.clear()
        return recording(self)

    def run(self, value: Callable[[bool], float]) -> float:
        """`value(graph)` of a pass, recorded: with a graph where nothing is known yet, or where something new is met."""
        graph = not self._known
        with self.recording(graph):
            found = value(graph)
        if self.unknown:
            with self.recording():
                value(True)
        return found

    def append(self, evaluation: Evaluation) -> None:
        circuit, inputs, weights, _ = evaluation
        turn = self._met[id(circuit)]  # one circuit may run several times, with other weights
        self._met[id(circuit)] += 1
        values = weights.detach()
        known = self._known.get(circuit, {})
        picks = known.get(turn)
        if picks is not None and weights.ndim == 1 and torch.equal(self._vector().to(values)[picks], values):
            self.felt.append(Felt(circuit, inputs.detach(), values, picks, values[:, None][:, :0]))
        elif self._graph:
            self._look(evaluation, turn)
        elif turn not in known or picks is not None:
            self.unknown = True

    def _look(self, evaluation: Evaluation, turn: int) -> None:
        circuit, inputs, weights, _ = evaluation
        if not weights.requires_grad:
            self._known.setdefault(circuit, {})[turn] = None  # depends on none of them
            return
        found = places(weights, self._parameters) if weights.ndim == 1 else None
        if found is not None:
            starts, start = {}, 0
            for name, parameter in self._parameters.items():
                starts[name], start = start, start + parameter.numel()
            picks = torch.tensor([starts[place.parameter] + place.element for place in found], device=weights.device)
            self._known.setdefault(circuit, {})[turn] = picks
            self.felt.append(Felt(circuit, inputs.detach(), weights.detach(), picks, weights.detach()[:, None][:, :0]))
            return
        rows = jacobian(weights.flatten(), self._parameters)
        if not rows:
            self._known.setdefault(circuit, {})[turn] = None
            return
        n_weights = weights.numel()
        parts = [rows.get(name, weights.new_zeros(n_weights, p.numel())) for name, p in self._parameters.items()]
        slopes = torch.cat([part.detach().to(weights.device) for part in parts], dim=1).unflatten(0, weights.shape)
        self.felt.append(Felt(circuit, inputs.detach(), weights.detach(), None, slopes))

    def _vector(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self._parameters.values()])
