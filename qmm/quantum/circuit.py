"""Circuit: a Qiskit circuit whose parameters are split into inputs and weights, and the observables that are read out."""

from typing import NamedTuple

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp


class Circuit(NamedTuple):
    quantum_circuit: QuantumCircuit
    inputs: tuple[Parameter, ...]
    """One angle each, given per sample: (B, n_inputs)."""
    weights: tuple[Parameter, ...]
    """Trained: (n_weights,)."""
    observables: tuple[SparsePauliOp, ...]
    """Each gives one number per sample: (B, n_observables)."""
