"""Arms that a fair comparison needs: the classical counterpart and the shams of the quantum one; and how well sizes match."""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from qmm.errors import InputError
from qmm.files import write_json
from qmm.study.plan import Config, Study

MATCHED = 0.05
"""Arms whose parameters differ by more are not of the same capacity."""
SHAMS = ("sham-local", "sham-frozen")
"""No gate across registers; nothing trained in the circuit."""


class Facts(NamedTuple):
    """What an arm's configuration says of its fusion."""

    parameters: int
    """Of fusion and decoder, frozen ones too."""
    quantum: bool
    counterpart: str | None
    """Of which fusion in its place."""
    model: str
    """The arm without its `counterpart`, as text: arms with the same one are each other's counterparts."""
    offered: tuple[str, ...]
    """What `counterpart` may be."""


class Matched(NamedTuple):
    study: Study
    """With the arms that were added."""
    added: tuple[str, ...]
    lines: tuple[str, ...]
    """What is said before anything runs."""


def match(study: Study, folder: Path, flags: Iterable[str] = ()) -> Matched:
    """Adds to a study the classical counterpart (the first that is listed within 5 % of the parameters, else the nearest below
    and above) and the two shams of its first quantum arm, unless arms are these already or `study.counterparts` is false; and
    says of every pair that is compared by how much it differs in parameters.

    What configurations say is kept in `folder/matching.json`, since reading them takes a second for each.
    """
    facts = _all_facts(study, folder, tuple(flags))
    first = next((arm for arm in study.arms if (f := facts[arm]) is not None and f.quantum and f.counterpart is None), None)
    if first is None:
        return Matched(study, (), ())
    wanted = {} if not study.counterparts else _wanted(study, first, facts)
    arms = dict(study.arms)
    for name, counterpart in wanted.items():
        arms[name] = (*study.arms[first], {"model": {"init_args": {"model": {"counterpart": counterpart}}}})
    tuning, compare = study.tuning, study.compare
    if compare:
        compare += tuple((first, name) for name in wanted)
    if tuning is not None and first in tuning.own:
        tuning = tuning._replace(own=dict(tuning.own) | dict.fromkeys(wanted, tuning.own[first]))
    if tuning is not None and first in tuning.own_spaces:
        tuning = tuning._replace(own_spaces=dict(tuning.own_spaces) | dict.fromkeys(wanted, tuning.own_spaces[first]))
    full = study._replace(arms=arms, tuning=tuning, compare=compare)
    facts |= _all_facts(full, folder, tuple(flags)) if wanted else {}
    said = [f"added to compare {first} with: {', '.join(wanted)} (`counterparts: false` leaves them out)"] if wanted else []
    if not study.counterparts:
        said = ["`counterparts: false`: no classical counterpart and no sham is added; the arms are compared as they are"]
    return Matched(full, tuple(wanted), (*said, *_mismatches(full, facts)))


def _wanted(study: Study, first: str, facts: dict[str, Facts | None]) -> dict[str, str]:
    """Arm to add -> counterpart."""
    own = facts[first]
    assert own is not None
    there = {f.counterpart for f in facts.values() if f is not None and f.counterpart and f.model == own.model}
    classical = [name for name in own.offered if name not in SHAMS]
    close = [name for name in classical if not name.endswith(("-below", "-above"))][:1]
    kind = classical[0].removesuffix("-below").removesuffix("-above") if classical else ""
    chosen = [] if there - set(SHAMS) else close or [name for name in (f"{kind}-below", f"{kind}-above") if name in classical]
    chosen += [sham for sham in SHAMS if sham in own.offered and sham not in there]
    return {name if name not in study.arms else f"{name}-of-{first}": name for name in chosen}


def _mismatches(study: Study, facts: dict[str, Facts | None]) -> list[str]:
    """A line for each pair that is compared and differs in size."""
    lines = []
    for first, arm in study.pairs:
        own, other = facts[first], facts[arm]
        off = 0.0 if own is None or other is None else other.parameters / own.parameters - 1
        if own is not None and other is not None and abs(off) > MATCHED:
            lines.append(
                f"{arm} is not of the size of {first}: {other.parameters:,} parameters of fusion and decoder, "
                f"{abs(off):.0%} {'more' if off > 0 else 'fewer'} than {own.parameters:,}"
            )
    return lines


def _all_facts(study: Study, folder: Path, flags: tuple[str, ...]) -> dict[str, Facts | None]:
    """None of an arm that trains no fusion, or whose configuration cannot be read: its cells will say why."""
    path = folder / "matching.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    found = {}
    for arm, configs in study.arms.items():
        key = f"{study.fingerprint(arm)} {' '.join(flags)}"
        if key not in known:
            known[key] = _facts(configs, flags)
        found[arm] = None if known[key] is None else Facts(*known[key])._replace(offered=tuple(known[key][4]))
    write_json(path, known)
    return found


def _facts(configs: Sequence[Config], flags: tuple[str, ...]) -> Facts | None:
    from qmm.costs.configuration import build, capacity, counterparts  # torch and Lightning, which take seconds

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            plain = read_configuration(configs, flags, "qmm study")
        if "estimator" in plain["model"]["init_args"]:
            return None  # it is not the fusion that is trained
        model = plain["model"]["init_args"]["model"]
        model = model.get("init_args", model)
        named, model["counterpart"] = model.get("counterpart"), None
        same = json.dumps(model, sort_keys=True, default=str)
        offered = counterparts(plain)
        model["counterpart"] = named
        return Facts(capacity(plain), bool(build(plain).fusion.circuits()), named, same, tuple(offered))
    except (InputError, SystemExit, KeyError, TypeError, AttributeError):
        return None


def read_configuration(configs: Sequence[Config], flags: Iterable[str], prog: str) -> dict[str, Any]:
    """Files and overlays, in order, as `qmm fit` reads them: plain data. Exits, as argparse does, where there is no such
    argument."""
    from qmm.training.cli import ConfigurationCLI  # Lightning, which takes seconds

    with tempfile.TemporaryDirectory() as folder:
        args: list[str] = []
        for number, config in enumerate(configs):
            path = Path(folder) / f"{number}.yaml"
            if isinstance(config, dict):
                path.write_text(yaml.safe_dump(config))
            args += ["--config", str(path if isinstance(config, dict) else config)]
        return dict(ConfigurationCLI([*args, *flags], prog).config.as_dict())
