"""What `qmm circuit` prints and writes."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from qmm.circuits import device, draw, draw_latex, draw_text, hardware_cost
from qmm.circuits.exporting import to_qasm3
from qmm.contracts import Fusion
from qmm.costs.accounting import Step, circuit_costs, parameters, time_step
from qmm.costs.configuration import Configured, configured_fusion, random_features
from qmm.costs.expressing import estimate
from qmm.errors import InputError
from qmm.quantum import Circuit, CircuitError
from qmm.suggestions import did_you_mean

_DOTS = 110  # per inch of a PNG
_LONGEST = 60_000  # pixels; Matplotlib refuses 65,536
_NAMED = 6  # of the weights that reach nothing; the file of --json has them all
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
_EXPRESSED = {
    "expressibility": ("expressibility", "divergence from Haar-random states, 0 is best"),
    "entangling": ("entangling capability", "Meyer-Wallach, from 0 to 1"),
    "effective_dimension": ("effective dimension", "of the parameters, for 10,000 samples"),
}


def report(options: argparse.Namespace, args: Sequence[str]) -> dict[str, Any]:
    """Prints the table, writes the drawings; returns every number by name."""
    configured = configured_fusion(args)
    present = _chosen(options.present, configured.entries)
    if options.device:
        device(options.device)  # whether it exists is better known now
    circuits = configured.fusion.circuits(None if options.present is None else present)
    batch = options.batch or configured.batch_size
    kind = type(configured.fusion).__name__
    found: dict[str, Any] = {
        "name": configured.name,
        "fusion": kind,
        "present": list(present),
        "parameters": parameters(configured.fusion, circuits),
        "circuits": {name: circuit_costs(circuit, options.precision, batch) for name, circuit in circuits.items()},
    }
    try:
        found["step"] = step_of(configured, present, batch)._asdict()
    except CircuitError as error:  # too many qubits to be simulated exactly
        found["step"], found["not_simulated"] = None, str(error)
    _add_on_request(found, circuits, options, _placed(configured.fusion, options.device, present))
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


def _placed(fusion: Fusion, device: str | None, present: Sequence[str]) -> list[int] | None:
    """Where the fusion's own coupling map puts the qubits, if it is that device's."""
    own = fusion.config_arguments().get("coupling_map")
    return fusion.initial_layout(present) if own is not None and own == device else None


def _add_on_request(
    found: dict[str, Any], circuits: Mapping[str, Circuit], options: argparse.Namespace, layout: list[int] | None
) -> None:
    """What a device takes, and what is expressed: they need seconds to minutes."""
    for name, circuit in circuits.items():
        if options.device:
            cost = hardware_cost(circuit, options.device, options.precision, initial_layout=layout)
            fidelities = {n: getattr(cost, n) for n in ("expected_fidelity", "expected_fidelity_with_decay")}
            found["circuits"][name]["device"] = {**cost._asdict(), **fidelities}
    metrics = ["expressibility", "entangling"] * options.expressibility
    metrics += ["effective_dimension"] * options.effective_dimension
    for name, estimates in estimate(circuits, metrics, range(options.seeds)).items():
        found["circuits"][name].update({metric: value._asdict() for metric, value in estimates.items()})


def _chosen(present: list[str] | None, modalities: Any) -> tuple[str, ...]:
    """The modalities in `present`, in the order of the model; all where there is none. Raises InputError for unknown ones."""
    for name in present or ():
        if name not in modalities:
            raise InputError(f"--present {name}: the model has {', '.join(modalities)}{did_you_mean(name, modalities)}")
    return tuple(m for m in modalities if present is None or m in present)


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
        named = ", ".join(costs["dead"][:_NAMED]) + (", ..." if len(costs["dead"]) > _NAMED else "")
        rows["parameters"] += f"   ({len(costs['dead'])} reach no observable: {named})"
    rows[f"shots for ±{costs['precision']:g}"] = f"{costs['shots']:,}   (standard error of each observable, at worst)"
    rows["states in memory"] = _bytes(costs["state_bytes"])
    for metric, (label, about) in _EXPRESSED.items():
        if metric in costs:
            spread = f"±{costs[metric]['std']:.2g} over {len(costs[metric]['values'])} seeds"
            rows[label] = f"{costs[metric]['mean']:.4g} {spread}   ({about})"
    return ["", name, *_aligned(rows), *(_on_device(costs["device"]) if "device" in costs else [])]


def _on_device(cost: Mapping[str, Any]) -> list[str]:
    gates, read_out, decayed = (
        f"{cost[name]:.3f}" for name in ("gate_fidelity", "readout_fidelity", "expected_fidelity_with_decay")
    )
    rows = {
        "quantum instructions": f"{cost['quantum_instructions']:,}   ({cost['two_qubit_gates']:,} of two qubits)",
        "depth": f"{cost['depth']:,}",
        "quantum calculation time": f"{_seconds(cost['calculation_time'])}   ({cost['shots']:,} shots of "
        f"{_seconds(cost['shot_duration'])} a sample; {_seconds(cost['delayed_time'])} with the delay between shots)",
        "expected fidelity": f"{cost['expected_fidelity']:.3f}   ({gates} of gates, {read_out} of read-out; {decayed} with the "
        "decay of idle qubits)",
    }
    return [f"  transpiled for {cost['device']}", *(f"  {row}" for row in _aligned(rows))]


def _summary(found: Mapping[str, Any]) -> list[str]:
    step, counted = found["step"], found["parameters"]
    rows = {
        "parameters": f"{counted['trained']:,} trained of {counted['total']:,}; {counted['in_circuits']:,} angles of circuits",
        "time per step": f"not simulated: {found['not_simulated']}"
        if step is None
        else f"{step['milliseconds']:.3g} ms   (the fusion forward and backward, batch {step['batch']}, "
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


def _seconds(number: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if number >= size:
            return f"{number / size:,.3g} {unit}"
    return f"{number / 1e-9:.3g} ns"
