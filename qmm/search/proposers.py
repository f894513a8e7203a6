"""What to try next, from what was tried: at random, by evolution, by a tree search, or where a quadratic model is lowest.

A proposer keeps nothing to itself. Its next point follows from the trials so far and a random generator, so that a search that
was killed goes on as if it had not been.
"""

import math
import random
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from qmm.config import Configurable
from qmm.errors import InputError
from qmm.search.space import Point, unseen


class Trial(NamedTuple):
    """A point, and what came of it."""

    point: Point
    loss: float | None = None
    """Less is better. None: not known yet, failed, or not run since the point is outside of the budget."""
    failed: bool = False
    rejected: bool = False
    """Whether the point is outside of the budget: nothing was run."""


def finished(trials: Sequence[Trial]) -> list[tuple[Point, float]]:
    """Points and losses of the trials that have one, in their order."""
    return [(trial.point, trial.loss) for trial in trials if trial.loss is not None]


def rewards(trials: Sequence[Trial]) -> list[tuple[Point, float]]:
    """Of each trial that is over, the share of those with a loss that it is at least as good as; 0 where it failed."""
    losses = sorted(loss for _, loss in finished(trials))
    return [
        (trial.point, 0.0 if trial.loss is None else 1 - bisect_left(losses, trial.loss) / len(losses))
        for trial in trials
        if trial.loss is not None or trial.failed
    ]


class Proposer(Configurable, ABC):
    """Chooses the next point of a search. In YAML, by its `class_path`."""

    reference: str = ""

    @abstractmethod
    def propose(self, sizes: tuple[int, ...], trials: Sequence[Trial], rng: random.Random) -> Point | None:
        """A point that is none of the trials'; None where there is none left.

        Args:
            sizes: How many options each choice has.
            trials: In the order in which they were proposed.
            rng: The only source of chance.
        """


class RandomSearch(Proposer):
    """Points at random, none twice."""

    reference = "https://www.jmlr.org/papers/v13/bergstra12a.html"

    def propose(self, sizes: tuple[int, ...], trials: Sequence[Trial], rng: random.Random) -> Point | None:
        return unseen(sizes, {trial.point for trial in trials}, rng)


class Evolution(Proposer):
    """Regularised evolution (arXiv:1802.01548): of a few of the last trials the best has a child, changed in one choice.

    The population is what was finished last, so that the oldest leave it, however good they were; it begins at random. Where
    all children that are looked at were tried before, they are changed in one choice more.

    Args:
        population: So many trials live.
        tournament: So many of them, drawn at random, compete to be the parent.
    """

    reference = "arXiv:1802.01548"

    def __init__(self, population: int = 10, tournament: int = 4):
        if not 1 <= tournament <= population:
            raise InputError(f"tournament={tournament} of population={population}; the one is at least 1, at most the other")
        self.population, self.tournament = population, tournament

    def propose(self, sizes: tuple[int, ...], trials: Sequence[Trial], rng: random.Random) -> Point | None:
        seen, living = {trial.point for trial in trials}, finished(trials)[-self.population :]
        if len(living) < self.population:
            return unseen(sizes, seen, rng)
        parent, _ = min(rng.sample(living, self.tournament), key=lambda one: one[1])
        open_choices = [place for place, size in enumerate(sizes) if size > 1]
        for changes in range(1, len(open_choices) + 1):
            for _ in range(4 * sum(sizes)):
                child = list(parent)
                for place in rng.sample(open_choices, changes):
                    child[place] = rng.choice([option for option in range(sizes[place]) if option != parent[place]])
                if tuple(child) not in seen:
                    return tuple(child)
        return unseen(sizes, seen, rng)


class TreeSearch(Proposer):
    """Monte-Carlo tree search: choice after choice, in the order of the space, a branch for each option.

    In the tree, which every trial makes longer by one branch, options are taken by UCT (doi:10.1007/11871842_29). Beyond it
    they are taken by the same rule, but from what each option was worth in all trials, whatever stood beside it: that rewards
    add up over choices is the naive assumption of arXiv:2207.00132. The reward is the share of trials that one is at least as
    good as, so that the scale of the loss does not matter. Branches without untried points are closed, and one that was only
    ever outside of the budget is worth less with each point that was.

    Args:
        exploration: How much the uncertain is preferred; 0 takes what was best so far. Rewards lie between 0 and 1.
    """

    reference = "arXiv:2207.00132"

    def __init__(self, exploration: float = 0.3):
        if exploration < 0:
            raise InputError(f"exploration={exploration}; it is 0 or more")
        self.exploration = exploration

    def propose(self, sizes: tuple[int, ...], trials: Sequence[Trial], rng: random.Random) -> Point | None:
        closed = Counter(trial.point[:depth] for trial in trials for depth in range(len(sizes) + 1))
        branches, anywhere = Bandit(self.exploration), Bandit(self.exploration)
        tree: set[Point] = {()}
        for tried, reward in rewards(trials):
            tree.add(next((tried[:depth] for depth in range(len(sizes)) if tried[:depth] not in tree), tried))
            for depth, option in enumerate(tried):
                branches.add(tried[: depth + 1], reward)
                anywhere.add((depth, option), reward)
        for trial in trials:
            for depth, option in enumerate(trial.point if trial.rejected else ()):
                branches.reject(trial.point[: depth + 1])
                anywhere.reject((depth, option))
        point: Point = ()
        below = [1]  # points below a branch of each depth, from the last choice on
        for size in reversed(sizes):
            below.insert(0, below[0] * size)
        while len(point) < len(sizes):
            depth = len(point)
            left = [(*point, option) for option in range(sizes[depth])]
            left = [branch for branch in left if closed[branch] < below[depth + 1]]
            if not left:
                return None
            if point in tree:
                point = branches.best(left, rng)
            else:
                option = anywhere.best([(depth, branch[-1]) for branch in left], rng)[-1]
                point = (*point, option)
        return point


class Bandit:
    """Mean rewards of what was tried, and UCB1 among it."""

    def __init__(self, exploration: float):
        self.exploration = exploration
        self._visits: Counter[Point] = Counter()
        self._rewards: defaultdict[Point, float] = defaultdict(float)
        self._rejections: Counter[Point] = Counter()

    def add(self, arm: Point, reward: float) -> None:
        self._visits[arm] += 1
        self._rewards[arm] += reward

    def reject(self, arm: Point) -> None:
        """It counts where nothing else is known of the arm: as a reward of 0, beside one of 1 to begin with."""
        self._rejections[arm] += 1

    def best(self, arms: Sequence[Point], rng: random.Random) -> Point:
        """One of which nothing is known, or else that with the greatest upper confidence bound; of equals one at random."""
        known = {arm: self._visits[arm] or (self._rejections[arm] and 1 + self._rejections[arm]) for arm in arms}
        new = [arm for arm in arms if not known[arm]]
        if new:
            return rng.choice(new)
        total = sum(known.values())

        def bound(arm: Point) -> float:
            reward = self._rewards[arm] if self._visits[arm] else 1.0
            return reward / known[arm] + self.exploration * (math.log(total) / known[arm]) ** 0.5

        highest = max(map(bound, arms))
        return rng.choice([arm for arm in arms if bound(arm) == highest])
