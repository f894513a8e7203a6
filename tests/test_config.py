import copy
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from qmm.config import Configurable, to_config


class Inner(Configurable):
    def __init__(self, size: int, names: list[str] | None = None):
        self.size, self.names = size, names


class Outer(Configurable, nn.Module):
    def __init__(self, inner: Inner, *, rate: float = 0.5, **extra: Any):
        super().__init__()
        self.inner, self.rate, self.extra = inner, rate, extra


class Derived(Outer):
    def __init__(self, inner: Inner, depth: int):
        super().__init__(inner, rate=0.25)
        self.depth = depth


@dataclass(frozen=True)
class Plain:
    width: int = 3


def arguments(value: Any) -> dict[str, Any]:
    return to_config(value)["init_args"]


def test_records_what_was_given_positionally_or_by_name() -> None:
    config = to_config(Outer(Inner(3, names=["a"]), rate=0.1, more=7))
    assert config["class_path"].endswith("Outer")
    assert config["init_args"]["rate"] == 0.1
    assert config["init_args"]["more"] == 7
    assert config["init_args"]["inner"]["init_args"] == {"size": 3, "names": ["a"]}
    json.dumps(config)


def test_records_the_outermost_constructor_only() -> None:
    assert set(arguments(Derived(Inner(1), 2))) == {"inner", "depth"}


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_remember(copier: Any) -> None:
    assert arguments(copier(Inner(5))) == {"size": 5}


def test_dataclasses_paths_and_nested_containers() -> None:
    described = arguments(Outer(Inner(1), folder=Path("a/b"), augment={"vision": Plain(4)}, pair=(1, None)))
    assert described["folder"] == "a/b"
    assert described["augment"]["vision"]["init_args"] == {"width": 4}
    assert described["pair"] == [1, None]


def test_what_has_no_plain_form_is_named() -> None:
    with pytest.raises(TypeError, match=r"Outer\.callback: a builtin_function_or_method cannot"):
        to_config(Outer(Inner(1), callback=print))
