"""Feature selection, couplings, entanglers: the model against the objective as the docstrings state it, for every choice."""

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmm.discrete import (
    Exhaustive,
    Problem,
    entangler_placement,
    feature_selection,
    redundancy,
    register_coupling,
    relevance,
    surrogate,
)
from qmm.errors import InputError


def symmetric(n: int, seed: int, low: float = 0.0) -> np.ndarray:
    found = np.triu(np.random.default_rng(seed).uniform(low, 1, size=(n, n)), 1)
    return found + found.T


def slack_of(problem: Problem) -> list[Any]:
    return [v for v in problem.model.variables if v not in problem.objective.variables]


def least_energy(problem: Problem, sample: dict[Any, int]) -> float:
    """Over the slack variables."""
    slack = slack_of(problem)
    filled = ({**sample, **dict(zip(slack, more, strict=True))} for more in product((0, 1), repeat=len(slack)))
    return min(float(problem.model.energy(whole)) for whole in filled)


@given(
    n=st.integers(2, 7),
    seed=st.integers(0, 10**6),
    balance=st.floats(-0.5, 3),
    low=st.sampled_from([0.0, -0.2]),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_selecting_k_minimises_the_stated_difference(
    n: int, seed: int, balance: float, low: float, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, n))
    r, between = np.random.default_rng(seed).uniform(low, 1, size=n), symmetric(n, seed + 1, low)
    problem = feature_selection(r, between, k, balance)
    best = np.inf
    for bits in product((0, 1), repeat=n):
        chosen = np.flatnonzero(bits)
        pairs = sum(between[i, j] for i, j in combinations(chosen, 2))
        stated = -r[chosen].sum() / k + balance * 2 / max(1, k * (k - 1)) * pairs
        choice = problem.read(dict(enumerate(bits)))
        assert choice.objective == pytest.approx(stated, abs=1e-9)
        assert choice.feasible == (len(chosen) == k)
        if choice.feasible:
            assert choice.energy == pytest.approx(stated, abs=1e-9)
            means = choice.terms["mean relevance"], choice.terms["mean redundancy"]
            assert means[1] * balance - means[0] == pytest.approx(stated, abs=1e-9)
            best = min(best, stated)
    found = Exhaustive().solve(problem).choice
    assert found.feasible
    assert found.energy == pytest.approx(best, abs=1e-9)


@given(n=st.integers(1, 6), seed=st.integers(0, 10**6), price=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_features_at_a_price_are_the_stated_sum(n: int, seed: int, price: float) -> None:
    r, between = np.random.default_rng(seed).uniform(size=n), symmetric(n, seed + 1)
    problem = feature_selection(r, between, price=price, balance=0.7)
    for bits in product((0, 1), repeat=n):
        x = np.array(bits)
        stated = -((r - price) * x).sum() + 0.7 * x @ np.triu(between, 1) @ x
        assert problem.model.energy(dict(enumerate(bits))) == pytest.approx(stated, abs=1e-9)


def test_groups_get_their_own_numbers_and_names() -> None:
    r, between = np.linspace(0, 1, 6), symmetric(6, 0)
    problem = feature_selection(r, between, {"vision": 1, "audio": 2}, groups=["vision"] * 3 + ["audio"] * 3)
    choice = Exhaustive().solve(problem).choice
    assert [sum(name.startswith(group) for name in choice.names) for group in ("vision", "audio")] == [1, 2]
    allowed = [(i, *pair) for i in range(3) for pair in combinations(range(3, 6), 2)]
    assert choice.objective == pytest.approx(
        min(problem.read({i: int(i in a) for i in range(6)}).objective for a in allowed), abs=1e-12
    )
    assert feature_selection(r, between, {"audio": 2}, groups=["vision"] * 3 + ["audio"] * 3).constraints[0].upper == 0


def test_a_redundant_copy_is_not_taken_twice() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4))
    target = (x[:, 0] + 0.7 * x[:, 1] > 0).astype(int)
    features = np.column_stack([x[:, 0], x[:, 0] + 0.01 * rng.normal(size=500), x[:, 1], x[:, 2:]])
    best_alone = np.argsort(-relevance(features, target))[:2]
    assert set(best_alone) == {0, 1}
    chosen = Exhaustive().solve(feature_selection(relevance(features, target), redundancy(features), 2)).choice.chosen
    assert set(chosen) in ({0, 2}, {1, 2})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 4}, "k=4 features, and there are 3"),
        ({"k": 0}, "k=0"),
        ({"k": -1}, "k=-1"),
        ({"k": 1.5}, "k=1.5"),
        ({"k": {"vision": 1}}, "give `groups`"),
        ({"k": {"smell": 1}, "groups": ["vision"] * 3}, "smell; the groups are vision"),
        ({"k": 1, "groups": ["vision", "audio", "audio"]}, "say how many of each"),
        ({"k": {"audio": 3}, "groups": ["vision", "audio", "audio"]}, "k=3 features of audio, and there are 2"),
        ({"groups": ["vision"]}, "1 groups for 3 features"),
        ({"names": ["a"]}, "1 names for 3 features"),
        ({"relevance": np.ones((3, 1))}, r"relevance of shape \(3, 1\)"),
        ({"relevance": [1, 2, np.nan]}, "the first for feature 2"),
        ({"redundancy": np.ones((2, 2))}, r"redundancy of shape \(2, 2\); expected \(3, 3\)"),
        ({"redundancy": np.triu(np.ones((3, 3)))}, "not symmetric"),
        ({"k": 1, "strength": -1.0}, "strength -1"),
    ],
)
def test_selections_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        feature_selection(**{"relevance": [1.0, 2.0, 3.0], "redundancy": np.zeros((3, 3)), **changes})


