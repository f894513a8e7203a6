"""The circuits of a study's arms, drawn from their configurations."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from matplotlib.figure import Figure

from qmm.study.report.parts import Bitmap, Picture, Section, counted, joined

_MOST = 120
"""Gates side by side; a longer circuit is no picture any more."""

log = logging.getLogger(__name__)


class Drawn(NamedTuple):
    name: str
    figure: Figure
    said: str
    """Qubits, gates, parameters."""
    text: str
    """By which equal circuits are known."""


def section(configs: Mapping[str, str], cells: Mapping[str, Path]) -> Section | None:
    """Of each arm that has any, equal ones once. `cells`: arm -> the folder of its first cell, whose own picture serves where a
    configuration cannot be built here."""
    drawn, pictures, bitmaps = dict[str, tuple[list[str], Drawn]](), [], []
    for arm, config in configs.items():
        own = draw(config)
        for circuit in own or []:
            drawn.setdefault(circuit.text, ([], circuit))[0].append(arm)
        if own is None:
            bitmaps += _found(arm, cells.get(arm))
    for place, (arms, circuit) in enumerate(drawn.values(), 1):
        title = f"Circuit of {joined(arms)}" + (f", {circuit.name}" if circuit.name != "fusion" else "")
        pictures.append(Picture(f"circuit-{place}", title, f"{title}: {circuit.said}.", circuit.figure, True))
    if not pictures and not bitmaps:
        return None
    text = (
        "Wires on a ground of one colour are one modality's register; gates across registers stand out. Arms with the same "
        "circuit share a drawing."
    )
    return Section("circuits", "Circuits", [text], pictures=pictures, bitmaps=bitmaps)


def draw(config: str) -> list[Drawn] | None:
    """The circuits of a configuration of `qmm fit`; none where it is classical, None where it cannot be built without its data,
    or at all: a report does without a drawing then."""
    model = _model(config)
    if not model.get("fusion") or model.get("counterpart"):
        return None  # a counterpart is as large as the classes in the data make it
    from qmm.circuits import count, draw, draw_text  # with the models, which take seconds
    from qmm.costs.configuration import configured_fusion

    said = io.StringIO()
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            path = Path(folder) / "config.yaml"
            path.write_text(config)
            circuits = configured_fusion(["--config", str(path)]).fusion.circuits()
            found = []
            for name, circuit in circuits.items():
                counts = count(circuit)
                if counts.depth > _MOST:
                    continue
                words = (
                    f"{counted(counts.qubits, 'qubit')} in registers "
                    f"{joined([f'{r.name} ({r.size})' for r in circuit.quantum_circuit.qregs])}, "
                    f"depth {counts.depth}, {counted(counts.gates, 'gate')}, {counted(counts.parameters, 'weight')}"
                )
                found.append(Drawn(name, draw(circuit.quantum_circuit), words, draw_text(circuit.quantum_circuit)))
            return found
    except (Exception, SystemExit) as error:  # a class that is gone, data that is elsewhere: any, for it is only a picture
        log.debug("no drawing: %s", error)
        return None


def _model(config: str) -> dict[str, Any]:
    """What a configuration says of its MultimodalModel; nothing where it has none."""
    try:
        found: Any = yaml.safe_load(config)
        for key in ("model", "init_args", "model"):
            found = found[key]
    except (yaml.YAMLError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _found(arm: str, cell: Path | None) -> list[Bitmap]:
    paths = sorted(cell.glob("circuit*.png")) if cell is not None else []
    return [Bitmap(f"{p.stem}-{arm}", arm, f"Circuit of {arm}, as its run drew it.", p.read_bytes()) for p in paths]
