"""What `qmm circuit` prints and writes."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from qmm.circuits import draw, draw_latex, draw_text
from qmm.circuits.exporting import to_qasm3
from qmm.costs.accounting import Step, circuit_costs, parameters, time_step
from qmm.costs.cli import chosen
from qmm.costs.configuration import Configured, configured_fusion, random_features
from qmm.quantum import Circuit

_DOTS = 110  # per inch of a PNG
_LONGEST = 60_000  # pixels; Matplotlib refuses 65,536
_WRITTEN = {
    "qubits": "qubits",
    "depth": "depth",
    "gates": "gates",
    "two_qubit_gates": "two-qubit gates",
    "gates_across_registers": "gates across registers",
    "inputs": "inputs",
    "parameters": "parameters",
    "observables": "observables",
    "measurement_settings": "measurement settings",
}


def report(options: argparse.Namespace, args: Sequence[str]) -> dict[str, Any]:
    """Prints the table, writes the drawings; returns every number by name."""
    configured = configured_fusion(args)
    present = chosen(options.present, configured.entries)
    circuits = configured.fusion.circuits(None if options.present is None else present)
    batch = options.batch or configured.batch_size
    kind = type(configured.fusion).__name__
    found: dict[str, Any] = {
        "name": configured.name,
        "fusion": kind,
        "present": list(present),
        "parameters": parameters(configured.fusion, circuits),
        "circuits": {name: circuit_costs(circuit, options.precision, batch) for name, circuit in circuits.items()},
        "step": step_of(configured, present, batch)._asdict(),
    }
    joined = ", ".join(f"{m} ({configured.entries[m].features})" for m in present)
    print(f"{configured.name}: {kind} of {joined} features")
    if not circuits:
        print("A classical fusion: it has no circuit.")
    for name, circuit in circuits.items():
        print("\n".join(_table(name, circuit, found["circuits"][name])))
        if options.text:
            print(draw_text(circuit.quantum_circuit))
    print("\n".join(_summary(found)))
    if circuits:
        folder = Path(options.out or Path("circuits") / configured.name)
        written = write_drawings(circuits, folder)
        print(f"Written to {folder}: {', '.join(path.name for path in written)}")
    return found


def step_of(configured: Configured, present: Sequence[str], batch: int) -> Step:
    """A training step of the fusion on random features."""
    flags = {m: torch.full((batch,), m in present) for m in configured.entries}
    return time_step(configured.fusion, random_features(configured.entries, batch), flags)


def write_drawings(circuits: Mapping[str, Circuit], folder: Path) -> list[Path]:
    """Each circuit as PNG, SVG, LaTeX and OpenQASM 3; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, circuit in circuits.items():
        base = "circuit" if len(circuits) == 1 else f"circuit_{name}"
        figure = draw(circuit.quantum_circuit)
        dots = min(_DOTS, _LONGEST / max(figure.get_size_inches()))
        figure.savefig(folder / f"{base}.png", dpi=dots)
        figure.savefig(folder / f"{base}.svg")
        (folder / f"{base}.tex").write_text(draw_latex(circuit.quantum_circuit))
        (folder / f"{base}.qasm").write_text(to_qasm3(circuit).text)
        paths += [folder / f"{base}.{suffix}" for suffix in ("png", "svg", "tex", "qasm")]
    return paths


def _table(name: str, circuit: Circuit, costs: Mapping[str, Any]) -> list[str]:
    sizes = ", ".join(f"{register.name} {register.size}" for register in circuit.quantum_circuit.qregs)
    rows = {label: f"{costs[key]:,}" for key, label in _WRITTEN.items()}
    rows["qubits"] += f"   ({sizes})"
    if costs["dead"]:
        rows["parameters"] += f"   ({len(costs['dead'])} reach no observable: {', '.join(costs['dead'])})"
    rows[f"shots for ±{costs['precision']:g}"] = f"{costs['shots']:,}   (standard error of each observable, at worst)"
    rows["states in memory"] = _bytes(costs["state_bytes"])
    return ["", name, *_aligned(rows)]


def _summary(found: Mapping[str, Any]) -> list[str]:
    step, counted = found["step"], found["parameters"]
    rows = {
        "parameters": f"{counted['trained']:,} trained of {counted['total']:,}; {counted['in_circuits']:,} angles of circuits",
        "time per step": f"{step['milliseconds']:.3g} ms   (the fusion forward and backward, batch {step['batch']}, "
        f"{torch.get_num_threads()} thread(s), median of {step['times']})",
    }
    return ["", "whole fusion", *_aligned(rows), ""]


def _aligned(rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows)) + 2
    return [f"  {label:{width}}{text}" for label, text in rows.items()]


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:,.3g} TiB"
