"""Landscapes: how the gradient of a loss looks at given circuit weights, of a circuit alone or of a model on real batches."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qmm.circuit_weights import Place, circuit_parameters, places, weighted_circuits
from qmm.contracts import Compressor, Encoder
from qmm.initialisers.structure import trained_depth
from qmm.quantum import Circuit, CompiledCircuit, Gradient, expectations
from qmm.types import Features


class Landscape(ABC):
    """A loss as a function of circuit weights (W,)."""

    size: int
    """W"""
    n_qubits: int
    """Of the widest circuit."""
    depth: int
    """Trained gates one behind another, in the deepest one."""

    @abstractmethod
    def gradients(self, weights: Tensor) -> Tensor:
        """(count, W) -> (count, batches, W): the loss's gradient at each of these starts, on each batch."""

    def remembering(self) -> AbstractContextManager[None]:
        """Inside the `with` only circuit weights change: what does not depend on them may be computed once."""
        return nullcontext()

    def variances(self, weights: Tensor) -> Tensor:
        """(count, W) -> (count,): the variance of the gradient's entries, over weights and batches together; 0 of one entry."""
        found = self.gradients(weights).flatten(1)
        return found.var(dim=1) if found.shape[1] > 1 else torch.zeros(len(found), dtype=found.dtype)


class CircuitLandscape(Landscape):
    """A circuit alone: the mean of its outputs, on given inputs."""

    def __init__(self, circuit: Circuit, inputs: Tensor):
        """`inputs`: (batches, n_inputs), a batch a row."""
        self._compiled, self._inputs = CompiledCircuit(circuit), inputs.double()
        self.size, self.n_qubits = len(circuit.weights), circuit.quantum_circuit.num_qubits
        self.depth = trained_depth(circuit)

    def gradients(self, weights: Tensor) -> Tensor:
        count, batches = len(weights), len(self._inputs)
        rows = weights.double().repeat_interleave(batches, dim=0).requires_grad_()
        with torch.enable_grad():
            values = expectations(self._compiled, self._inputs.repeat(count, 1), rows)
            (found,) = torch.autograd.grad(values.mean(dim=1).sum(), rows)
        return found.reshape(count, batches, -1)


class Started(NamedTuple):
    """A circuit whose weights are elements of parameters, and which of them."""

    compiled: CompiledCircuit
    columns: Tensor
    """(W of the circuit,) places in the landscape's weights."""


