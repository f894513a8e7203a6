"""Feature selection: few features that say much of the target and little of each other, as a binary quadratic model."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from dimod import BinaryQuadraticModel
from numpy.typing import ArrayLike, NDArray

from qmm.discrete.penalties import exactly
from qmm.discrete.problem import Decoded, Problem, Sample, constrained, from_matrix
from qmm.errors import InputError

Floats = NDArray[np.float64]


def feature_selection(
    relevance: ArrayLike,
    redundancy: ArrayLike,
    k: int | Mapping[str, int] | None = None,
    balance: float = 1.0,
    price: float = 0.0,
    groups: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    strength: float | None = None,
) -> Problem:
    """Choose features x (x_i = 1: it is taken) of relevance r and redundancy R.

    With k, exactly so many: minimise their mean redundancy, times `balance`, less their mean relevance,

        - 1/k sum_i r_i x_i + balance 2/(k (k - 1)) sum_{i<j} R_ij x_i x_j,

    the difference form of minimal redundancy and maximal relevance (doi:10.1109/TPAMI.2005.159; its mean redundancy counts each
    feature's with itself as well). Without k, as many as are worth their price (arXiv:2203.13261 with weights of its own):

        - sum_i (r_i - price) x_i + balance sum_{i<j} R_ij x_i x_j.

    Args:
        relevance: (D,), `qmm.discrete.relevance` for instance.
        redundancy: (D, D), symmetric; the diagonal plays no part. `qmm.discrete.redundancy` for instance.
        k: How many; by group where features come in groups: {"vision": 4, "audio": 4}.
        balance: How much redundancy weighs.
        price: Of a feature, where k is left open.
        groups: (D,), of each feature its group, its modality for instance.
        names: (D,), for the report; by default the places, "17", within groups "vision17".
        strength: Of the penalty on each distance from k, squared; by default just enough (`qmm.discrete.penalties`).

    Raises InputError for shapes that do not fit, numbers that are not finite, and a k that there are not features for.
    """
    relevances, redundancies = _checked(relevance, redundancy)
    kinds = [""] * len(relevances) if groups is None else [str(group) for group in groups]
    if len(kinds) != len(relevances):
        raise InputError(f"{len(kinds)} groups for {len(relevances)} features; give the group of each")
    labels = _names(kinds) if names is None else list(names)
    if len(labels) != len(relevances):
        raise InputError(f"{len(labels)} names for {len(relevances)} features; give the name of each")
    wanted = _wanted(k, kinds, groups is not None)
    decode = partial(_decode, relevances, redundancies, labels)
    if wanted is None:
        objective = _objective(-(relevances - price), balance * redundancies)
        return constrained("features", objective, (), decode)
    total = sum(wanted.values())
    objective = _objective(-relevances / total, 2 * balance * redundancies / max(1, total * (total - 1)))
    members = {kind: [i for i, own in enumerate(kinds) if own == kind] for kind in wanted}
    counted = [(f"features of {kind}" if kind else "features", members[kind], number) for kind, number in wanted.items()]
    return constrained("features", objective, exactly(objective, counted, strength), decode)


def _objective(linear: Floats, quadratic: Floats) -> BinaryQuadraticModel:
    return from_matrix(np.triu(quadratic, 1) + np.diag(linear))


def _decode(relevances: Floats, redundancies: Floats, names: Sequence[str], sample: Sample) -> Decoded:
    chosen = [i for i in range(len(relevances)) if sample[i] > 0]
    pairs = len(chosen) * (len(chosen) - 1)
    among = redundancies[np.ix_(chosen, chosen)]
    terms = {
        "mean relevance": float(relevances[chosen].mean()) if chosen else 0.0,
        "mean redundancy": float(among.sum() / pairs) if pairs else 0.0,
    }
    return Decoded(tuple(chosen), tuple(str(names[i]) for i in chosen), terms)


def _checked(relevance: ArrayLike, redundancy: ArrayLike) -> tuple[Floats, Floats]:
    relevances, redundancies = np.asarray(relevance, np.float64), np.asarray(redundancy, np.float64)
    if relevances.ndim != 1 or not len(relevances):
        raise InputError(f"relevance of shape {relevances.shape}; expected (D,), a number for each feature")
    size = len(relevances)
    if redundancies.shape != (size, size):
        raise InputError(f"redundancy of shape {redundancies.shape}; expected ({size}, {size}) for {size} features")
    for what, numbers in (("relevance", relevances), ("redundancy", redundancies)):
        if not np.isfinite(numbers).all():
            raise InputError(f"the {what} has NaN or infinite entries, the first for feature {_first(~np.isfinite(numbers))}")
    if not np.allclose(redundancies, redundancies.T, rtol=1e-6, atol=1e-12):
        raise InputError("the redundancy is not symmetric; give (R + R.T) / 2")
    redundancies = redundancies.copy()
    np.fill_diagonal(redundancies, 0)
    return relevances, redundancies


def _first(where: NDArray[np.bool_]) -> int:
    return int(np.argwhere(where)[0][0])


def _wanted(k: int | Mapping[str, int] | None, kinds: Sequence[str], grouped: bool) -> dict[str, int] | None:
    """How many of each group; None where that is open."""
    if k is None:
        return None
    if isinstance(k, Mapping):
        unknown = sorted(set(k) - set(kinds))
        if unknown or not grouped:
            there = ", ".join(dict.fromkeys(kinds)) if grouped else "none: give `groups`"
            raise InputError(f"k is given for {', '.join(unknown or k)}; the groups are {there}")
        wanted = {kind: k.get(kind, 0) for kind in dict.fromkeys(kinds)}
    elif grouped and len(set(kinds)) > 1:
        raise InputError(f"k={k} with groups; say how many of each, e.g. {dict.fromkeys(kinds, k)}")
    else:
        wanted = {kinds[0]: k}
    for kind, number in wanted.items():
        available, of = kinds.count(kind), f" of {kind}" if kind else ""
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise InputError(f"k={number!r}{of}; give a whole number of features")
        if number > available:
            raise InputError(f"k={number} features{of}, and there are {available}; take at most as many as there are")
    if not sum(wanted.values()):
        raise InputError("k=0: no feature is to be taken; give at least 1")
    return wanted


def _names(kinds: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for kind in kinds:
        found.append(f"{kind}{seen.get(kind, 0)}")
        seen[kind] = seen.get(kind, 0) + 1
    return found
