"""How features depend on a target and on each other: what the problems here are made of. In nats unless it says otherwise.

Entropies are those of equal-frequency bins of ranks, so that no monotone change of a feature changes anything, with Miller and
Madow's correction: of N samples, m occupied cells make the plain estimate too small by about (m - 1) / 2N.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from qmm.errors import InputError

Floats = NDArray[np.float64]
_CELLS = 2**24  # of the tables that are counted at once: 64 MiB in float32


def relevance(
    features: ArrayLike, targets: ArrayLike, bins: int = 8, method: str = "bins", seed: int = 0, corrected: bool = True
) -> Floats:
    """(N, D), (N,) -> (D,): the mutual information of each feature with the target.

    Args:
        features: (N, D), finite.
        targets: (N,): classes (whole numbers, strings, bool), or real numbers, which are binned like features.
        bins: Of a feature.
        method: "bins", or "neighbours": scikit-learn's estimate from the distances to the nearest neighbours
            (arXiv:cond-mat/0305641), which adds a little noise to break ties.
        seed: Of that noise.
        corrected: Whether binned entropies are corrected.

    Raises InputError for shapes that do not fit, numbers that are not finite, and a method that there is not.
    """
    values, wanted = check_features(features), check_targets(targets, len(np.asarray(features)))
    if method == "neighbours":
        from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

        continuous = wanted.dtype.kind == "f"
        return (mutual_info_regression if continuous else mutual_info_classif)(values, wanted, random_state=seed)
    if method != "bins":
        raise InputError(f'method={method!r} of relevance; choose "bins" or "neighbours"')
    codes, classes = bin_codes(values, bins), target_codes(wanted, bins)
    return mutual_information(codes, classes[:, None], corrected)[:, 0]


def redundancy(features: ArrayLike, bins: int = 8, method: str = "bins", corrected: bool = True) -> Floats:
    """(N, D) -> (D, D), symmetric with a diagonal of 0: how much features say of each other.

    Args:
        method: "bins": mutual information; "correlation": |Pearson's correlation|, from 0 to 1, 0 for a constant feature.
    """
    values = check_features(features)
    if method == "correlation":
        centred = values - values.mean(0)
        norms = np.linalg.norm(centred, axis=0)
        scaled = centred / np.where(norms > 1e-12 * np.abs(values).max(0, initial=1e-300), norms, np.inf)
        found = np.abs(scaled.T @ scaled).clip(max=1)
    elif method == "bins":
        codes = bin_codes(values, bins)
        found = mutual_information(codes, codes, corrected)
    else:
        raise InputError(f'method={method!r} of redundancy; choose "bins" or "correlation"')
    np.fill_diagonal(found, 0)
    return (found + found.T) / 2


class Synergy(NamedTuple):
    """What features say of a target together beyond what each says alone."""

    benefit: Floats
    """(n, n), symmetric with a diagonal of 0; the features of all modalities in their order. Below 0: they say the same."""
    names: tuple[str, ...]
    """(n,): "vision0", "audio1", as RegisterLayout labels qubits."""
    registers: tuple[str, ...]
    """(n,): the modality of each."""


def synergy(angles: Mapping[str, ArrayLike], targets: ArrayLike, bins: int = 3, corrected: bool = True) -> Synergy:
    """I(a, b; y) - I(a; y) - I(b; y) for every two features of different modalities: what only something that sees both, such
    as a gate between their qubits, can learn. It is ln 2 for the exclusive or of two coins, -ln 2 for two copies of one.

    Args:
        angles: By modality, (N, k): pooled features, or a compressor's angles.
        targets: (N,), as in `relevance`.
        bins: Of a feature; few, since triples are counted.
    """
    if not angles:
        raise InputError("synergy of no modality; give at least two")
    values = {modality: check_features(found) for modality, found in angles.items()}
    rows = {modality: len(found) for modality, found in values.items()}
    if len(set(rows.values())) > 1:
        raise InputError(f"modalities of different numbers of samples: {rows}; give each the same rows")
    classes = target_codes(check_targets(targets, next(iter(rows.values()))), bins)
    registers = tuple(m for m, found in values.items() for _ in range(found.shape[1]))
    names = tuple(f"{m}{i}" for m, found in values.items() for i in range(found.shape[1]))
    codes = bin_codes(np.concatenate(list(values.values()), axis=1), bins)
    benefit = _synergy(codes, classes, corrected)
    benefit[np.equal.outer(np.array(registers), np.array(registers))] = 0
    return Synergy((benefit + benefit.T) / 2, names, registers)


def _synergy(codes: NDArray[np.int64], classes: NDArray[np.int64], corrected: bool) -> Floats:
    """(N, n), (N,) -> (n, n)"""
    with_class = codes * (classes.max() + 1) + classes[:, None]
    alone = _entropies(codes, corrected)
    labelled = _entropies(with_class, corrected)
    together = _joint_entropies(codes, codes, corrected) - _joint_entropies(with_class, codes, corrected)
    label = _entropies(classes[:, None], corrected)[0]
    return together + np.add.outer(labelled - alone, labelled - alone) - label


def bin_codes(values: Floats, bins: int) -> NDArray[np.int64]:
    """(N, D) -> (N, D), 0 to bins - 1: equally many samples each, equal values always together."""
    if bins < 2:
        raise InputError(f"bins={bins}; give at least 2")
    return np.floor(bins * (rankdata(values, axis=0) - 0.5) / len(values)).astype(np.int64)


def target_codes(targets: NDArray[np.generic], bins: int) -> NDArray[np.int64]:
    """(N,) -> (N,): classes as they are, real numbers binned."""
    if targets.dtype.kind == "f":
        return bin_codes(targets[:, None].astype(np.float64), bins)[:, 0]
    return np.unique(targets, return_inverse=True)[1].astype(np.int64)


def mutual_information(first: NDArray[np.int64], second: NDArray[np.int64], corrected: bool = True) -> Floats:
    """(N, D), (N, E) codes from 0 -> (D, E) nats. Corrected, it can be slightly below 0; where there is none, it is so half the
    time."""
    alone = np.add.outer(_entropies(first, corrected), _entropies(second, corrected))
    return alone - _joint_entropies(first, second, corrected)


def _entropies(codes: NDArray[np.int64], corrected: bool) -> Floats:
    """(N, D) -> (D,)"""
    return np.array([_entropy(np.bincount(column)[None], corrected)[0] for column in codes.T])


def _joint_entropies(first: NDArray[np.int64], second: NDArray[np.int64], corrected: bool) -> Floats:
    """(N, D), (N, E) -> (D, E): of every two columns, whose tables one matrix product counts."""
    found = np.empty((first.shape[1], second.shape[1]))
    wide, size = _one_hot(second)
    for columns in _blocks(first, wide.shape[1]):
        block, own = _one_hot(first[:, columns])
        tables = (block.T @ wide).reshape(-1, own, second.shape[1], size)
        found[columns] = _entropy(tables.transpose(0, 2, 1, 3).reshape(-1, own * size), corrected).reshape(len(tables), -1)
    return found


def _blocks(codes: NDArray[np.int64], width: int) -> Iterator[slice]:
    """Columns of which the tables fit into memory together."""
    step = max(1, _CELLS // (width * (int(codes.max()) + 1)))
    return (slice(first, first + step) for first in range(0, codes.shape[1], step))


def _one_hot(codes: NDArray[np.int64]) -> tuple[NDArray[np.float32], int]:
    """(N, D) -> (N, D * size) of 0 and 1, and the size: float32 counts whole numbers exactly up to 16 million."""
    size = int(codes.max()) + 1
    return (codes[:, :, None] == np.arange(size)).astype(np.float32).reshape(len(codes), -1), size


def _entropy(counts: NDArray[np.generic], corrected: bool) -> Floats:
    """(..., cells) -> (...)"""
    table = counts.astype(np.float64)
    total = table.sum(-1)
    logs = np.log(table, out=np.zeros_like(table), where=table > 0)
    plain = np.log(total) - (table * logs).sum(-1) / total
    return plain + corrected * ((table > 0).sum(-1) - 1) / (2 * total)


def check_features(features: ArrayLike) -> Floats:
    """(N, D) float64. Raises InputError for another shape, fewer than two samples, and numbers that are not finite."""
    found = np.asarray(features)
    if found.ndim != 2 or len(found) < 2 or not found.shape[1]:
        raise InputError(f"features of shape {found.shape}; expected (N, D): at least two samples, at least one feature")
    if found.dtype.kind not in "fiub":
        raise InputError(f"features of type {found.dtype}; expected real numbers")
    broken = np.flatnonzero(~np.isfinite(found).all(axis=0))
    if len(broken):
        listed = ", ".join(map(str, broken[:10])) + (", ..." if len(broken) > 10 else "")
        raise InputError(f"features hold NaN or infinite numbers in column {listed} (from 0); remove or fill them")
    return found.astype(np.float64)


def check_targets(targets: ArrayLike, rows: int) -> NDArray[np.generic]:
    """(N,). Raises InputError for another shape, NaN, and a target that never varies."""
    found = np.asarray(targets)
    if found.shape != (rows,):
        raise InputError(f"targets of shape {found.shape} for {rows} samples; expected ({rows},), a class or a number each")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise InputError("targets hold NaN or infinite numbers; leave these samples out")
    if (found == found[0]).all():
        raise InputError(f"all targets are {found[0]!r}; nothing can be relevant to what never varies")
    return found
