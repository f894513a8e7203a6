"""What fragments give, put together: sums over the operations at the cuts of products over the fragments."""

from collections.abc import Sequence
from string import ascii_letters
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmm.quantum.scaling.decompositions import Decomposition
from qmm.quantum.scaling.fragments import FragmentCircuits

_ELEMENTS = 2**22  # of the largest tensor, over samples, choices and strings: larger batches are put together part by part


class Drawn(NamedTuple):
    """Operations at C cuts, drawn instead of all being summed over."""

    maps: NDArray[np.int64]
    """(K, C): each once."""
    counts: NDArray[np.int64]
    """(K,)"""
    chances: NDArray[np.float64]
    """(K,): how likely each was in a single draw."""

    @property
    def shares(self) -> Tensor:
        """(K,): sums weighted by these are means over the draws, whose expectation is the sum over all operations."""
        return torch.from_numpy(self.counts / self.counts.sum() / self.chances)


class Measured(NamedTuple):
    """What the circuits of one fragment gave, for N samples."""

    values: Tensor
    """(N, Q): all outputs, followed by 0 and 1."""
    variances: Tensor
    """(N, Q)"""
    runs: NDArray[np.int64]
    """(Q,): outputs of the same number were read from the same shots."""


class Whole(NamedTuple):
    """How fragments make up a circuit's outputs."""

    fragments: tuple[FragmentCircuits, ...]
    decompositions: tuple[Decomposition, ...]
    strings: tuple[NDArray[np.int64], ...]
    """For each fragment (T,): which of its strings each Pauli string of the whole is there."""
    outputs: NDArray[np.float64]
    """(O, T): the coefficients of the strings in each output."""


def draw(decompositions: Sequence[Decomposition], samples: int, rng: np.random.Generator) -> Drawn:
    """As many operations at the cuts as `samples`, as likely as their coefficients are large."""
    chances = [np.abs(d.fixed) / d.gamma for d in decompositions]
    drawn = np.stack([rng.choice(len(p), samples, p=p) for p in chances], axis=1)
    maps, counts = np.unique(drawn, axis=0, return_counts=True)
    return Drawn(maps, counts, np.prod([p[maps[:, i]] for i, p in enumerate(chances)], axis=0))


def reconstruct(
    whole: Whole, measured: Sequence[Measured], coefficients: Sequence[NDArray[np.float64]], drawn: Drawn | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values (N, O) and their variances.

    Args:
        whole: The circuit.
        measured: What each fragment gave.
        coefficients: (N, M) of each cut.
        drawn: The operations to sum over; None: all.

    Variances are to first order in those of the fragments, plus that of the draws. Where an output has several strings that are
    read from the same shots, they are an upper bound.
    """
    choices = max(*[f.entries.shape[0] for f in whole.fragments], 0 if drawn is None else len(drawn.maps))
    noisy = max((m.values.shape[1] for m in measured if m.variances.any()), default=0)
    rows = max(1, _ELEMENTS // (max(choices, noisy) * max(whole.outputs.shape)))
    parts = []
    for first in range(0, max(1, len(measured[0].values)), rows):
        own = slice(first, first + rows)
        chunk = [Measured(m.values[own], m.variances[own], m.runs) for m in measured]
        parts.append(_reconstruct(whole, chunk, [torch.from_numpy(c[own]) for c in coefficients], drawn))
    values, variances = (torch.cat(found).numpy() for found in zip(*parts, strict=True))
    return values, variances


def _reconstruct(
    whole: Whole, measured: Sequence[Measured], weights: Sequence[Tensor], drawn: Drawn | None
) -> tuple[Tensor, Tensor]:
    entries = [torch.from_numpy(f.entries[:, own]) for f, own in zip(whole.fragments, whole.strings, strict=True)]
    gathered = [m.values[:, own].requires_grad_() for m, own in zip(measured, entries, strict=True)]  # (N, R, T)
    outputs = torch.from_numpy(whole.outputs)
    with torch.enable_grad():
        if drawn is None:
            total = _contract(whole, gathered, weights)
        else:
            single = _products(whole, gathered, weights, drawn.maps)
            total = (single * drawn.shares[:, None]).sum(1)
        slopes = torch.autograd.grad(total.sum(), gathered)
    values = total.detach() @ outputs.mT
    variances = torch.zeros_like(values)
    for m, own, slope in zip(measured, entries, slopes, strict=True):
        if m.variances.any():
            variances += _spread(m, own, slope, outputs)
    if drawn is not None:
        variances += _spread_of_draws(single.detach() @ outputs.mT, values, drawn)
    return values, variances


def _contract(whole: Whole, gathered: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """(N, T)"""
    letters = [letter for letter in ascii_letters if letter not in "nt"]
    operands, names = [], []
    for fragment, values in zip(whole.fragments, gathered, strict=True):
        found = values.unflatten(1, fragment.sizes) if fragment.sizes else values[:, 0]
        for axis, (cut, side) in enumerate(fragment.ends, start=1):
            found = found.index_select(axis, torch.from_numpy(whole.decompositions[cut].maps[:, side]))
            if side == 0:
                found = found * weights[cut].reshape(len(found), *[-1 if i == axis else 1 for i in range(1, found.ndim)])
        operands.append(found)
        names.append("n" + "".join(letters[cut] for cut, _ in fragment.ends) + "t")
    return torch.einsum(",".join(names) + "->nt", *operands)


def _products(whole: Whole, gathered: Sequence[Tensor], weights: Sequence[Tensor], maps: NDArray[np.int64]) -> Tensor:
    """(N, K, T)"""
    found = torch.ones((), dtype=torch.float64)
    for cut, weight in enumerate(weights):
        found = found * weight[:, maps[:, cut], None]
    for fragment, values in zip(whole.fragments, gathered, strict=True):
        found = found * values[:, torch.from_numpy(rows_of(fragment, whole.decompositions, maps))]
    return found


def rows_of(fragment: FragmentCircuits, decompositions: Sequence[Decomposition], maps: NDArray[np.int64]) -> NDArray[np.int64]:
    """(K,): which of the fragment's R choices some operations at the cuts, (K, C), ask for."""
    choices = [decompositions[cut].maps[maps[:, cut], side] for cut, side in fragment.ends]
    return np.asarray(np.ravel_multi_index(choices, fragment.sizes)) if choices else np.zeros(len(maps), np.int64)


def _spread(measured: Measured, entries: Tensor, slopes: Tensor, outputs: Tensor) -> Tensor:
    """(N, O): what the variances of one fragment add. `slopes`: (N, R, T), of the strings in what was gathered by `entries`."""
    n, q = measured.values.shape
    by_entry = slopes.new_zeros(n, q, slopes.shape[2]).scatter_add_(1, entries.expand(n, -1, -1), slopes)
    deviations = (by_entry @ outputs.mT).abs() * measured.variances.sqrt()[:, :, None]  # (N, Q, O)
    runs = torch.from_numpy(measured.runs)
    together = deviations.new_zeros(n, int(runs.max()) + 1, deviations.shape[2]).index_add_(1, runs, deviations)
    return together.square().sum(1)


def _spread_of_draws(single: Tensor, values: Tensor, drawn: Drawn) -> Tensor:
    """(N, O): the variance of a mean over draws; `single`: (N, K, O), each drawn term."""
    n_draws = int(drawn.counts.sum())
    each = single / torch.from_numpy(drawn.chances)[:, None]
    squares = (torch.from_numpy(drawn.counts)[:, None] * (each - values[:, None]).square()).sum(1)
    return squares / n_draws / max(1, n_draws - 1)
