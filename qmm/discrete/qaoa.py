"""QAOA: the quantum approximate optimisation algorithm on the engine, or on any other backend."""

from pathlib import Path

import numpy as np
import torch
from dimod import BinaryQuadraticModel, SampleSet
from numpy.typing import NDArray

from qmm.discrete.alternating import WIDEST, alternating_circuit, as_samples, check_width, draw_bits
from qmm.discrete.ising import ising
from qmm.discrete.minimising import CircuitValue, Minimum, minimise
from qmm.discrete.solver import Solver, positive
from qmm.quantum import Backend, CompiledCircuit, Gradient, expectations

_GRID = 12  # points a side of the first search over one gamma and one beta
_RANGE = (2.0, np.pi / 2)  # of the first gamma, in units of 1 / scale, and of the first beta, which repeats after pi


class QAOA(Solver):
    """The quantum approximate optimisation algorithm (arXiv:1411.4028): the angles of an alternating circuit are optimised so
    that its mean energy is small, then bits are drawn from it.

    Layers are added one by one, each optimised before the next. The angles of p layers begin from those of p - 1 stretched over
    p (arXiv:1812.01041); where values are exact, also from those of p - 1 and a layer that does nothing, so that no layer makes
    it worse. The first layer's begin from the best point of a grid.

    Args:
        layers: p
        shots: Samples drawn at the end.
        optimiser: By name, as in `qmm.discrete.minimise`; by default L-BFGS-B where values are exact, else COBYLA.
        steps: Of the optimiser, at most, for each number of layers.
        backend: Where circuits run; by default exactly.
        gradient: How they are differentiated; by default the backend's own way.
        most: Variables, at most: as many qubits.
        seed: Of the bits that are drawn from the exact state; a backend has its own.
        journal: A file that evaluations are kept in, to go on from after a kill.
    """

    def __init__(
        self,
        layers: int = 3,
        shots: int = 1000,
        optimiser: str | None = None,
        steps: int = 100,
        backend: Backend | None = None,
        gradient: Gradient | None = None,
        most: int = WIDEST,
        seed: int = 0,
        journal: str | None = None,
    ):
        positive(layers=layers, shots=shots, steps=steps, most=most)
        self.layers, self.shots, self.optimiser, self.steps = layers, shots, optimiser, steps
        self.backend, self.gradient, self.most, self.seed, self.journal = backend, gradient, most, seed, journal

    def draw(self, model: BinaryQuadraticModel) -> SampleSet:
        """In `info`: `angles` (gammas, then betas), `expectation`, `expectations` by number of layers, `evaluations`."""
        check_width(model.num_variables, self.most)
        cost = ising(model)
        circuit, found = None, list[Minimum]()
        for p in range(1, self.layers + 1):
            circuit = CompiledCircuit(alternating_circuit(cost, p))
            found.append(self._optimise(circuit, p, found[-1].weights.numpy() if found else None))
        assert circuit is not None
        best = found[-1]
        bits = draw_bits(circuit, best.weights, self.backend, self.shots, self.seed)
        told = {
            "angles": best.weights.tolist(),
            "expectation": best.value,
            "expectations": [minimum.value for minimum in found],
            "evaluations": sum(minimum.evaluations for minimum in found),
        }
        return as_samples(bits, model, told)

    def _optimise(self, circuit: CompiledCircuit, p: int, before: NDArray[np.float64] | None) -> Minimum:
        journal = None if self.journal is None else Path(f"{self.journal}.{p}")
        function = CircuitValue(circuit, self.backend, self.gradient, journal, str(self.optimiser))
        optimiser = self.optimiser or ("L-BFGS-B" if function.exact else "COBYLA")
        starts = [self._grid(circuit)] if before is None else [stretched(before)]
        if before is not None and function.exact:
            starts.append(padded(before))
        found = [minimise(function, s, optimiser, self.steps, progress=f"QAOA, {p} layers") for s in starts]
        return min(found, key=lambda m: m.value)._replace(evaluations=function.evaluations + (p == 1) * _GRID**2)

    def _grid(self, circuit: CompiledCircuit) -> NDArray[np.float64]:
        sides = [(np.arange(_GRID) + 0.5) / _GRID * reach for reach in _RANGE]
        points = torch.tensor([[gamma, -beta] for gamma in sides[0] for beta in sides[1]], dtype=torch.float64)
        with torch.no_grad():
            values = expectations(circuit, torch.empty(len(points), 0), points, self.backend)[:, 0]
        return points[int(values.argmin())].numpy()


def stretched(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2 p,) -> (2 p + 2,): gammas and betas as schedules, interpolated (INTERP of arXiv:1812.01041)."""
    p = len(angles) // 2
    share = np.arange(p + 1) / p
    found = []
    for schedule in (angles[:p], angles[p:]):
        around = np.concatenate([[0.0], schedule, [0.0]])
        found.append(share * around[: p + 1] + (1 - share) * around[1:])
    return np.concatenate(found)


def padded(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2 p,) -> (2 p + 2,): the same state, by a last layer of angles 0."""
    gammas, betas = np.split(angles, 2)
    return np.concatenate([gammas, [0.0], betas, [0.0]])
