"""Quantum annealing on gates: a schedule from a transverse field to the cost, cut into steps."""

import numpy as np
import torch
from dimod import BinaryQuadraticModel, SampleSet
from numpy.typing import NDArray

from qmm.discrete.alternating import WIDEST, alternating_circuit, as_samples, check_width, draw_bits
from qmm.discrete.ising import ising
from qmm.discrete.solver import Solver, positive
from qmm.errors import InputError
from qmm.quantum import Backend, CompiledCircuit

_SCHEDULES = {"linear": lambda s: s, "smooth": lambda s: np.sin(np.pi / 2 * np.sin(np.pi / 2 * s) ** 2) ** 2}


class TrotterisedAnnealing(Solver):
    """From the ground state of - sum_i X_i, all qubits in |+>, along

        H(t) = - (1 - u) sum_i X_i + u C / scale,    u from 0 to 1 over `time`,

    in steps of second order (arXiv:1511.03316): where `time` is long against 1 / gap² the state ends in the ground state of the
    cost C, where `time / steps` is short against 1 the steps follow it. `scale` is the root mean square of the field that a
    variable feels when the others are random, and the unit of energy.

    Args:
        time: In units of 1 / scale.
        steps: As many as there are layers of gates.
        schedule: "linear", or "smooth": sin²(pi/2 sin²(pi s / 2)), whose slope is 0 at both ends.
        shots: Samples drawn at the end.
        backend: Where the circuit runs; by default exactly.
        most: Variables, at most: as many qubits.
        seed: Of the bits that are drawn from the exact state; a backend has its own.
    """

    def __init__(
        self,
        time: float = 40.0,
        steps: int = 100,
        schedule: str = "linear",
        shots: int = 1000,
        backend: Backend | None = None,
        most: int = WIDEST,
        seed: int = 0,
    ):
        positive(time=time, steps=steps, shots=shots, most=most)
        if schedule not in _SCHEDULES:
            raise InputError(f"schedule={schedule!r}; choose one of {', '.join(_SCHEDULES)}")
        self.time, self.steps, self.schedule = time, steps, schedule
        self.shots, self.backend, self.most, self.seed = shots, backend, most, seed

    def draw(self, model: BinaryQuadraticModel) -> SampleSet:
        """In `info`: `angles`, as those of QAOA."""
        check_width(model.num_variables, self.most)
        angles = annealing_angles(self.time, self.steps, self.schedule)
        circuit = CompiledCircuit(alternating_circuit(ising(model), self.steps))
        bits = draw_bits(circuit, torch.from_numpy(angles), self.backend, self.shots, self.seed)
        return as_samples(bits, model, {"angles": angles.tolist()})


def annealing_angles(time: float, steps: int, schedule: str = "linear") -> NDArray[np.float64]:
    """(2 steps,): the weights of `alternating_circuit` that anneal: gammas, then betas, which are negative.

    Each step is half a turn about X, a turn about the cost, half a turn about X; halves that meet are one, and the first does
    nothing to |+>.
    """
    reached = _SCHEDULES[schedule]((np.arange(steps) + 0.5) / steps)
    halves = (1 - reached) * time / steps / 2
    return np.concatenate([reached * time / steps, -(halves + np.append(halves[1:], 0.0))])
