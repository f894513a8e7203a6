"""The metric of a pass: the Fubini-Study metric of its circuits, pulled back to an optimiser's parameters, and its inverse."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.distributed
from torch import Tensor

from qmm.errors import InputError
from qmm.geometry.fisher import Kind, fubini_study
from qmm.optimisers.tape import Felt
from qmm.quantum import states

Product = Callable[[Tensor], Tensor]


class Metric(NamedTuple):
    """g of P parameters."""

    matrix: Tensor
    """(P, P) float64, or (P,) of a diagonal one."""
    precision: float
    """Relative error of its numbers, which tells what is 0."""


def pulled_back(felt: Sequence[Felt], size: int, kind: Kind = "full", rows: int | None = None) -> Metric:
    """The mean, over the samples that feel a parameter, of the metric of the states that the circuits make.

    A parameter that several circuits share, or several patterns of present modalities, gets the mean over all of their rows;
    parameters i and j that are felt by n_i and n_j rows get their sum over sqrt(n_i n_j), which keeps it positive.

    Args:
        felt: The evaluations.
        size: P
        kind: As in `fubini_study`.
        rows: At most so many samples of each evaluation, the first; None: all.
    """
    diagonal = kind == "diagonal"
    total = torch.zeros(size if diagonal else (size, size), dtype=torch.float64)
    counts = torch.zeros(size, dtype=torch.float64)
    for own in (_first(f, rows) for f in felt):
        if not len(own.inputs):
            continue
        shared = own.weights.ndim == 1
        part = fubini_study(own.circuit, own.inputs, own.weights, kind=kind, mean=shared).double()
        part = part * len(own.inputs) if shared else part
        counts += len(own.inputs) * _touched(own, size)
        if own.picks is not None:
            picks = own.picks.cpu()
            index = (picks,) if diagonal else (picks[:, None], picks)
            total.index_put_(index, part.cpu(), accumulate=True)
        else:
            slopes = own.slopes.double()
            rule = "...w,...wp->p" if diagonal else "...vw,...vp,...wq->pq"
            total += torch.einsum(rule, part, *([slopes.square()] if diagonal else [slopes, slopes])).cpu()
    weight = counts.clamp(min=1).rsqrt()
    total *= weight**2 if diagonal else weight[:, None] * weight
    return Metric(_mean_of_processes(total), _precision(felt))


def product(felt: Sequence[Felt], size: int, rows: int | None = None) -> Product:
    """v (P,) -> g v of the full metric, which is never made: a derivative of the states along v, and one pass back.

    Memory is that of the state behind each step of the circuit, and the time of a product that of a few passes, whatever the
    number of parameters.
    """
    chosen = [own for own in (_first(f, rows) for f in felt) if len(own.inputs)]
    counts = sum((len(own.inputs) * _touched(own, size) for own in chosen), torch.zeros(size, dtype=torch.float64))
    weight = counts.clamp(min=1).rsqrt()
    products = [_product(own) for own in chosen]

    def apply(vector: Tensor) -> Tensor:
        found = torch.zeros(size, dtype=torch.float64)
        for own, multiply in zip(chosen, products, strict=True):
            along = own.along((vector * weight).to(own.weights))
            found += own.back(multiply(along), size).cpu().double()
        return _mean_of_processes(found * weight)

    return apply


@torch.enable_grad()
def _product(own: Felt) -> Product:
    """The sum over samples of their metrics, times (W,); or each one's, times its row of (b, W).

    A derivative backward is linear in what it starts from, so that its own derivative is one forward.
    """
    weights = own.weights.clone().requires_grad_()
    made = states(own.circuit, own.inputs, weights)
    start = torch.zeros_like(made, requires_grad=True)
    (backward,) = torch.autograd.grad(made, weights, start, create_graph=True)
    state = made.detach()

    def apply(along: Tensor) -> Tensor:
        (change,) = torch.autograd.grad(backward, start, along, retain_graph=True)
        change = change - state * torch.linalg.vecdot(state, change)[:, None]
        return torch.autograd.grad(made, weights, change, retain_graph=True)[0]

    return apply


def solve(metric: Metric, gradient: Tensor, regularisation: float) -> Tensor:
    """(g + regularisation)^-1 gradient, (P,), by Cholesky.

    Raises InputError for a metric that is singular, or nearly so, without regularisation.
    """
    matrix = metric.matrix
    if matrix.ndim == 1:
        shifted = matrix + regularisation
        if (shifted <= metric.precision * matrix.max()).any():
            raise _singular(regularisation)
        return gradient / shifted
    lower, failed = torch.linalg.cholesky_ex(matrix + regularisation * torch.eye(len(matrix), dtype=matrix.dtype))
    if failed or (lower.diagonal() ** 2).min() <= metric.precision * matrix.diagonal().max():
        raise _singular(regularisation)
    return torch.cholesky_solve(gradient[:, None], lower)[:, 0]


def conjugate_gradient(product: Product, gradient: Tensor, regularisation: float, tolerance: float, limit: int) -> Tensor:
    """(g + regularisation)^-1 gradient, (P,), until the residual is below `tolerance` of the gradient, or `limit` products.

    Raises InputError for a metric that is singular without regularisation, as far as the gradient feels it.
    """
    found, residual = torch.zeros_like(gradient), gradient.clone()
    along, square = residual.clone(), residual @ residual
    aim, largest = tolerance**2 * square, 0.0
    for _ in range(limit):
        if square <= aim:
            break
        changed = product(along) + regularisation * along
        curvature, length = float(along @ changed), float(along @ along)
        largest = max(largest, curvature / length)
        if curvature <= 1e-6 * largest * length:
            raise _singular(regularisation)
        step = square / curvature
        found, residual = found + step * along, residual - step * changed
        before, square = square, residual @ residual
        along = residual + square / before * along
    return found


def _singular(regularisation: float) -> InputError:
    return InputError(
        f"the metric is singular (regularisation={regularisation}): some direction of the circuit weights does not change the "
        "state, so that no natural gradient is defined along it; set `regularisation`, to 0.01 for instance"
    )


def _first(felt: Felt, rows: int | None) -> Felt:
    if rows is None or len(felt.inputs) <= rows:
        return felt
    per_sample = felt.weights.ndim == 2
    slopes = felt.slopes[:rows] if per_sample else felt.slopes
    return felt._replace(inputs=felt.inputs[:rows], weights=felt.weights[:rows] if per_sample else felt.weights, slopes=slopes)


def _touched(own: Felt, size: int) -> Tensor:
    """(P,): 1 for the parameters that its weights depend on."""
    touched = torch.zeros(size, dtype=torch.float64)
    if own.picks is not None:
        touched[own.picks.cpu()] = 1.0
    else:
        touched[(own.slopes != 0).flatten(0, -2).any(dim=0).cpu()] = 1.0
    return touched


def _precision(felt: Sequence[Felt]) -> float:
    return 1e-12 if all(own.weights.dtype == torch.float64 for own in felt) else 1e-5


def _mean_of_processes(values: Tensor) -> Tensor:
    """Processes see other samples, and have to go the same way."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values, op=torch.distributed.ReduceOp.SUM)
        values /= torch.distributed.get_world_size()
    return values
