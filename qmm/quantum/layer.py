"""QuantumLayer: a Circuit as a differentiable torch module; `expectations`: the function under it."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from qmm.quantum.circuit import Circuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.program import Program, compile_circuit


class CompiledCircuit:
    """A Circuit with its programs: one for shared weights, one for weights per sample, a copy for each device and dtype.

    They are made when first used. Copies and pickles carry the circuit alone.
    """

    def __init__(self, circuit: Circuit):
        """Raises CircuitError when the circuit cannot be simulated exactly."""
        self.circuit = circuit
        self._compiled = {False: compile_circuit(circuit)}
        self._placed: dict[tuple[bool, torch.device, torch.dtype], Program] = {}

    def program(self, weights_per_sample: bool, device: torch.device, dtype: torch.dtype) -> Program:
        """`dtype`: float32 or float64."""
        key = (weights_per_sample, device, dtype)
        if key not in self._placed:
            if weights_per_sample not in self._compiled:
                self._compiled[weights_per_sample] = compile_circuit(self.circuit, weights_per_sample)
            self._placed[key] = self._compiled[weights_per_sample].to(device, dtype)
        return self._placed[key]

    def __reduce__(self) -> tuple[type["CompiledCircuit"], tuple[Circuit]]:
        return CompiledCircuit, (self.circuit,)


def expectations(circuit: Circuit | CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """Exact expectation values, differentiable in inputs and weights.

    Args:
        circuit: Compile it once (`CompiledCircuit(circuit)`) where it is used often.
        inputs: (B, n_inputs) radians, in the order of `circuit.inputs`.
        weights: (W,), or (B, W) for weights of each sample's own, in the order of `circuit.weights`. Their dtype is the
            precision: float64 computes in complex128, anything else in complex64.

    Returns:
        (B, n_observables), float32 or float64.

    Raises CircuitError for shapes that do not fit the circuit.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    _check_shapes(compiled.circuit, inputs, weights)
    real = torch.float64 if weights.dtype == torch.float64 else torch.float32
    program = compiled.program(weights.ndim == 2, weights.device, real)
    with torch.autocast(weights.device.type, enabled=False):  # half precision would ruin angles and expectation values
        return program.run(inputs.to(weights.device, real), weights.to(real))


def _check_shapes(circuit: Circuit, inputs: Tensor, weights: Tensor) -> None:
    n_inputs, n_weights = len(circuit.inputs), len(circuit.weights)
    if inputs.ndim != 2 or inputs.shape[1] != n_inputs:
        raise CircuitError(
            f"inputs have shape {tuple(inputs.shape)}; the circuit takes (B, {n_inputs}), one angle for each input"
        )
    if weights.ndim not in (1, 2) or weights.shape[-1] != n_weights or (weights.ndim == 2 and len(weights) != len(inputs)):
        raise CircuitError(
            f"weights have shape {tuple(weights.shape)}; the circuit takes ({n_weights},), or ({len(inputs)}, {n_weights}) "
            "for weights per sample"
        )


class QuantumLayer(nn.Module):
    """Any Qiskit circuit and any observables as a layer: (B, n_inputs) radians -> (B, n_observables).

    The one parameter, `weights` (n_weights,), is in the order of `circuit.weights`. The precision is that of the weights:
    `.double()` computes in complex128.
    """

    def __init__(
        self,
        circuit: Circuit,
        init: Tensor | Callable[[Tensor], Any] | None = None,
        dtype: torch.dtype = torch.complex64,
    ):
        """Args:
            circuit: What to run.
            init: First weights: a tensor (n_weights,), or a function that fills one in place (`torch.nn.init.zeros_`).
                Default: uniform in [-pi, pi), which favours no state; for more than some ten qubits choose a narrower one,
                since gradients vanish there (arXiv:1803.11173).
            dtype: complex64 or complex128.

        Raises CircuitError when the circuit cannot be simulated exactly.
        """
        super().__init__()
        if dtype not in (torch.complex64, torch.complex128):
            raise CircuitError(f"dtype is {dtype}; expected torch.complex64 or torch.complex128")
        self.compiled = CompiledCircuit(circuit)
        self.weights = nn.Parameter(torch.empty(len(circuit.weights), dtype=dtype.to_real()))
        self._initialise(init)

    @property
    def circuit(self) -> Circuit:
        return self.compiled.circuit

    @torch.no_grad()
    def _initialise(self, init: Tensor | Callable[[Tensor], Any] | None) -> None:
        if isinstance(init, Tensor):
            if init.shape != self.weights.shape:
                raise CircuitError(f"init has shape {tuple(init.shape)}; the circuit has {len(self.weights)} weights")
            self.weights.copy_(init)
        elif init is not None:
            init(self.weights)
        else:
            self.weights.uniform_(-math.pi, math.pi)

    def forward(self, inputs: Tensor) -> Tensor:
        return expectations(self.compiled, inputs, self.weights)

    def extra_repr(self) -> str:
        n_qubits, inputs, weights, observables = self.circuit.quantum_circuit.num_qubits, *map(len, self.circuit[1:])
        return f"{n_qubits} qubits, {inputs} inputs, {weights} weights, {observables} observables"
