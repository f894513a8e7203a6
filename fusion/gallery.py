"""The gallery: every member of the family drawn, counted and cited. It lists what is exported, so nothing is left out.

python -m qmm.fusion.gallery --out gallery     # one page, gallery/index.html
"""

import argparse
import base64
import html
import inspect
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from tqdm.auto import tqdm

import qmm.circuits
import qmm.fusion
from qmm.circuits import Ansatz, FeatureMap, Readout, count, draw, settings, shots, z_of_each
from qmm.contracts import Fusion
from qmm.quantum import Circuit
from qmm.registers import RegisterLayout

from .entanglers import Entangler
from .quantum import QuantumFusion

WIDTHS = {"vision": 4, "audio": 3, "text": 2}
"""What the fusions of the gallery join: features by modality."""
_QUBITS, _FEATURES = 4, 4  # of a register that shows a feature map or an ansatz
_PRECISION = 0.01
KINDS: dict[str, tuple[Any, type]] = {
    "Feature maps": (qmm.circuits, FeatureMap),
    "Ansätze: inside a register": (qmm.circuits, Ansatz),
    "Entanglers: across registers": (qmm.fusion, Entangler),
    "Read-outs": (qmm.circuits, Readout),
    "Fusions": (qmm.fusion, Fusion),
}


class Entry(NamedTuple):
    """A member as the gallery shows it."""

    kind: str
    member: type
    facts: dict[str, str]
    """What is known of it, by name."""
    circuits: dict[str, QuantumCircuit]
    """To be drawn, by name."""

    @property
    def about(self) -> str:
        """The first paragraph of its docstring, and of that of the function that it begins with."""
        own = _first_paragraph(self.member)
        named = re.match(r"`(\w+)`", own)
        function = getattr(KINDS[self.kind][0], named[1], None) if named else None
        return f"{own} {_first_paragraph(function)}" if function else own


