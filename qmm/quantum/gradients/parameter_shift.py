"""The parameter-shift rule."""

import torch
from torch import Tensor

from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.gradients.estimated import EstimatedGradient, Stencil
from qmm.quantum.gradients.evaluating import Points
from qmm.quantum.gradients.unrolling import unroll


class ParameterShift(EstimatedGradient):
    """Exact derivatives from values at shifted angles (arXiv:1811.11184), on any backend.

    Each gate is decomposed until every angle is that of a generator with two eigenvalues that differ by 1, for which
    df/d(angle) = (f(angle + pi/2) - f(angle - pi/2)) / 2; inputs and weights follow by the chain rule. Angles that no
    observable feels, and those of inputs or weights that need no gradient, are not shifted.
    """

    def stencil(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, wanted: tuple[bool, bool]) -> Stencil:
        unrolled = unroll(circuit)
        chosen = unrolled.chosen(wanted)
        steps = torch.eye(len(unrolled.of_inputs), dtype=torch.float64)[chosen] * torch.pi / 2
        angles = unrolled.angles.evaluate(inputs, weights).expand(len(inputs), -1)
        points = angles.unsqueeze(1) + torch.cat([steps, -steps])
        halves = unrolled.slopes(chosen, inputs, weights) / 2
        return Stencil([Points(unrolled.compiled, points, points[..., :0])], torch.cat([halves, -halves], dim=1))
