"""What a circuit costs, as it is written and on the exact engine."""

import math
import statistics
import time
from typing import NamedTuple

import torch

from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, expectations


class Counts(NamedTuple):
    qubits: int
    depth: int
    """Gates on the longest path, barriers apart."""
    gates: int
    two_qubit_gates: int
    """Gates of two qubits or more: what hardware pays for."""
    inputs: int
    """Angles given per sample."""
    parameters: int
    """Trained angles."""
    observables: int
    """Or probabilities."""


def count(circuit: Circuit) -> Counts:
    """Counts of the circuit as it is written; a transpiler adds to them what a device asks for."""
    gates = [item for item in circuit.quantum_circuit.data if item.operation.name != "barrier"]
    return Counts(
        qubits=circuit.quantum_circuit.num_qubits,
        depth=circuit.quantum_circuit.depth(lambda item: item.operation.name != "barrier"),
        gates=len(gates),
        two_qubit_gates=sum(len(item.qubits) > 1 for item in gates),
        inputs=len(circuit.inputs),
        parameters=len(circuit.weights),
        observables=circuit.n_outputs,
    )


def state_bytes(circuit: Circuit, batch_size: int = 1, dtype: torch.dtype = torch.complex64) -> int:
    """Memory of the states of a batch, 2**n amplitudes each; the exact engine adds a few chunks to it, at any depth."""
    return batch_size * 2**circuit.quantum_circuit.num_qubits * dtype.itemsize


def step_time(circuit: Circuit, batch_size: int = 32, repeats: int = 5, dtype: torch.dtype = torch.float32) -> float:
    """Seconds of one training step of the circuit alone, on this machine's CPU: the median of some, after one that compiles.

    Forward and backward on the exact engine, with gradients to inputs and weights; angles are drawn at random.

    Args:
        dtype: Of the weights; float64 computes in complex128.

    Raises InputError for a batch or a number of repeats below 1, and for a circuit in which nothing is to be differentiated.
    """
    if batch_size < 1 or repeats < 1:
        raise InputError(f"batch_size={batch_size}, repeats={repeats} of a timed step; both are at least 1")
    if not circuit.inputs and not circuit.weights:
        raise InputError("a circuit without inputs and weights has no training step")
    compiled, generator = CompiledCircuit(circuit), torch.Generator().manual_seed(0)
    shapes = (batch_size, len(circuit.inputs)), (len(circuit.weights),)
    inputs, weights = ((2 * math.pi * torch.rand(shape, generator=generator, dtype=dtype)).requires_grad_() for shape in shapes)
    seconds = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        expectations(compiled, inputs, weights).sum().backward()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])