class ModelLandscape(Landscape):
    """A model's loss on batches of its data, as a function of the weights of all circuits inside it.

    Circuits whose weights are no elements of trained parameters (frozen ones, weights that another network makes), and those
    of compressors that are fitted to data, are not part of it; `left` names them. A parameter that circuits share is one.
    """

    def __init__(self, module: nn.Module, batches: Sequence[Any], loss: Callable[[Any], Tensor]):
        """Args:
        module: Holds the circuits.
        batches: What `loss` is given.
        loss: A batch -> the loss, a scalar, attached to the module's parameters.
        """
        self.module, self.batches, self.loss = module, batches, loss
        self.parameters = circuit_parameters(module)
        self.circuits: dict[str, Started] = {}
        self.left: list[str] = []
        self._places: dict[Place, int] = {}
        fitted = _fitted(module)
        for name, (compiled, weights) in weighted_circuits(module).items():
            found = None if name.startswith(fitted) else places(weights, self.parameters)
            if found is None:
                self.left.append(name)
                continue
            columns = [self._places.setdefault(place, len(self._places)) for place in found]
            self.circuits[name] = Started(compiled, torch.tensor(columns))
        circuits = [started.compiled.circuit for started in self.circuits.values()]
        self.size = len(self._places)
        self._held = _held(self._places)
        self.n_qubits = max((circuit.quantum_circuit.num_qubits for circuit in circuits), default=0)
        self.depth = max(map(trained_depth, circuits), default=0)

    @property
    def weights(self) -> Tensor:
        """(W,), float64 on the CPU, as they are now."""
        return self._collect({name: parameter.detach() for name, parameter in self.parameters.items()})

    def _collect(self, values: Mapping[str, Tensor]) -> Tensor:
        found = torch.zeros(self.size, dtype=torch.float64)
        for name, (elements, columns) in self._held.items():
            found[columns] = values[name].flatten().cpu().double()[elements]
        return found

    @torch.no_grad()
    def set(self, weights: Tensor) -> None:
        """Write weights (W,) into the parameters."""
        for name, (elements, columns) in self._held.items():
            parameter = self.parameters[name]
            parameter.view(-1)[elements.to(parameter.device)] = weights[columns].to(parameter)

    @torch.no_grad()
    def clear_gradients(self, which: Tensor) -> None:
        """Set what is in `.grad` of the weights that (W,) bool marks to 0."""
        for name, (elements, columns) in self._held.items():
            slope = self.parameters[name].grad
            if slope is not None:
                slope.view(-1)[elements[which[columns]].to(slope.device)] = 0

    def gradients(self, weights: Tensor) -> Tensor:
        """Slow in comparison: a pass of the model for each start and batch."""
        before, found = self.weights, []
        for row in weights:
            self.set(row)
            found.append(torch.stack([self._gradient(batch) for batch in self.batches]))
        self.set(before)
        return torch.stack(found)

    def _gradient(self, batch: Any) -> Tensor:
        with torch.enable_grad():
            slopes = torch.autograd.grad(self.loss(batch), list(self.parameters.values()), allow_unused=True)
        pairs = zip(self.parameters.items(), slopes, strict=True)
        return self._collect({n: torch.zeros_like(p) if slope is None else slope for (n, p), slope in pairs})

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Encoders run once on each input. The model must be in evaluation mode, in which they give the same again."""
        encoders = [part for part in self.module.modules() if isinstance(part, Encoder) and not weighted_circuits(part)]
        for encoder in encoders:
            encoder.__dict__["forward"] = _remembered(encoder.forward)
        try:
            yield
        finally:
            for encoder in encoders:
                del encoder.__dict__["forward"]

    @contextmanager
    def differentiated_by(self, gradient: Gradient) -> Iterator[None]:
        """Inside the `with`, all circuits of the model have their values from this gradient."""
        runners: list[Any] = [module for module in self.module.modules() if hasattr(module, "gradient")]
        before = [runner.gradient for runner in runners]
        for runner in runners:
            runner.gradient = gradient
        try:
            yield
        finally:
            for runner, own in zip(runners, before, strict=True):
                runner.gradient = own


def _held(places: Mapping[Place, int]) -> dict[str, tuple[Tensor, Tensor]]:
    """By parameter: which elements of it are weights, and their places among the weights."""
    found: dict[str, tuple[list[int], list[int]]] = {}
    for (name, element), column in places.items():
        elements, columns = found.setdefault(name, ([], []))
        elements.append(element)
        columns.append(column)
    return {name: (torch.tensor(elements), torch.tensor(columns)) for name, (elements, columns) in found.items()}


def _remembered(forward: Callable[..., Features]) -> Callable[..., Features]:
    """The function, computed once for equal tensors; what it returns is detached."""
    known: list[tuple[tuple[Tensor | None, ...], Features]] = []

    def remembered(*given: Tensor | None) -> Features:
        for before, features in known:
            if len(before) == len(given) and all(map(_same, before, given)):
                return features
        with torch.no_grad():
            known.append((given, forward(*given)))
        return known[-1][1]

    return remembered


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and a.shape == b.shape and torch.equal(a, b))


def random_inputs(circuit: Circuit, generator: torch.Generator, rows: int) -> Tensor:
    """(rows, n_inputs) angles, uniform in [-pi, pi); a single row where there is no input, since all would be alike."""
    size = (rows if circuit.inputs else 1, len(circuit.inputs))
    return math.pi * (2 * torch.rand(size, generator=generator, dtype=torch.float64) - 1)


def _fitted(module: nn.Module) -> tuple[str, ...]:
    """How the names of circuits begin that a compressor fits to the training split: they have their start."""
    found = ((path, inner) for path, inner in module.named_modules() if isinstance(inner, Compressor))
    return tuple(f"{path}." if path else "" for path, inner in found if type(inner).fit is not Compressor.fit)
