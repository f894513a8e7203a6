"""Circuits run elsewhere than on the exact engine: simulators with shots and noise, and hardware."""

from qmm.quantum.execution.backend import EstimateJob, Execution, PrimitiveBackend
from qmm.quantum.execution.providers import Given, Limits, Provider
from qmm.quantum.execution.requests import Estimates, Expansion, Mitigation, Reader, Request

__all__ = [
    "EstimateJob",
    "Estimates",
    "Execution",
    "Expansion",
    "Given",
    "Limits",
    "Mitigation",
    "PrimitiveBackend",
    "Provider",
    "Reader",
    "Request",
]
