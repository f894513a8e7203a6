"""A search space: named choices, each with its options; a point takes one option of each."""

import math
import random
import re
from collections.abc import Collection, Iterable
from itertools import product
from typing import Any, NamedTuple, TypeAlias

from qmm.errors import InputError

Point: TypeAlias = tuple[int, ...]
"""The place of the option taken, choice by choice."""
_CLASS = re.compile(r"[\w.]+\.[A-Z]\w*")
_DRAWS = 1000  # random points looked at before a small space is gone through


class Space(NamedTuple):
    choices: dict[str, tuple[Any, ...]]
    """Options by name, none twice."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many options each choice has."""
        return tuple(len(options) for options in self.choices.values())

    def values(self, point: Point) -> dict[str, Any]:
        """What a point takes, by name."""
        return {name: options[i] for (name, options), i in zip(self.choices.items(), point, strict=True)}

    def label(self, point: Point) -> str:
        """What a point takes where there is something to choose: "layers 3, entangler Ring (gate cz)"."""
        taken = self.values(point)
        return ", ".join(f"{_short(name)} {named(taken[name])}" for name, options in self.choices.items() if len(options) > 1)


def make_space(choices: dict[str, Iterable[Any]]) -> Space:
    """Raises InputError for a choice without options, and for an option given twice."""
    found = {}
    for name, options in choices.items():
        listed = list(options)
        if not listed or any(option in listed[:i] for i, option in enumerate(listed)):
            raise InputError(f"the choice {name!r} has the options {listed}; give at least one, and none twice")
        found[name] = tuple(listed)
    if not found:
        raise InputError("a search space without choices; give at least one, such as layers: [1, 2, 3]")
    return Space(found)


def named(option: Any) -> str:
    """A class by its name and what it is given, anything else as it is written."""
    if isinstance(option, str) and _CLASS.fullmatch(option):
        return option.rpartition(".")[2]
    if not isinstance(option, dict) or "class_path" not in option:
        return str(option)
    given = {name: value for name, value in (option.get("init_args") or {}).items() if value is not None}
    arguments = ", ".join(f"{name} {named(value)}" for name, value in given.items())
    return option["class_path"].rpartition(".")[2] + (f" ({arguments})" if arguments else "")


def _short(name: str) -> str:
    """ "entangler.init_args.gate" -> "entangler.gate", "model.init_args.learning_rate" -> "learning_rate"."""
    return name.removeprefix("model.init_args.").replace(".init_args", "")


def unseen(sizes: tuple[int, ...], seen: Collection[Point], rng: random.Random) -> Point | None:
    """A point at random that is not among those seen; None where there is none left."""
    for _ in range(_DRAWS):
        point = tuple(rng.randrange(size) for size in sizes)
        if point not in seen:
            return point
    if math.prod(sizes) > len(seen) + _DRAWS**2:  # all but impossible: of so many, some thousand draws were all seen
        return None
    left = [point for point in product(*map(range, sizes)) if point not in seen]
    return rng.choice(left) if left else None