@given(seed=st.integers(0, 10**6), most_gates=st.none() | st.integers(0, 8), most_partners=st.none() | st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_couplings_minimise_the_stated_sum_within_budgets(seed: int, most_gates: int | None, most_partners: int | None) -> None:
    rng = np.random.default_rng(seed)
    benefit, gates = symmetric(4, seed, -0.5), rng.integers(1, 4, size=(4, 4))
    gates = np.triu(gates, 1) + np.triu(gates, 1).T + np.eye(4, dtype=int)
    problem = register_coupling(benefit, gates, price=0.1, crowding=0.15, most_gates=most_gates, most_partners=most_partners)
    edges, best = list(combinations(range(4), 2)), np.inf
    for bits in product((0, 1), repeat=6):
        chosen = [edge for edge, bit in zip(edges, bits, strict=True) if bit]
        shared = sum(bool(set(a) & set(b)) for a, b in combinations(chosen, 2))
        stated = sum(0.1 * gates[e] - benefit[e] for e in chosen) + 0.15 * shared
        allowed = sum(gates[e] for e in chosen) <= (99 if most_gates is None else most_gates)
        allowed &= max(sum(v in e for e in chosen) for v in range(4)) <= (99 if most_partners is None else most_partners)
        choice = problem.read({**dict(zip(edges, bits, strict=True)), **dict.fromkeys(slack_of(problem), 0)})
        assert choice.objective == pytest.approx(stated, abs=1e-9)
        assert choice.feasible == allowed
        if len(slack_of(problem)) <= 4:
            energy = least_energy(problem, dict(zip(edges, bits, strict=True)))
            assert energy == pytest.approx(stated, abs=1e-9) if allowed else energy > stated
        best = min(best, stated) if allowed else best
    found = Exhaustive().solve(problem)
    assert found.choice.feasible
    assert found.choice.objective == pytest.approx(best, abs=1e-9)
    assert found.samples.first.energy == pytest.approx(best, abs=1e-9)  # no sample that breaks a budget is better


def test_nodes_of_one_register_are_not_coupled() -> None:
    benefit = np.ones((4, 4))
    names, registers = ["vision0", "vision1", "audio0", "audio1"], ["vision", "vision", "audio", "audio"]
    choice = Exhaustive().solve(register_coupling(benefit, registers=registers, names=names)).choice
    assert choice.names == ("vision0-audio0", "vision0-audio1", "vision1-audio0", "vision1-audio1")
    one_each = Exhaustive().solve(register_coupling(benefit, registers=registers, most_partners=1)).choice
    assert len(one_each.chosen) == 2
    assert len({node for pair in one_each.chosen for node in pair}) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benefit": np.ones((2, 3))}, r"benefit of shape \(2, 3\)"),
        ({"benefit": [[0, np.inf], [np.inf, 0]]}, "first for node 0"),
        ({"benefit": [[0, 1], [2, 0]]}, "not symmetric"),
        ({"gates": 0}, "whole numbers of 1 or more"),
        ({"gates": 1.5}, "whole numbers of 1 or more"),
        ({"gates": [1, 1]}, r"gates of shape \(2,\)"),
        ({"most_gates": -1}, "most_gates=-1"),
        ({"most_partners": 1.0}, "most_partners=1.0"),
        ({"crowding": -1.0}, "crowding=-1.0"),
        ({"registers": ["a", "a"]}, "nothing to couple"),
        ({"names": ["a"]}, "1 names and 2 registers of 2 nodes"),
    ],
)
def test_couplings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        register_coupling(**{"benefit": [[0.0, 1.0], [1.0, 0.0]], **changes})


