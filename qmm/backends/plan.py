"""Which backends to compare: from the command line, or from a file of cases."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from qmm.backends.configuration import read_setup
from qmm.errors import InputError


class Case(NamedTuple):
    """One backend, by name."""

    name: str
    setup: dict[str, Any]
    """`backend` and `gradient` as plain data; empty: the exact backend."""
    samples: int | None = None
    """Fewer samples than the others, where it is dear."""

    def seeded(self, seed: int) -> dict[str, Any]:
        """With this seed, where its backend has one."""
        backend = self.setup.get("backend")
        if not backend:
            return self.setup
        arguments = dict(backend.get("init_args") or {})
        if "shots" in arguments or "seed" in arguments or backend["class_path"].endswith("PrimitiveBackend"):
            arguments["seed"] = seed
        return {**self.setup, "backend": {**backend, "init_args": arguments}}


def named_cases(given: Sequence[str]) -> list[Case]:
    """From "NAME=FILE,FILE" or "FILE,FILE", whose name is that of the files."""
    cases = []
    for text in given:
        name, _, files = text.rpartition("=")
        listed = [file for file in files.split(",") if file]
        if not listed:
            raise InputError(f"--on {text}: give files, --on shots=configs/backend/shots.yaml for instance")
        cases.append(Case(name or ", ".join(Path(file).stem for file in listed), read_setup(listed)))
    return cases


def read_cases(path: str) -> list[Case]:
    """From a file: `cases`, each with a list of overlays, or with `overlays`, `samples` and `arguments` of the backend.

    Raises InputError for a file of another form.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {error}") from error
    listed = content.get("cases") if isinstance(content, Mapping) else None
    if not isinstance(listed, Mapping) or not listed:
        raise InputError(f"{path}: no cases; write `cases: {{shots: [configs/backend/shots.yaml]}}`")
    return [_case(path, str(name), given) for name, given in listed.items()]


def _case(path: str, name: str, given: Any) -> Case:
    entry: Any = {"overlays": given} if isinstance(given, list) else given
    unknown = sorted(set(entry) - {"overlays", "samples", "arguments"}) if isinstance(entry, Mapping) else ["?"]
    if unknown or not isinstance(entry.get("overlays"), list):
        wanted = "a list of overlays, or `overlays` with `samples` and the backend's own `arguments`"
        raise InputError(f"{path}, case {name!r}: give {wanted}; got {given!r}")
    samples, arguments = entry.get("samples"), entry.get("arguments") or {}
    if samples is not None and (not isinstance(samples, int) or samples < 1):
        raise InputError(f"{path}, case {name!r}: samples={samples!r}; give a whole number above 0")
    setup = read_setup(entry["overlays"]) if entry["overlays"] else {}
    if arguments and not setup.get("backend"):
        raise InputError(f"{path}, case {name!r}: arguments for no backend; name its overlay first")
    if arguments:
        own = {**(setup["backend"].get("init_args") or {}), **arguments}
        setup = {**setup, "backend": {**setup["backend"], "init_args": own}}
    return Case(name, setup, samples)
