"""Which entangler in which layer: one option a layer, as a binary quadratic model; and what options cost, from trials."""

from collections.abc import Hashable, Sequence
from functools import partial
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from dimod import BinaryQuadraticModel
from numpy.typing import ArrayLike, NDArray

from qmm.discrete.penalties import exactly, range_bound
from qmm.discrete.problem import Constraint, Decoded, Problem, Sample, constrained
from qmm.errors import InputError

Floats = NDArray[np.float64]


def entangler_placement(
    costs: ArrayLike,
    interactions: ArrayLike | None = None,
    options: Sequence[str] | None = None,
    gates: Sequence[int] | None = None,
    most_gates: int | None = None,
    strength: float | None = None,
) -> Problem:
    """Choose an option o_l for each layer l: minimise sum_l costs[l, o_l] + sum of interactions[l, o_l, m, o_m] over l < m.

    One variable (l, o) a layer and option, exactly one of a layer's is 1.

    Args:
        costs: (L, G): of each option in each layer; a loss, so that less is better.
        interactions: (L, G, L, G), of which l < m counts; or (G, G), of an option with the next layer's.
        options: (G,), their names; by default their places.
        gates: (G,), the two-qubit gates of each.
        most_gates: In all layers.
        strength: Of the penalties; by default just enough (`qmm.discrete.penalties`).

    Raises InputError for shapes that do not fit, numbers that are not finite, and a budget that the cheapest options exceed.
    """
    own = np.asarray(costs, np.float64)
    if own.ndim != 2 or not own.size or not np.isfinite(own).all():
        raise InputError(f"costs of shape {own.shape}; expected finite numbers (L, G), of each option in each layer")
    layers, n_options = own.shape
    labels = [str(i) for i in range(n_options)] if options is None else list(options)
    if len(labels) != n_options:
        raise InputError(f"{len(labels)} options for costs of shape {own.shape}; name each of the {n_options}")
    between = _between(interactions, layers, n_options)
    objective = BinaryQuadraticModel("BINARY")
    for layer, option in np.ndindex(layers, n_options):
        objective.add_linear((layer, option), own[layer, option])
    for first, second in combinations(range(layers), 2):
        for a, b in np.ndindex(n_options, n_options):
            if between[first, a, second, b]:
                objective.add_quadratic((first, a), (second, b), between[first, a, second, b])
    counted = [(f"options in layer {i}", [(i, option) for option in range(n_options)], 1) for i in range(layers)]
    constraints = exactly(objective, counted, strength)
    budget = _budget(gates, most_gates, layers, n_options)
    if budget is not None:  # a cheaper option may be more than one flip away, so that only the whole range is sure to do
        strength = range_bound(objective) if strength is None else strength
        constraints = [constraint._replace(strength=strength, multiplier=0.0) for constraint in constraints]
        constraints.append(Constraint("gates", budget, 0, int(most_gates or 0), strength))
    return constrained("entanglers", objective, constraints, partial(_decode, own, between, labels, gates))


class Surrogate(NamedTuple):
    """What options cost, alone and in pairs, as far as trials tell."""

    costs: Floats
    """(L, G)"""
    interactions: Floats
    """(L, G, L, G), of which l < m counts"""
    offset: float
    fit: float
    """R² on the trials themselves."""

    def predict(self, trials: ArrayLike) -> Floats:
        """(M, L) options -> (M,) losses"""
        chosen = np.asarray(trials)
        found = np.full(len(chosen), self.offset)
        for layer in range(len(self.costs)):
            found += self.costs[layer, chosen[:, layer]]
        for first, second in combinations(range(len(self.costs)), 2):
            found += self.interactions[first, chosen[:, first], second, chosen[:, second]]
        return found


