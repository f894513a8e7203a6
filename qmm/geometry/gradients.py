"""Gradients as instruments: how much of them arrives, layer by layer, and whether losses pull the same way."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.geometry.fisher import checked, weight_blocks
from qmm.quantum import Circuit, CompiledCircuit, expectations

_NUMBERED = re.compile(r"(\d+)\.")
_LEAST_LENGTH = 1e-9  # of the mean of unit vectors: an infinite spread is none that can be plotted


def output_gradients(circuit: Circuit | CompiledCircuit, inputs: Tensor, weights: Tensor, most: int = 16) -> Tensor:
    """(O, B, W): the exact derivatives of O outputs by the weights, per radian; of `most` outputs, spread evenly, at most.

    Of several samples and weights their mean square is the gradient variance that vanishes on a barren plateau
    (arXiv:1803.11173): no loss that a decoder makes of the outputs can have a larger share of it.

    Arguments and errors as in `qmm.quantum.expectations`; InputError for `most` below 1.
    """
    if most < 1:
        raise InputError(f"most={most}; give the number of outputs to look at, 16 for instance")
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    inputs, weights = checked(compiled, inputs, weights)
    own = weights.expand(len(inputs), -1).clone().requires_grad_()
    with torch.enable_grad():
        values = expectations(compiled, inputs, own)
    n_outputs = values.shape[1]
    count = min(most, n_outputs)
    chosen = [i * n_outputs // count for i in range(count)]
    rows = [torch.autograd.grad(values[:, i].sum(), own, retain_graph=True)[0] for i in chosen]
    return torch.stack(rows)


def weight_layers(circuit: Circuit | CompiledCircuit) -> dict[str, list[int]]:
    """Places of the weights by layer: by the number that all their names begin with ("0.vision.ry1" is of layer 0), as the
    project's fusions name them; else by `weight_blocks`."""
    own = circuit.circuit if isinstance(circuit, CompiledCircuit) else circuit
    numbers = [_NUMBERED.match(weight.name) for weight in own.weights]
    if not all(numbers):
        return {str(number): block for number, block in enumerate(weight_blocks(circuit))}
    found: dict[str, list[int]] = {}
    for place, number in enumerate(numbers):
        found.setdefault(number[1], []).append(place)  # type: ignore[index]
    return {name: found[name] for name in sorted(found, key=int)}


def angle_spread(angles: Tensor) -> Tensor:
    """(B, k) radians -> (k,): the circular standard deviation of each column, sqrt(-2 ln R) where R is the length of the mean
    of exp(i angle): 0 where all are alike, the usual one where they differ little, large where they fill the circle."""
    length = torch.polar(torch.ones_like(angles), angles).mean(0).abs().clamp(_LEAST_LENGTH, 1.0)
    return (-2 * length.log()).sqrt()


def cosines(gradients: Mapping[str, Sequence[Tensor | None]]) -> dict[str, float]:
    """Of every two losses, "decoder-vision", the cosine of their gradients over the parameters that both reach: -1 where they
    pull apart, 0 where they do not meet, 1 where they agree. No entry where no parameter feels both.

    Args:
        gradients: Of each loss, by the same parameters in the same order; None where it does not depend on one.
    """
    found = {}
    for (a, one), (b, other) in combinations(gradients.items(), 2):
        both = [(x.flatten(), y.flatten()) for x, y in zip(one, other, strict=True) if x is not None and y is not None]
        if not both:
            continue
        first, second = (torch.cat(parts).double() for parts in zip(*both, strict=True))
        lengths = float(first.norm() * second.norm())
        if lengths > 0 and math.isfinite(lengths):
            found[f"{a}-{b}"] = float(first @ second) / lengths
    return found
