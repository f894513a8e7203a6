"""Backends from overlays: the files that `qmm fit` takes after its configuration."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from qmm.errors import InputError
from qmm.quantum import Backend, Gradient
from qmm.training.cli import instantiate

_PARTS: dict[str, Any] = {"backend": Backend, "gradient": Gradient}


class Setup(NamedTuple):
    """Where circuits run, and how they are differentiated; None: exactly, and the backend's own way."""

    backend: Backend | None
    gradient: Gradient | None


def read_setup(files: Sequence[str | Path]) -> dict[str, Any]:
    """`backend` and `gradient` of overlays, the later ones laid over the earlier, as plain data.

    Raises InputError for a file that is not there, that is no YAML, or that says nothing of either.
    """
    merged: dict[str, Any] = {}
    for file in files:
        try:
            merged = _laid_over(merged, yaml.safe_load(Path(file).read_text()) or {})
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"{file}: {error}") from error
    found: Any = merged
    for key in ("model", "init_args", "model"):
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not {"backend", "gradient"} & set(found):
        names = ", ".join(map(str, files))
        raise InputError(f"{names}: no backend; write one under model.init_args.model.backend, as configs/backend/ does")
    return {key: found[key] for key in ("backend", "gradient") if key in found}


def build_setup(plain: dict[str, Any]) -> Setup:
    """The parts that `read_setup` described. Raises InputError for what they do not take."""
    try:
        # parsing writes into lists
        backend, gradient = (instantiate(kind | None, copy.deepcopy(plain.get(name))) for name, kind in _PARTS.items())
    except ValueError as error:
        raise InputError(str(error)) from error
    return Setup(backend, gradient)


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Dictionaries merge; anything else is replaced. Another class takes none of the former one's arguments."""
    if "class_path" in above and above["class_path"] != below.get("class_path"):
        return above
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