def surrogate(trials: ArrayLike, losses: ArrayLike, n_options: int, ridge: float = 1e-3) -> Surrogate:
    """The quadratic model of losses of some trials, by ridge regression: what `entangler_placement` then minimises
    (Bayesian optimisation of combinatorial structures does the same with priors of its own, arXiv:1806.08838).

    Args:
        trials: (M, L): the option of each layer, from 0.
        losses: (M,), of short trainings for instance.
        n_options: G.
        ridge: How strongly coefficients are held near 0, in units of the losses' variance.

    Raises InputError for shapes that do not fit and for options that there are not.
    """
    from sklearn.linear_model import Ridge

    chosen, found = np.asarray(trials), np.asarray(losses, np.float64)
    if chosen.ndim != 2 or found.shape != (len(chosen),) or len(found) < 2 or chosen.dtype.kind not in "iu":
        shapes = f"trials of shape {chosen.shape}, losses of shape {found.shape}"
        raise InputError(f"{shapes}; expected whole numbers (M, L), and numbers (M,), of at least two trials")
    if not np.isfinite(found).all():
        raise InputError("losses hold NaN or infinite numbers; leave these trials out")
    if chosen.min(initial=0) < 0 or chosen.max(initial=0) >= n_options:
        raise InputError(f"trials name options {chosen.min()} to {chosen.max()}; there are 0 to {n_options - 1}")
    layers = chosen.shape[1]
    single = (chosen[:, :, None] == np.arange(n_options)).astype(np.float64)
    pairs = list(combinations(range(layers), 2))
    products = [np.einsum("ma,mb->mab", single[:, i], single[:, j]).reshape(len(chosen), -1) for i, j in pairs]
    design = np.concatenate([single.reshape(len(chosen), -1), *products], axis=1)
    model = Ridge(alpha=max(ridge, 1e-12) * len(found)).fit(design, found)
    costs, tables = np.split(model.coef_, [layers * n_options])
    interactions = np.zeros((layers, n_options, layers, n_options))
    for (i, j), table in zip(pairs, tables.reshape(-1, n_options, n_options), strict=True):
        interactions[i, :, j] = table
    fit = float(model.score(design, found))
    return Surrogate(costs.reshape(layers, n_options), interactions, float(model.intercept_), fit)


def _between(interactions: ArrayLike | None, layers: int, n_options: int) -> Floats:
    found = np.zeros((layers, n_options, layers, n_options))
    if interactions is None:
        return found
    given = np.asarray(interactions, np.float64)
    if given.shape not in (found.shape, (n_options, n_options)) or not np.isfinite(given).all():
        raise InputError(
            f"interactions of shape {given.shape}; expected finite numbers {found.shape}, or {(n_options, n_options)} of an "
            "option with the next layer's"
        )
    if given.ndim == 4:
        return given
    for layer, following in pairwise(range(layers)):
        found[layer, :, following] = given
    return found


def _budget(
    gates: Sequence[int] | None, most_gates: int | None, layers: int, n_options: int
) -> tuple[tuple[Hashable, int], ...] | None:
    """The variables, and the gates of each; None without a budget."""
    if most_gates is None:
        return None
    if gates is None or len(gates) != n_options or any(not isinstance(g, int) or g < 0 for g in gates):
        raise InputError(f"most_gates={most_gates} with gates={gates}; give the number of gates of each option, {n_options}")
    least = layers * min(gates)
    if most_gates < least:
        raise InputError(f"most_gates={most_gates}; {layers} layers of the cheapest option have {least}, allow at least these")
    return tuple(((layer, option), gates[option]) for layer, option in np.ndindex(layers, n_options))


def _decode(costs: Floats, between: Floats, options: Sequence[str], gates: Sequence[int] | None, sample: Sample) -> Decoded:
    layers, n_options = costs.shape
    picked = [[option for option in range(n_options) if sample[layer, option] > 0] for layer in range(layers)]
    chosen = [own[0] if len(own) == 1 else -1 for own in picked]
    everything = [(layer, option) for layer, own in enumerate(picked) for option in own]
    terms = {
        "own costs": float(sum(costs[place] for place in everything)),
        "interactions": float(sum(between[a, o, b, q] for (a, o), (b, q) in combinations(everything, 2) if a != b)),
    }
    if gates is not None:
        terms["gates"] = float(sum(gates[option] for _, option in everything))
    return Decoded(tuple(chosen), tuple(options[option] if option >= 0 else "?" for option in chosen), terms)