def _first_paragraph(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").split("\n\n")[0].replace("\n", " ")


def members(kind: str) -> list[type]:
    """The classes of a kind that are exported and not abstract, in the order of the alphabet."""
    module, base = KINDS[kind]
    found = (getattr(module, name) for name in sorted(module.__all__))
    return [c for c in found if inspect.isclass(c) and issubclass(c, base) and not inspect.isabstract(c)]


def entries() -> Iterator[Entry]:
    """Every member, kind by kind. Each is made without arguments."""
    show = dict(zip(KINDS, (_feature_map, _ansatz, _entangler, _readout, _fusion), strict=True))
    for kind in KINDS:
        for member in members(kind):
            facts, circuits = show[kind](member())
            reference = getattr(member, "reference", "")
            source = {"source": reference} if reference else {}
            yield Entry(kind, member, {**facts, **source}, circuits)


def _feature_map(feature_map: Any) -> tuple[dict[str, str], dict[str, QuantumCircuit]]:
    feature_map.build(_FEATURES, feature_map.least_qubits(_FEATURES))
    told = feature_map.describe()
    facts = {
        "features a qubit": told.features_per_qubit,
        "depth": str(told.depth),
        "two-qubit gates": str(told.two_qubit_gates),
        "functions": told.spectrum,
    }
    return facts, {"": feature_map.circuit([Parameter(f"x{i}") for i in range(feature_map.n_angles)])}


def _ansatz(ansatz: Any) -> tuple[dict[str, str], dict[str, QuantumCircuit]]:
    circuit = ansatz.circuit(_QUBITS)
    read = ansatz.read(_QUBITS)
    left = {"qubits read": f"{len(read)} of {_QUBITS}"} if len(read) < _QUBITS else {}
    return {**_counted(circuit), **left}, {"": circuit}


def _entangler(entangler: Any) -> tuple[dict[str, str], dict[str, QuantumCircuit]]:
    layout = RegisterLayout({m: math.ceil(k / 2) for m, k in WIDTHS.items()})
    circuit = QuantumCircuit(*(QuantumRegister(size, name) for name, size in layout.sizes.items()))
    circuit.compose(entangler.circuit(layout), inplace=True)
    return _counted(circuit), {"": circuit}


def _readout(readout: Any) -> tuple[dict[str, str], dict[str, QuantumCircuit]]:
    fusion = QuantumFusion(1, readout=readout)
    fusion.build(WIDTHS)
    circuit = fusion.circuit()
    labels = [o.paulis[0].to_label() if len(o) == 1 else f"a sum of {len(o)}" for o in circuit.observables]
    return {
        "registers": ", ".join(f"{m}: {size}" for m, size in fusion.layout.sizes.items()),
        "observables": f"{circuit.n_outputs}: {', '.join(labels[:6])}{', ...' if len(labels) > 6 else ''}",
        **_measured(circuit),
        "features": str(fusion.out_features),
    }, {}


def _fusion(fusion: Any) -> tuple[dict[str, str], dict[str, QuantumCircuit]]:
    fusion.build(WIDTHS)
    circuits = fusion.circuits()
    facts = {
        "parameters": f"{sum(p.numel() for p in fusion.parameters())}",
        "features": f"{', '.join(f'{m}: {k}' for m, k in WIDTHS.items())} -> {fusion.out_features}",
    }
    for name, circuit in circuits.items():
        counts = {**_counted(circuit.quantum_circuit), **_measured(circuit)}
        facts[name] = ", ".join(f"{key} {value}" for key, value in counts.items())
    return facts, {name: circuit.quantum_circuit for name, circuit in circuits.items()}


def _counted(circuit: QuantumCircuit) -> dict[str, str]:
    found = count(Circuit.of(circuit, observables=z_of_each(circuit.num_qubits)))
    return {
        "qubits": str(found.qubits),
        "depth": str(found.depth),
        "gates": str(found.gates),
        "two-qubit gates": str(found.two_qubit_gates),
        "parameters": str(found.parameters),
    }


def _measured(circuit: Circuit) -> dict[str, str]:
    return {
        "measurement settings": str(len(settings(circuit))),
        f"shots for a standard error of {_PRECISION}": f"{shots(circuit, _PRECISION):,}",
    }


def picture(circuit: QuantumCircuit) -> bytes:
    """SVG"""
    buffer = io.BytesIO()
    draw(circuit).savefig(buffer, format="svg", bbox_inches="tight")
    return buffer.getvalue()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>qmm: the fusion family</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
article {{ border-top: 1px solid var(--line); padding: 1rem 0; }}
h3 {{ margin: 0; }} h3 code {{ font-size: 1rem; }} h4 {{ margin: .5rem 0 0; font-weight: normal; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: .5rem 0; }}
dt {{ opacity: .7; }} dd {{ margin: 0; }}
figure {{ margin: .5rem 0; overflow-x: auto; background: #fff; }} figure img {{ max-width: 100%; }}
@media (max-width: 40rem) {{ dl {{ display: block; }} dd {{ margin: 0 0 .3rem; }} }}
</style></head><body>
<h1>The fusion family</h1>
<p>Every member, made without arguments, drawn and counted by <code>{command}</code>. Feature maps are shown for {features}
features, ansätze on {qubits} qubits; entanglers, read-outs and fusions join features of
{widths}, two a qubit. Shots are those
that bring every output's standard error to {precision} in the worst case.</p>
<nav><ul>{contents}</ul></nav>
{body}
</body></html>
"""


def write_gallery(folder: str | Path) -> Path:
    """Writes `folder/index.html`, complete in itself; returns its path."""
    sections: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for entry in tqdm(list(entries()), desc="gallery", unit="member"):
        sections[entry.kind].append(_article(entry))
    page = _PAGE.format(
        command="python -m qmm.fusion.gallery",
        features=_FEATURES,
        qubits=_QUBITS,
        widths=", ".join(f"{m}: {k}" for m, k in WIDTHS.items()),
        precision=_PRECISION,
        contents="".join(f'<li><a href="#{i}">{kind}</a> ({len(sections[kind])})</li>' for i, kind in enumerate(KINDS)),
        body="".join(f'<h2 id="{i}">{kind}</h2>{"".join(sections[kind])}' for i, kind in enumerate(KINDS)),
    )
    path = Path(folder) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _article(entry: Entry) -> str:
    name, package = entry.member.__name__, KINDS[entry.kind][0].__name__
    facts = "".join(f"<dt>{html.escape(key)}</dt><dd>{_linked(value)}</dd>" for key, value in entry.facts.items())
    figures = "".join(_figure(name, label, circuit) for label, circuit in entry.circuits.items())
    about = re.sub(r"`(.*?)`", r"<code>\1</code>", html.escape(entry.about))
    return f"<article><h3>{name} <code>{package}.{name}</code></h3><p>{about}</p><dl>{facts}</dl>{figures}</article>"


def _figure(name: str, label: str, circuit: QuantumCircuit) -> str:
    described = html.escape(f"circuit of {name} {label}".strip())
    data = base64.b64encode(picture(circuit)).decode()
    title = f"<h4>{html.escape(label)}</h4>" if label else ""
    return f'{title}<figure><img alt="{described}" src="data:image/svg+xml;base64,{data}"></figure>'


def _linked(value: str) -> str:
    """Text, with a link where it is an arXiv number, a DOI or an address."""
    text = html.escape(value)
    for start, address in (("arXiv:", "https://arxiv.org/abs/"), ("doi:", "https://doi.org/"), ("https://", "https://")):
        if value.startswith(start):
            return f'<a href="{address}{text.removeprefix(start)}">{text}</a>'
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="gallery", help="folder of the page (default: gallery)")
    print(write_gallery(parser.parse_args().out))
