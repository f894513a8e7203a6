"""States: the state vectors that a circuit makes, for what no observable tells: overlaps, kernels, entanglement."""

import torch
from torch import Tensor

from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit, require_memory
from qmm.quantum.exact import is_transformed
from qmm.quantum.layer import check_finite, check_shapes
from qmm.quantum.recording import record


@torch.compiler.disable  # it would look into the compilation of the circuit
def states(circuit: Circuit | CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """A circuit's state vectors, in Qiskit's order: bit i of an amplitude's index is qubit i. The observables play no part.

    Exact up to a global phase of each sample's own, which no measurement tells: |amplitude|**2, overlaps' absolute values and
    density matrices are right, and so are their gradients. Differentiable in inputs and weights as often as one likes (the
    state behind each step is kept for it; none is without gradients).

    Args:
        circuit: Compile it once (`CompiledCircuit(circuit)`) where it is used often.
        inputs: (B, n_inputs) radians, in the order of `circuit.inputs`.
        weights: (W,), or (B, W) for weights of each sample's own, in the order of `circuit.weights`. Their dtype is the
            precision: float64 computes in complex128, anything else in complex64.

    Returns:
        (B, 2**n), complex64 or complex128.

    Raises CircuitError for shapes that do not fit the circuit, angles that are not finite, and states that memory cannot hold.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    check_shapes(compiled.circuit, inputs, weights)
    real = torch.float64 if weights.dtype == torch.float64 else torch.float32
    inputs, weights = inputs.to(weights.device, real), weights.to(real)
    record(compiled, inputs, weights)
    program = compiled.program(weights.ndim == 2, inputs.device, real, whole=True)
    recorded = torch.is_grad_enabled() and (inputs.requires_grad or weights.requires_grad)
    kept = 2 + recorded * len(program.steps)
    n_qubits = compiled.circuit.quantum_circuit.num_qubits
    require_memory(n_qubits, kept * len(inputs), real.to_complex(), inputs.device)
    if not is_transformed():
        check_finite(compiled.circuit, inputs, weights)
    with torch.autocast(weights.device.type, enabled=False):
        state = program.state(inputs, weights)
    return state.expand(len(inputs), state.shape[-1])
