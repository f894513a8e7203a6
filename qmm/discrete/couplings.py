"""Which registers, or which qubits of different registers, meet: a graph under a budget, as a binary quadratic model."""

from collections.abc import Hashable, Sequence
from functools import partial
from itertools import combinations

import numpy as np
from dimod import BinaryQuadraticModel
from numpy.typing import ArrayLike, NDArray

from qmm.discrete.penalties import above
from qmm.discrete.problem import Constraint, Decoded, Problem, Sample, constrained
from qmm.errors import InputError

Pair = tuple[int, int]


def register_coupling(
    benefit: ArrayLike,
    gates: ArrayLike = 1,
    price: float = 0.0,
    crowding: float = 0.0,
    most_gates: int | None = None,
    most_partners: int | None = None,
    registers: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    strength: float | None = None,
) -> Problem:
    """Choose couplings e = (i, j) of benefit b_e and g_e gates: minimise

        sum_e (price g_e - b_e) x_e + crowding (number of pairs of chosen couplings that share a node),

    with at most `most_gates` gates in all and `most_partners` couplings at a node. Couplings that share a node cannot run at
    the same time, so that `crowding` is a price on depth.

    Args:
        benefit: (n, n), symmetric; the diagonal plays no part. What coupling two nodes is worth, `qmm.discrete.synergy` for
            instance. Nodes are registers or qubits.
        gates: Of a coupling: a whole number, or (n, n).
        price: Of a gate, in units of the benefit.
        crowding: Of two couplings at one node.
        most_gates: In all.
        most_partners: Of a node.
        registers: (n,), of each node its register: only nodes of different ones are coupled. By default, all may be.
        names: (n,), for the report; by default the nodes' places.
        strength: Of the penalty on each distance from the budgets, squared; by default just more than what breaking them gains.

    Raises InputError for shapes that do not fit, numbers that are not finite, gates that are no whole numbers above 0, budgets
    below 0, and where no two nodes may be coupled.
    """
    worth, counts = _checked(benefit, gates)
    if not (np.isfinite(price) and np.isfinite(crowding) and crowding >= 0):
        raise InputError(f"price={price}, crowding={crowding}; give finite numbers, crowding of 0 or more")
    labels = [str(i) for i in range(len(worth))] if names is None else list(names)
    owners = list(range(len(worth))) if registers is None else list(registers)
    if len(labels) != len(worth) or len(owners) != len(worth):
        raise InputError(f"{len(labels)} names and {len(owners)} registers of {len(worth)} nodes; give one of each for each")
    pairs = [(i, j) for i, j in combinations(range(len(worth)), 2) if owners[i] != owners[j]]
    if not pairs:
        raise InputError("no two nodes are of different registers, so there is nothing to couple")
    objective = BinaryQuadraticModel("BINARY")
    for pair in pairs:
        objective.add_linear(pair, price * counts[pair] - worth[pair])
    for first, second in combinations(pairs, 2):
        if crowding and set(first) & set(second):
            objective.add_quadratic(first, second, crowding)
    if strength is None:  # with one coupling less, a budget that is exceeded is so by less, and none by more
        strength = above(max(float(-objective.linear[pair]) for pair in pairs))
    constraints = _budgets(pairs, counts, labels, most_gates, most_partners, strength)
    return constrained("couplings", objective, constraints, partial(_decode, worth, counts, labels, pairs))


def _budgets(
    pairs: Sequence[Pair],
    counts: NDArray[np.int64],
    names: Sequence[str],
    most_gates: int | None,
    most_partners: int | None,
    strength: float,
) -> list[Constraint]:
    for what, budget in (("most_gates", most_gates), ("most_partners", most_partners)):
        if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 0):
            raise InputError(f"{what}={budget!r}; give a whole number of 0 or more, or leave it out")
    found = []
    if most_gates is not None:
        found.append(Constraint("gates", tuple((pair, int(counts[pair])) for pair in pairs), 0, most_gates, strength))
    if most_partners is not None:
        for node, name in enumerate(names):
            own: tuple[tuple[Hashable, int], ...] = tuple((pair, 1) for pair in pairs if node in pair)
            found.append(Constraint(f"couplings of {name}", own, 0, most_partners, strength))
    return [constraint for constraint in found if sum(c for _, c in constraint.terms) > constraint.upper]


def _decode(
    worth: NDArray[np.float64], counts: NDArray[np.int64], names: Sequence[str], pairs: Sequence[Pair], sample: Sample
) -> Decoded:
    chosen = [pair for pair in pairs if sample[pair] > 0]
    shared = sum(bool(set(first) & set(second)) for first, second in combinations(chosen, 2))
    terms = {
        "benefit": float(sum(worth[pair] for pair in chosen)),
        "gates": float(sum(counts[pair] for pair in chosen)),
        "shared nodes": float(shared),
    }
    return Decoded(tuple(chosen), tuple(f"{names[i]}-{names[j]}" for i, j in chosen), terms)


def _checked(benefit: ArrayLike, gates: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    worth = np.asarray(benefit, np.float64)
    if worth.ndim != 2 or worth.shape[0] != worth.shape[1] or len(worth) < 2:
        raise InputError(f"benefit of shape {worth.shape}; expected (n, n) for n nodes, at least two")
    if not np.isfinite(worth).all():
        node = int(np.argwhere(~np.isfinite(worth))[0][0])
        raise InputError(f"the benefit has NaN or infinite entries, the first for node {node}")
    if not np.allclose(worth, worth.T, rtol=1e-6, atol=1e-12):
        raise InputError("the benefit is not symmetric; a coupling has no direction: give (b + b.T) / 2")
    numbers = np.asarray(gates)
    if numbers.shape not in ((), worth.shape):
        raise InputError(f"gates of shape {numbers.shape}; give one number, or {worth.shape}")
    counts = np.broadcast_to(numbers, worth.shape)
    upper = counts[np.triu_indices(len(worth), 1)]
    if not np.array_equal(counts, counts.T) or not np.array_equal(upper, np.round(upper)) or upper.min() < 1:
        raise InputError("gates are whole numbers of 1 or more, the same both ways round")
    return worth, np.round(counts).astype(np.int64)
