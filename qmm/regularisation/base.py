"""What the perturbations of this package have in common."""

import hashlib
import threading
from abc import abstractmethod

import torch

from qmm.contracts import Perturbation
from qmm.errors import InputError
from qmm.quantum import Circuit, Evaluation


class CircuitPerturbation(Perturbation):
    """Draws anew at every evaluation, from torch's generator on the CPU, as dropout does: `seed_everything` seeds it, and with
    `RepeatableSteps`, which the command line has, a run that was killed and continued draws what an unbroken one draws."""

    reference = ""
    """Where it was published."""

    @abstractmethod
    def concerns(self, circuit: Circuit) -> bool:
        """Whether there is anything in the circuit that it may change."""


def generator_for(evaluation: Evaluation) -> torch.Generator:
    """torch's own; in a thread that works beside others (micro-batches), one that torch's seed and the inputs decide, since
    which thread comes first is a matter of timing."""
    if threading.current_thread() is threading.main_thread():
        return torch.default_generator
    content = hashlib.sha256(evaluation.inputs.detach().cpu().contiguous().numpy().tobytes())
    seed = int.from_bytes(content.digest()[:7], "big") ^ (torch.initial_seed() % 2**56)
    return torch.Generator().manual_seed(seed)


def check_share(name: str, value: float) -> float:
    """Raises InputError for what is no probability below 1."""
    if not 0 <= value < 1:
        raise InputError(f"{name}={value}; give a probability from 0 to below 1, 0.1 for instance")
    return value


def check_deviation(name: str, value: float) -> float:
    """Raises InputError for what is no standard deviation."""
    if not 0 <= value < float("inf"):
        raise InputError(f"{name}={value}; give a standard deviation in radians, 0.05 for instance")
    return value
