"""The quantum core: a Qiskit circuit as a batched, differentiable torch layer. It imports nothing else of qmm."""

from qmm.quantum.circuit import Circuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.layer import CompiledCircuit, QuantumLayer, expectations

__all__ = ["Circuit", "CircuitError", "CompiledCircuit", "QuantumLayer", "expectations"]
