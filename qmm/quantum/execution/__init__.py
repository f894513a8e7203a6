"""Circuits run elsewhere than on the exact engine: simulators with shots and noise, and hardware."""

from qmm.quantum.execution.backend import EstimateJob, PrimitiveBackend
from qmm.quantum.execution.ibm.runtime import Runtime
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.execution.jobs.budget import Budget, BudgetError, Plan, Prices
from qmm.quantum.execution.jobs.failures import JobError
from qmm.quantum.execution.jobs.ledger import Figures, Ledger
from qmm.quantum.execution.jobs.sending import Jobs
from qmm.quantum.execution.providers import Given, Limits, Provider
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Reader, Request
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.execution.simulators.noise import Noise

__all__ = [
    "Aer",
    "Budget",
    "BudgetError",
    "EstimateJob",
    "Estimates",
    "Execution",
    "Expansion",
    "Figures",
    "Given",
    "Ideal",
    "JobError",
    "Jobs",
    "Ledger",
    "Limits",
    "Mitigation",
    "Noise",
    "Plan",
    "Prices",
    "PrimitiveBackend",
    "Provider",
    "Reader",
    "Request",
    "Runtime",
]