@given(seed=st.integers(0, 10**6), most_gates=st.none() | st.integers(3, 9), neighbours=st.booleans())
@settings(max_examples=20, deadline=None)
def test_entanglers_minimise_the_stated_sum(seed: int, most_gates: int | None, neighbours: bool) -> None:
    rng, layers, options = np.random.default_rng(seed), 3, 3
    costs, gates = rng.normal(size=(layers, options)), [1, 2, 3]
    between = rng.normal(size=(options, options) if neighbours else (layers, options, layers, options))
    problem = entangler_placement(costs, between, ["none", "cx", "rzz"], gates, most_gates)
    stated = {}
    for choice in product(range(options), repeat=layers):
        pairs = [(0, 1), (1, 2)] if neighbours else [(0, 1), (0, 2), (1, 2)]
        own = sum(costs[layer, option] for layer, option in enumerate(choice))
        stated[choice] = own + sum(
            between[choice[a], choice[b]] if neighbours else between[a, choice[a], b, choice[b]] for a, b in pairs
        )
    for choice, value in stated.items():
        sample = {(layer, o): int(choice[layer] == o) for layer in range(layers) for o in range(options)}
        read = problem.read({**sample, **dict.fromkeys(slack_of(problem), 0)})
        assert read.objective == pytest.approx(value, abs=1e-9)
        assert read.chosen == choice
        assert read.feasible == (sum(gates[o] for o in choice) <= (most_gates or 99))
    best = min(v for c, v in stated.items() if sum(gates[o] for o in c) <= (most_gates or 99))
    found = Exhaustive().solve(problem)
    assert found.choice.feasible
    assert found.samples.first.energy == pytest.approx(best, abs=1e-9)


def test_a_layer_without_an_option_is_told() -> None:
    problem = entangler_placement([[0.0, 1.0], [1.0, 0.0]], options=["cx", "rzz"])
    choice = problem.read({(0, 0): 1, (0, 1): 1, (1, 0): 0, (1, 1): 0})
    assert choice.names == ("?", "?")
    assert choice.violations == ("2 options in layer 0 instead of 1", "0 options in layer 1 instead of 1")


def test_a_surrogate_learns_a_quadratic_loss() -> None:
    rng = np.random.default_rng(0)
    costs, between = rng.normal(size=(3, 3)), rng.normal(size=(3, 3, 3, 3))
    every = np.array(list(product(range(3), repeat=3)))

    def losses(trials: np.ndarray) -> np.ndarray:
        own = costs[np.arange(3), trials].sum(1)
        return own + sum(between[a, trials[:, a], b, trials[:, b]] for a, b in combinations(range(3), 2))

    seen = every[rng.permutation(27)[:24]]
    found = surrogate(seen, losses(seen), 3, ridge=1e-9)
    np.testing.assert_allclose(found.predict(every), losses(every), atol=1e-4)
    assert found.fit == pytest.approx(1.0, abs=1e-9)
    chosen = Exhaustive().solve(entangler_placement(found.costs, found.interactions)).choice.chosen
    assert chosen == tuple(every[losses(every).argmin()])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"costs": [1.0]}, r"costs of shape \(1,\)"),
        ({"costs": [[np.nan, 1.0]]}, "finite numbers"),
        ({"options": ["cx"]}, "1 options"),
        ({"interactions": np.ones(2)}, r"interactions of shape \(2,\)"),
        ({"most_gates": 3}, "gates=None"),
        ({"most_gates": 1, "gates": [1, 2]}, "2 layers of the cheapest option have 2"),
    ],
)
def test_placements_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        entangler_placement(**{"costs": [[0.0, 1.0], [1.0, 0.0]], **changes})


def test_trials_that_teach_nothing() -> None:
    for trials, losses, message in (
        ([[0, 1]], [1.0], "at least two trials"),
        ([[0.5], [1.0]], [1.0, 2.0], "whole numbers"),
        ([[0], [2]], [1.0, 2.0], "options 0 to 2; there are 0 to 1"),
        ([[0], [1]], [1.0, np.nan], "NaN"),
    ):
        with pytest.raises(InputError, match=message):
            surrogate(trials, losses, 2)
