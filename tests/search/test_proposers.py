"""Proposers: on planted losses against exhaustive search; nothing twice, everything in the end, the same after a kill."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from qmm.discrete import SimulatedAnnealing
from qmm.errors import InputError
from qmm.search import Evolution, Point, Proposer, QuadraticModel, RandomSearch, TreeSearch, Trial, make_space, unseen
from qmm.search.proposers import Bandit, rewards

SIZES = (4, 3, 4, 2, 4, 3)  # 1,152 points
QUICK = SimulatedAnnealing(reads=10, sweeps=50)
ALL: list[Proposer] = [RandomSearch(), Evolution(), TreeSearch(), QuadraticModel(solver=QUICK)]
Loss = Callable[[Point], float]


def planted(sizes: Sequence[int], seed: int) -> Loss:
    """A cost for each option, and smaller ones for every two: what surrogates assume, and more than trees do."""
    chance = np.random.default_rng(seed)
    own = [chance.normal(size=size) for size in sizes]
    pairs = {(i, j): 0.5 * chance.normal(size=(sizes[i], sizes[j])) for i, j in itertools.combinations(range(len(sizes)), 2)}

    def loss(point: Point) -> float:
        alone = sum(own[i][option] for i, option in enumerate(point))
        return float(alone + sum(table[point[i], point[j]] for (i, j), table in pairs.items()))

    return loss


def search(proposer: Proposer, sizes: tuple[int, ...], loss: Loss, trials: int, seed: int = 0) -> list[Trial]:
    done: list[Trial] = []
    for _ in range(trials):
        point = proposer.propose(sizes, done, random.Random(f"{seed} {len(done)}"))
        if point is None:
            break
        done.append(Trial(point, loss(point)))
    return done


def rank(trials: Sequence[Trial], sizes: Sequence[int], loss: Loss) -> int:
    """How many of all points are better than the best trial."""
    best = min(trial.loss for trial in trials if trial.loss is not None)
    return sum(loss(point) < best for point in itertools.product(*map(range, sizes)))


def mean_rank(proposer: Proposer, runs: int, trials: int) -> float:
    losses = [planted(SIZES, seed) for seed in range(runs)]
    return float(np.mean([rank(search(proposer, SIZES, loss, trials, i), SIZES, loss) for i, loss in enumerate(losses)]))


@pytest.mark.parametrize("proposer", [Evolution(), TreeSearch()], ids=["evolution", "tree"])
def test_planted_optima_are_found(proposer: Proposer) -> None:
    """A tenth of all points is tried. At random, the best of 115 of 1,152 has a rank of 9 on average, 10 of spread: the mean of
    20 runs is below 2 by chance in less than 1 of 1,000 cases."""
    assert mean_rank(proposer, 20, 115) < 2


def test_random_search_is_as_good_as_chance() -> None:
    """The rank of the best of n without repetition has the mean (N - n) / (n + 1) and about that spread."""
    expected = (1152 - 50) / 51
    assert abs(mean_rank(RandomSearch(), 40, 50) - expected) < 4 * expected / math.sqrt(40)


def test_a_quadratic_model_finds_the_optimum_of_a_quadratic_loss() -> None:
    """In a fourth of all points; at random, that happens in all of four cases once in 256."""
    assert all(
        rank(search(QuadraticModel(solver=QUICK), SIZES[:4], loss, 24), SIZES[:4], loss) == 0
        for loss in (planted(SIZES[:4], seed) for seed in range(4))
    )


def test_a_tree_search_finds_a_needle_that_no_option_hints_at_only_by_looking_everywhere() -> None:
    sizes = (3, 3, 3)
    trials = search(TreeSearch(), sizes, lambda point: -float(point == (2, 0, 1)), 27)
    assert len(trials) == 27
    assert min(trial.loss for trial in trials if trial.loss is not None) == -1


@pytest.mark.parametrize("proposer", ALL, ids=lambda p: type(p).__name__)
def test_every_point_once_then_nothing(proposer: Proposer) -> None:
    sizes = (3, 1, 2, 4)
    trials = search(proposer, sizes, planted(sizes, 1), 30)
    assert len(trials) == len({trial.point for trial in trials}) == 24


@pytest.mark.parametrize("proposer", ALL, ids=lambda p: type(p).__name__)
def test_what_is_rejected_failed_or_running_is_not_proposed_again(proposer: Proposer) -> None:
    sizes = (3, 2, 3)
    loss = planted(sizes, 2)
    every = list(itertools.product(*map(range, sizes)))
    known = [Trial(point, rejected=True) for point in every[:4]] + [Trial(point, failed=True) for point in every[4:6]]
    known += [Trial(every[6])] + [Trial(point, loss(point)) for point in every[7:17]]
    assert proposer.propose(sizes, known, random.Random(0)) == every[17]


@pytest.mark.parametrize("proposer", ALL, ids=lambda p: type(p).__name__)
def test_proposals_follow_from_the_trials_alone(proposer: Proposer) -> None:
    loss = planted(SIZES, 3)
    whole = search(proposer, SIZES, loss, 14, seed=5)
    again = type(proposer)(**proposer.config_arguments()).propose(SIZES, whole[:12], random.Random("5 12"))
    assert again == whole[12].point


def test_a_child_differs_in_one_choice_from_a_parent_that_lives() -> None:
    loss = planted(SIZES, 4)
    trials = search(Evolution(6, 3), SIZES, loss, 40)
    for place in range(6, 40):
        living = trials[place - 6 : place]
        changed = [sum(a != b for a, b in zip(trials[place].point, one.point, strict=True)) for one in living]
        assert min(changed) == 1


def test_the_scale_of_the_loss_does_not_matter_to_a_tree() -> None:
    loss = planted(SIZES, 5)
    plain, stretched = (search(TreeSearch(), SIZES, f, 30) for f in (loss, lambda point: math.exp(9 * loss(point))))
    assert [trial.point for trial in plain] == [trial.point for trial in stretched]


def test_rewards_are_shares_of_trials_that_are_no_better() -> None:
    told = [Trial((0,), 3.0), Trial((1,), 1.0), Trial((2,), failed=True), Trial((3,), 2.0), Trial((4,)), Trial((5,), 2.0)]
    assert rewards(told) == [((0,), 0.25), ((1,), 1.0), ((2,), 0.0), ((3,), 0.75), ((5,), 0.75)]


def test_a_bandit_takes_the_new_then_the_highest_bound() -> None:
    bandit, chance = Bandit(1.0), random.Random(0)
    bandit.add((0,), 0.9)
    assert bandit.best([(0,), (1,)], chance) == (1,)
    for _ in range(9):
        bandit.add((0,), 0.9)
    bandit.add((1,), 0.5)  # 0.9 + sqrt(ln 11 / 10) = 1.39 against 0.5 + sqrt(ln 11) = 2.05
    assert bandit.best([(0,), (1,)], chance) == (1,)
    assert Bandit(0.0).best([(7,)], chance) == (7,)


def test_a_tree_search_soon_leaves_what_the_budget_never_allows() -> None:
    """A third of the options of the first choice and of the last are never allowed: 5 of 9 points. Those who do not learn from
    it propose five of them for every four that are."""
    sizes, told = (3, 5, 5, 3), list[Trial]()
    loss = planted(sizes, 6)
    while sum(trial.loss is not None for trial in told) < 40:
        point = TreeSearch().propose(sizes, told, random.Random(len(told)))
        assert point is not None
        dear = point[0] == 2 or point[3] == 0
        told.append(Trial(point, rejected=True) if dear else Trial(point, loss(point)))
    assert len(told) - 40 < 20


def test_small_spaces_are_gone_through() -> None:
    points = list(itertools.product(range(40), range(40)))
    left = points.pop(777)
    assert unseen((40, 40), set(points), random.Random(0)) == left
    assert unseen((40, 40), {*points, left}, random.Random(0)) is None


def test_spaces_say_what_they_hold() -> None:
    ring = {"class_path": "qmm.fusion.Ring", "init_args": {"gate": "cz"}}
    space = make_space({"layers": [1, 2], "entangler": [ring, "qmm.fusion.Pairs"], "reupload": [False]})
    assert space.sizes == (2, 2, 1)
    assert space.label((1, 0, 0)) == "layers 2, entangler Ring (gate cz)"
    assert space.label((0, 1, 0)) == "layers 1, entangler Pairs"
    refused: list[dict[str, Any]] = [{"layers": []}, {"layers": [1, 1]}, {}]
    for bad in refused:
        with pytest.raises(InputError, match="at least one"):
            make_space(bad)


@pytest.mark.parametrize("make", [lambda: Evolution(3, 4), lambda: TreeSearch(-1.0), lambda: QuadraticModel(start=1)])
def test_bad_settings_are_refused(make: Callable[[], Proposer]) -> None:
    with pytest.raises(InputError, match=r"at least|0 or more"):
        make()
