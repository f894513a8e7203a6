"""The file of a search space: choices of the circuit and of its training, counterparts, a budget, what is held out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from qmm.errors import InputError
from qmm.search.arms import check_budget

KEYS = {"circuit", "training", "counterparts", "budget", "held_out", "metric", "best", "compare"}
HELD_OUT = {"data": {"init_args": {"fold": 0, "folds": 4}}}


class Plan(NamedTuple):
    circuit: dict[str, list[Any]]
    """Options by argument of the fusion."""
    training: dict[str, list[Any]]
    """Options by setting of the training, tried with circuits and with counterparts."""
    counterparts: tuple[str, ...] | None
    """Classical counterparts to try; None: all that the fusion offers but shams."""
    budget: dict[str, int]
    held_out: dict[str, Any]
    """Overlay that puts a part of the training split in the place of val; whole groups, where the data names groups."""
    metric: str
    """By which trials are judged, on what is held out."""
    lowest: bool
    compare: str
    """By which the best of both kinds are compared in the end."""


def read_plan(path: str | Path) -> Plan:
    """Raises InputError naming the file and the key at fault."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"--space {path} does not exist; give a YAML file, e.g. configs/search/small.yaml")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"--space {path} is not YAML: {error}") from error
    if not isinstance(content, dict) or set(content) - KEYS or not content.get("circuit"):
        got = content and list(content)
        raise InputError(f"--space {path}: expected the key circuit (and {', '.join(sorted(KEYS - {'circuit'}))}), got {got}")
    best = content.get("best", "lowest")
    if best not in ("lowest", "highest"):
        raise InputError(f"--space {path}: `best` is 'highest' or 'lowest', got {best!r}")
    names, held_out = content.get("counterparts"), content.get("held_out", HELD_OUT)
    if names is not None and (not isinstance(names, list) or not names):
        raise InputError(f"--space {path}: `counterparts` is a list of names, such as [concat, gated], got {names!r}")
    if not isinstance(held_out, dict) or not held_out:
        raise InputError(f"--space {path}: `held_out` is an overlay such as {HELD_OUT}, got {held_out!r}")
    return Plan(
        _options(content["circuit"], "circuit", path),
        _options(content.get("training") or {}, "training", path),
        None if names is None else tuple(map(str, names)),
        check_budget(content.get("budget") or {}),
        held_out,
        content.get("metric", "loss"),
        best == "lowest",
        content.get("compare", "accuracy"),
    )


def read_budget(given: Sequence[str]) -> dict[str, int]:
    """From `two_qubit_gates=40 depth=60`."""
    found: dict[str, Any] = {}
    for text in given:
        name, _, most = text.partition("=")
        found[name] = int(most) if most.isdigit() else most
    return check_budget(found)


def _options(given: Any, key: str, path: Path) -> dict[str, list[Any]]:
    if not isinstance(given, Mapping) or not all(isinstance(options, list) and options for options in given.values()):
        raise InputError(f"--space {path}: `{key}` maps names to lists of options, such as layers: [1, 2], got {given!r}")
    return {str(name): options for name, options in given.items()}
