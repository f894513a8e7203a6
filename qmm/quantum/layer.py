"""QuantumLayer: a Circuit as a differentiable torch module; `expectations`: the function under it."""

import math
from collections.abc import Callable
from typing import Any, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from qmm.quantum.backends import Backend, Gradient
from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.exact import ExactBackend, is_transformed
from qmm.quantum.operator import opaque_expectations
from qmm.quantum.recording import record


def expectations(
    circuit: Circuit | CompiledCircuit,
    inputs: Tensor,
    weights: Tensor,
    backend: Backend | None = None,
    gradient: Gradient | None = None,
) -> Tensor:
    """A circuit's expectation values or probabilities, differentiable in inputs and weights.

    Args:
        circuit: Compile it once (`CompiledCircuit(circuit)`) where it is used often.
        inputs: (B, n_inputs) radians, in the order of `circuit.inputs`.
        weights: (W,), or (B, W) for weights of each sample's own, in the order of `circuit.weights`. Their dtype is the
            precision: float64 computes in complex128, anything else in complex64.
        backend: Where to run; by default exactly, `ExactBackend()`.
        gradient: How to differentiate; by default the backend's own way.

    Returns:
        (B, n_outputs), float32 or float64.

    Raises CircuitError for shapes that do not fit the circuit, angles that are not finite, and states that memory cannot hold.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    check_shapes(compiled.circuit, inputs, weights)
    real = torch.float64 if weights.dtype == torch.float64 else torch.float32
    inputs, weights = inputs.to(weights.device, real), weights.to(real)
    if gradient is None and isinstance(backend, ExactBackend | None) and torch.compiler.is_compiling():
        return opaque_expectations(inputs, weights, compiled)
    if not is_transformed():
        check_finite(compiled.circuit, inputs, weights)
    record(compiled, inputs, weights)
    backend = ExactBackend() if backend is None else backend
    gradient = backend.gradient if gradient is None else gradient
    with torch.autocast(weights.device.type, enabled=False):  # half precision would ruin angles and expectation values
        return gradient.values(backend, compiled, inputs, weights)


def check_shapes(circuit: Circuit, inputs: Tensor, weights: Tensor) -> None:
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


def check_finite(circuit: Circuit, inputs: Tensor, weights: Tensor) -> None:
    """Raises CircuitError that names the first angle that is NaN or infinite."""
    for kind, parameters, values in (("input", circuit.inputs, inputs), ("weight", circuit.weights, weights)):
        if math.isfinite(values.detach().sum()) or values.isfinite().all():  # the sum is quicker
            continue
        *row, column = values.isfinite().logical_not().nonzero()[0].tolist()
        place = f" in row {row[0]}" if row else ""
        raise CircuitError(f"{kind} {parameters[column].name!r} is {values[*row, column].item()}{place}; angles are finite")


class QuantumLayer(nn.Module):
    """Any Qiskit circuit and any observables as a layer: (B, n_inputs) radians -> (B, n_outputs).

    The one parameter, `weights` (n_weights,), is in the order of `circuit.weights`. The precision is that of the weights:
    `.double()` computes in complex128.
    """

    def __init__(
        self,
        circuit: Circuit,
        backend: Backend | None = None,
        gradient: Gradient | None = None,
        init: Tensor | Callable[[Tensor], Any] | None = None,
        dtype: torch.dtype = torch.complex64,
    ):
        """Args:
            circuit: What to run.
            backend: Where to run it; by default exactly, `ExactBackend()`.
            gradient: How to differentiate it; by default the backend's own way.
            init: First weights: a tensor (n_weights,), or a function that fills one in place (`torch.nn.init.zeros_`).
                Default: uniform in [-pi, pi), which favours no state; for more than some ten qubits choose a narrower one,
                since gradients vanish there (arXiv:1803.11173).
            dtype: complex64 or complex128.

        Raises CircuitError when the circuit cannot be simulated exactly.
        """
        super().__init__()
        if dtype not in (torch.complex64, torch.complex128):
            raise CircuitError(f"dtype is {dtype}; expected torch.complex64 or torch.complex128")
        self.compiled, self.backend, self.gradient = CompiledCircuit(circuit), backend, gradient
        if isinstance(backend, ExactBackend | None):
            _ = self.compiled.operations  # what cannot be simulated exactly is refused here
        self.weights = nn.Parameter(torch.empty(len(circuit.weights), dtype=dtype.to_real()))
        self._initialise(init)

    @classmethod
    def from_qnn(
        cls,
        qnn: Any,
        initial_weights: ArrayLike | Tensor | None = None,
        backend: Backend | None = None,
        gradient: Gradient | None = None,
        dtype: torch.dtype = torch.complex64,
    ) -> Self:
        """The layer that computes what `TorchConnector(qnn, initial_weights)` does, from the circuit of the network alone: its
        primitive, its gradient and its `input_gradients` play no part.

        Args:
            qnn: An EstimatorQNN or a SamplerQNN of Qiskit Machine Learning. Inputs and weights keep its order, so that
                `qnn.forward(inputs, layer.weights.detach().numpy())` gives the layer's outputs.
            initial_weights: (n_weights,); by default as for any QuantumLayer, uniform in [-pi, pi).
            backend, gradient, dtype: As for any QuantumLayer.

        Raises CircuitError for other networks, sparse or multi-dimensional outputs, and measurements before the end.
        """
        from qmm.quantum.connect import circuit_of

        init = None if initial_weights is None else torch.as_tensor(initial_weights)
        return cls(circuit_of(qnn), backend, gradient, init, dtype)

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
        return expectations(self.compiled, inputs, self.weights, self.backend, self.gradient)

    def extra_repr(self) -> str:
        circuit = self.circuit
        sizes = f"{circuit.quantum_circuit.num_qubits} qubits, {len(circuit.inputs)} inputs, {len(circuit.weights)} weights"
        return f"{sizes}, {circuit.n_outputs} outputs"
