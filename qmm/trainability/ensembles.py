"""Ensembles: many circuits of one size that are run, and differentiated, together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.initialisers import Initialiser
from qmm.quantum import Circuit, CompiledCircuit, expectations

_AMPLITUDES = 2**24  # of states held at once: 256 MiB in complex128


@dataclass(frozen=True)
class Ensemble:
    """C circuits, which are rows of one batch of a single compiled circuit."""

    compiled: CompiledCircuit
    inputs: Tensor
    """(C, n_inputs) radians, float64: each circuit has its own."""
    circuits: Sequence[Circuit]
    """What initialisers are asked to start: one circuit that all rows share, or C of them, each with W weights."""
    columns: Tensor | None = None
    """(C, W): where among the compiled circuit's weights those of each row's circuit stand, the others being 0; None: they are
    the same."""
    own: Callable[[int], Tensor] | None = None
    """Seed -> (C, W), the start that the circuit's owner has for it."""

    @property
    def n_qubits(self) -> int:
        return self.compiled.circuit.quantum_circuit.num_qubits

    def first(self, count: int) -> "Ensemble":
        """Its first `count` circuits, where there are more."""
        if count >= len(self.inputs):
            return self
        own = self.own
        return replace(
            self,
            inputs=self.inputs[:count],
            circuits=self.circuits[:count],
            columns=None if self.columns is None else self.columns[:count],
            own=None if own is None else lambda seed: own(seed)[:count],
        )

    def draw(self, initialiser: Initialiser | None, seed: int) -> Tensor:
        """(C, W) first weights of all circuits; without an initialiser, the owner's start.

        Raises InputError where the initialiser cannot start the circuit, and where the circuit has no start of its own.
        """
        count = len(self.inputs)
        if initialiser is None:
            if self.own is None:
                raise InputError("these circuits have no start of their own; name an initialiser")
            return self.own(seed)
        generator = torch.Generator().manual_seed(seed)
        if len(self.circuits) == 1:
            circuit = self.circuits[0]
            drawn = initialiser.see(circuit, self.inputs).draw(circuit, generator, count)
        else:
            drawn = torch.cat([initialiser.draw(circuit, generator, 1) for circuit in self.circuits])
        expected = count, len(self.circuits[0].weights)
        if drawn.shape != expected or not drawn.isfinite().all():
            raise InputError(
                f"{type(initialiser).__name__} drew weights of shape {tuple(drawn.shape)}; expected {expected}, all finite"
            )
        return drawn

    def gradients(self, weights: Tensor) -> Tensor:
        """(C, W) weights -> (C, W): the derivatives of each circuit's value, exact, in complex128.

        Of several outputs, circuit i takes number i modulo their number.
        """
        weights = weights.detach().to(torch.float64)
        if self.columns is not None:
            weights = weights.new_zeros(len(weights), len(self.compiled.circuit.weights)).scatter(1, self.columns, weights)
        rows = max(1, _AMPLITUDES >> self.n_qubits)
        output = torch.arange(len(weights)) % self.compiled.circuit.n_outputs
        found = []
        for part in torch.arange(len(weights)).split(rows):
            own = weights[part].requires_grad_()
            values = expectations(self.compiled, self.inputs[part], own).gather(1, output[part, None])
            found.append(torch.autograd.grad(values.sum(), own)[0])
        gradients = torch.cat(found)
        return gradients if self.columns is None else gradients.gather(1, self.columns)
