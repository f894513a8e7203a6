"""What to measure: circuits x qubits x depths x observables x initialisers, from a file or from flags."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import qmm.initialisers
from qmm.errors import InputError
from qmm.initialisers import Initialiser
from qmm.suggestions import did_you_mean, exported_classes, suggestions
from qmm.trainability.families import AnsatzLayers, Family, RandomAxes
from qmm.trainability.observables import OWN, check_observable

FAMILIES: dict[str, type[Family]] = {"random": RandomAxes, "hardware-efficient": AnsatzLayers}
"""By short name: families that need no configuration."""
_DEPTH = re.compile(r"(\d+)(n?)")
_KEYS = {"circuits", "qubits", "depths", "observables", "initialisers", "count", "seed"}
_CIRCUIT_KEYS = {"class_path", "init_args", "depths", "initialisers"}


class Depth(NamedTuple):
    """So many layers, or so many for each qubit."""

    number: int
    per_qubit: bool = False

    def layers(self, qubits: int) -> int:
        return self.number * qubits if self.per_qubit else self.number

    def __str__(self) -> str:
        return f"{self.number}n" if self.per_qubit else str(self.number)


class Case(NamedTuple):
    """A family of circuits, how deep it is measured, and how it is started."""

    family: Family
    depths: tuple[Depth, ...]
    initialisers: tuple[str, ...]


class Plan(NamedTuple):
    name: str
    cases: dict[str, Case]
    qubits: tuple[int, ...]
    observables: tuple[str, ...]
    initialisers: dict[str, Initialiser | None]
    """By name; None: the circuit's own start."""
    per_point: int = 200
    """Circuits for each point."""
    seed: int = 0
    counts: Mapping[str, int] = {}
    """Of initialisers that are measured on the first few circuits alone."""

    def circuits(self, initialiser: str) -> int:
        """How many circuits this one is measured on."""
        return min(self.per_point, self.counts.get(initialiser, self.per_point))

    def check(self) -> "Plan":
        """Itself. Raises InputError for numbers below what can be measured, and for observables that there are not."""
        if not self.qubits or min(self.qubits) < 1:
            raise InputError(f"qubits {list(self.qubits)}: give numbers of at least 1, --qubits 2 4 6 for instance")
        fewest = min([self.per_point, *self.counts.values()])
        if fewest < 2:
            raise InputError(f"{fewest} circuits have no variance; give at least 2")
        if not (self.cases and self.observables and self.initialisers):
            raise InputError("nothing to measure: name circuits, observables and initialisers, at least one of each")
        for name in self.observables:
            check_observable(name)
        return self


def read_depth(text: object) -> Depth:
    """50, "50", or "10n": ten for each qubit. Raises InputError for anything else."""
    found = _DEPTH.fullmatch(str(text))
    if not found or int(found[1]) < 1:
        raise InputError(f"depth {text!r}; give a number of layers, 50, or of layers for each qubit, 10n")
    return Depth(int(found[1]), bool(found[2]))


