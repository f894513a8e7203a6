"""The configurations of the arms: what they are, and where they differ."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import yaml

from qmm.study.plan import Study
from qmm.study.report.parts import Detail, Table, counted
from qmm.study.report.reading import largest, present

_NOT_OF_THE_ARM = {"seed_everything", "name", "runs", "ckpt_path"}
"""What the study sets for each cell."""
_ABSENT = "–"


def texts(study: Study, table: pd.DataFrame) -> dict[str, str]:
    """Arm -> the whole configuration of its first cell, YAML."""
    if "config" not in table:
        return {}
    table = largest(table)
    rows = {arm: table.loc[table["arm"] == arm, "config"].dropna() for arm in present(study, table)}
    return {arm: str(own.iloc[0]) for arm, own in rows.items() if len(own)}


def flat(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """`model.learning_rate` -> `0.01`, for every leaf; without the `init_args` between, as flags of `qmm fit` may be."""
    if isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        value = dict(enumerate(value))
    if isinstance(value, Mapping) and value:
        if isinstance(value.get("init_args"), Mapping):
            value = {**{key: own for key, own in value.items() if key != "init_args"}, **value["init_args"]}
        for key, inner in value.items():
            yield from flat(inner, f"{above}.{key}" if above else str(key))
    else:
        written = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True)
        yield above, written.removesuffix("\n...\n").strip()


def read(text: str) -> dict[str, str]:
    """Empty for what is not YAML."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return dict(flat(content)) if isinstance(content, Mapping) else {}


def differences(configs: Mapping[str, str]) -> Table | None:
    """A row for each setting that is not the same for all arms; None where there is none."""
    settings = {arm: read(text) for arm, text in configs.items()}
    keys = dict.fromkeys(key for own in settings.values() for key in own if key not in _NOT_OF_THE_ARM)
    rows = []
    for key in keys:
        values = tuple(own.get(key, _ABSENT) for own in settings.values())
        if len(set(values)) > 1:
            rows.append((key, *values))
    if not rows:
        return None
    note = f"{counted(len(rows), 'setting')} of {len(keys):,}; the others are the same for every arm."
    return Table("configuration", "Where the arms' configurations differ", ("setting", *settings), rows, note=note)


def details(configs: Mapping[str, str]) -> list[Detail]:
    return [Detail(f"The whole configuration of {arm}", text) for arm, text in configs.items()]


def versions(table: pd.DataFrame) -> dict[str, list[str]]:
    """Package -> its versions over all cells; one, where all was run with the same."""
    found: dict[str, dict[str, None]] = {}
    for own in table.get("versions", ()):
        for name, version in (dict(own) if isinstance(own, Mapping) else {}).items():
            if version is not None:
                found.setdefault(str(name), {})[str(version)] = None
    return {name: list(own) for name, own in found.items()}
