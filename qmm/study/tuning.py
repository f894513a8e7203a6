"""What is tried for an arm before its seeds run: a grid, settings drawn at random, or what Optuna proposes."""

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from qmm.errors import InputError

Overlay = dict[str, Any]

METHODS = ("grid", "random", "optuna")
SEED = 0
"""Of what is drawn and proposed: the same for every arm, and each time the study is started."""


class Range(NamedTuple):
    """Numbers from low to high, of which a tuning takes some."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


Space = Mapping[str, Range | list[Any]]
"""Setting, such as model.init_args.learning_rate -> what it may be."""


class Tuning(NamedTuple):
    """The same effort for every arm, on a part of the training split."""

    held_out: Overlay
    """Puts a part of the training split in the place of val; empty where there are `folds`."""
    choices: dict[str, Overlay]
    """Name -> overlay, all that is tried; as far as it is known before (not with Optuna)."""
    seeds: tuple[int, ...]
    metric: str
    lowest: bool
    """Whether the lowest mean of the metric is the best."""
    folds: int = 0
    """Each choice is scored on so many folds of what the arm trains on; no group is torn apart."""
    own: Mapping[str, dict[str, Overlay]] = MappingProxyType({})
    """Arm -> its choices, where they are not the common ones: as many."""
    method: str = "grid"
    trials: int = 0
    """How many choices Optuna makes for each arm."""
    space: Space = MappingProxyType({})
    own_spaces: Mapping[str, Space] = MappingProxyType({})

    @property
    def parts(self) -> tuple[Overlay, ...]:
        """What a choice is scored on, one after the other."""
        if not self.folds:
            return (self.held_out,)
        return tuple({"data": {"init_args": {"tuning_fold": k, "tuning_folds": self.folds}}} for k in range(self.folds))

    @property
    def amount(self) -> int:
        """How many choices each arm gets."""
        return self.trials if self.method == "optuna" else len(self.choices)

    def of(self, arm: str) -> dict[str, Overlay]:
        return self.own.get(arm, self.choices)

    def proposals(self, arm: str, scores: Mapping[int, float]) -> dict[str, Overlay]:
        """The choices of an arm that are known once these scores are, by the place of the choice: all at once, but with Optuna
        one more than there are scores, each from the scores before it."""
        if self.method != "optuna":
            return self.of(arm)
        return propose(self.own_spaces.get(arm, self.space), self.trials, scores, self.lowest)


def grid(values: Mapping[str, Sequence[Any]]) -> dict[str, Overlay]:
    """Every combination, named by the last parts of its settings: `learning_rate 0.01, weight_decay 0.1`."""
    return dict(_named(dict(zip(values, chosen, strict=True))) for chosen in itertools.product(*values.values()))


def draw(space: Space, count: int) -> dict[str, Overlay]:
    """So many different settings at random; the same each time.

    Raises InputError where the space has fewer.
    """
    rng, found = np.random.default_rng(SEED), dict[str, Overlay]()
    for _ in range(100 * count):
        if len(found) < count:
            found.setdefault(*_named({name: _one(values, rng) for name, values in space.items()}))
    if len(found) < count:
        raise InputError(f"`tuning.space` holds only {len(found)} different settings, and {count} trials were asked for")
    return found


def propose(space: Space, trials: int, scores: Mapping[int, float], lowest: bool) -> dict[str, Overlay]:
    """What the tree-structured Parzen estimator of Optuna (arXiv:1907.10902) proposes, asked again from the first trial, so
    that nothing of it needs to be kept: the trials that have scores, and the next one."""
    try:
        import optuna
    except ImportError as error:
        raise InputError("`tuning.method: optuna` needs Optuna: pip install 'qmm[optuna]', or set it to random") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=SEED)
    study = optuna.create_study(direction="minimize" if lowest else "maximize", sampler=sampler)
    distributions: dict[str, Any] = {name: _distribution(values) for name, values in space.items()}
    found: dict[str, Overlay] = {}
    for number in range(trials):
        trial = study.ask(distributions)
        name, overlay = _named({key: _rounded(value) for key, value in trial.params.items()})
        found[f"{number}: {name}"] = overlay
        if number not in scores:
            break
        study.tell(trial, scores[number])
    return found


def _distribution(values: Range | list[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, list):
        return CategoricalDistribution(values)
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _one(values: Range | list[Any], rng: np.random.Generator) -> Any:
    if isinstance(values, list):
        return values[int(rng.integers(len(values)))]
    if values.whole and not values.log:
        return int(rng.integers(int(values.low), int(values.high) + 1))
    ends = np.log([values.low, values.high]) if values.log else np.array([values.low, values.high])
    drawn = float(rng.uniform(*ends))
    number = float(np.exp(drawn)) if values.log else drawn
    return round(number) if values.whole else _rounded(number)


def _rounded(value: Any) -> Any:
    """Three digits, so that a table can name it and a person set it."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _named(settings: Mapping[str, Any]) -> tuple[str, Overlay]:
    name = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in settings.items())
    overlay: Overlay = {}
    for key, value in settings.items():
        *outer, last = key.split(".")
        place = overlay
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    return name, overlay