def read_plan(path: str | Path) -> Plan:
    """A YAML file with `circuits`, `qubits`, `depths`, `observables`, `initialisers`, and, if one likes, `count` and `seed`.

    Circuits and initialisers are named; each is a `class_path` with `init_args`, or a short name; an initialiser `own` is the
    circuit's own start. Circuits may have `depths` of their own, and a list of those `initialisers` that they are for; an
    initialiser that takes long, a smaller `count`.
    Raises InputError that names the file and the key at fault.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {error}") from error
    required = _KEYS - {"count", "seed"}
    if not isinstance(content, dict) or set(content) - _KEYS or not required <= set(content):
        given = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: it must have {', '.join(sorted(required))}, and may have count, seed; it has {given}")
    for key, kind in (("circuits", dict), ("initialisers", dict), ("qubits", list), ("depths", list), ("observables", list)):
        if not isinstance(content[key], kind) or not content[key]:
            raise InputError(f"{path}: {key} must be a {'mapping of names' if kind is dict else 'list'}, not empty")
    depths = [read_depth(depth) for depth in content["depths"]]
    starts = {str(name): make_initialiser(str(name), given) for name, given in content["initialisers"].items()}
    counts = {str(n): int(g["count"]) for n, g in content["initialisers"].items() if isinstance(g, dict) and g.get("count")}
    cases = {str(name): _case(path, str(name), given, depths, list(starts)) for name, given in content["circuits"].items()}
    numbers = {field: int(content[key]) for key, field in (("count", "per_point"), ("seed", "seed")) if key in content}
    qubits, observables = tuple(map(int, content["qubits"])), tuple(map(str, content["observables"]))
    return Plan(path.stem, cases, qubits, observables, starts, counts=counts, **numbers).check()


def _case(path: Path, name: str, given: Any, depths: Sequence[Depth], starts: Sequence[str]) -> Case:
    entry = {"class_path": given} if isinstance(given, str) else given
    if not isinstance(entry, dict) or set(entry) - _CIRCUIT_KEYS or "class_path" not in entry:
        raise InputError(f"{path}, circuits {name!r}: give a class_path, and what you like of {', '.join(_CIRCUIT_KEYS)}")
    chosen = entry.get("initialisers") or starts
    unknown = [start for start in chosen if start not in starts]
    if unknown:
        raise InputError(f"{path}, circuits {name!r}: no initialiser {unknown[0]!r}{did_you_mean(unknown[0], starts)}")
    own = [read_depth(depth) for depth in entry["depths"]] if entry.get("depths") else depths
    return Case(make_family(entry["class_path"], entry.get("init_args")), tuple(own), tuple(chosen))


def make_family(name: str, arguments: Mapping[str, Any] | None = None) -> Family:
    """From a short name or a class path. Raises InputError for neither."""
    if name in FAMILIES:
        name = f"{FAMILIES[name].__module__}.{FAMILIES[name].__name__}"
    elif "." not in name:
        raise InputError(f"circuits {name!r}{did_you_mean(name, FAMILIES)}; give {', '.join(FAMILIES)}, or a class path")
    return _instantiate(Family, name, arguments)


def make_initialiser(name: str, given: Any = None) -> Initialiser | None:
    """From `class_path` and `init_args`, or a text: a class path or a short name, with arguments if one likes,
    "small-angle:spread=0.05"; None for "own". Without `given`, the name is that text.

    Raises InputError for what is no initialiser.
    """
    if isinstance(given, Mapping):
        return _instantiate(Initialiser, str(given.get("class_path")), given.get("init_args"))
    path, _, listed = str(name if given is None else given).partition(":")
    if path == OWN:
        return None
    arguments = {}
    for pair in filter(None, listed.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"initialiser {name!r}: arguments are written NAME:KEY=VALUE,KEY=VALUE")
        arguments[key.strip()] = yaml.safe_load(value)
    short = initialisers()
    if "." not in path and path not in short:
        raise InputError(f"initialiser {path!r}{did_you_mean(path, short)}; give one of {', '.join(short)}, or a class path")
    return _instantiate(Initialiser, short.get(path, path), arguments)


def initialisers() -> dict[str, str]:
    """Short name -> class path of those in qmm.initialisers: "small-angle" for SmallAngle."""
    found = {}
    for name, path in exported_classes("qmm.initialisers").items():
        kind = getattr(qmm.initialisers, name)
        if issubclass(kind, Initialiser) and kind is not Initialiser:
            found[re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()] = path
    return found


def _instantiate(kind: type, class_path: str, arguments: Mapping[str, Any] | None) -> Any:
    from qmm.training.cli import instantiate  # Lightning, which takes seconds

    try:
        return instantiate(kind, {"class_path": class_path, "init_args": dict(arguments or {})})
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("\n".join([f"{class_path}: {error}", *suggestions(str(error))])) from error
