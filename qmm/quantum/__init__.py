"""The quantum core: a Qiskit circuit as a batched, differentiable torch layer. It imports nothing else of qmm."""

from qmm.quantum.backends import Backend, Evaluation, Gradient, Job
from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.exact import Adjoint, Autograd, ExactBackend
from qmm.quantum.layer import QuantumLayer, expectations
from qmm.quantum.primitives import ExactEstimator, ExactSampler
from qmm.quantum.recording import recording
from qmm.quantum.states import states

__all__ = [
    "Adjoint",
    "Autograd",
    "Backend",
    "Circuit",
    "CircuitError",
    "CompiledCircuit",
    "Evaluation",
    "ExactBackend",
    "ExactEstimator",
    "ExactSampler",
    "Gradient",
    "Job",
    "Probabilities",
    "QuantumLayer",
    "expectations",
    "recording",
    "states",
]
