"""`python -m qmm.discrete.vqe_cli`: a VQE that a YAML file describes.

hamiltonian: {ZZ: -1.0, XI: -0.5, IX: -0.5}
vqe: {layers: 2, optimiser: Adam, learning_rate: 0.05, steps: 300, journal: runs/vqe/journal.jsonl}
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from qmm.discrete.vqe import VQE
from qmm.errors import InputError
from qmm.files import write_json
from qmm.quantum import CircuitError


def main(args: Sequence[str]) -> None:
    """Runs it, or what a killed run has left of it, and prints the energy beside the exact one."""
    from qmm.training.cli import instantiate

    parser = argparse.ArgumentParser(
        prog="python -m qmm.discrete.vqe_cli", description="The least energy of a Hamiltonian over the states of a circuit."
    )
    parser.add_argument("--config", required=True, help="YAML: `hamiltonian`, numbers by Pauli string; `vqe`, arguments of VQE")
    parser.add_argument("--json", metavar="FILE", help="write energies and weights there")
    options = parser.parse_args(args)
    hamiltonian, given = _read(Path(options.config))
    try:
        vqe = instantiate(VQE, {"class_path": "qmm.discrete.VQE", "init_args": given})
    except Exception as error:  # whatever jsonargparse makes of a wrong name or argument
        raise InputError(f"{options.config}, `vqe`: {error}") from error
    found = vqe.run(hamiltonian)
    beside = "" if found.exact is None else f", {found.gap:.3g} above the exact {found.exact:.8f}"
    print(f"energy {found.energy:.8f}{beside}; {len(found.energies)} steps, {found.evaluations} evaluations")
    if options.json:
        weights = {
            parameter.name: value for parameter, value in zip(found.circuit.weights, found.weights.tolist(), strict=True)
        }
        kept = {"energy": found.energy, "exact": found.exact, "gap": found.gap, "evaluations": found.evaluations}
        write_json(Path(options.json), {**kept, "weights": weights, "energies": found.energies.tolist()})


def _read(path: Path) -> tuple[dict[str, float], dict[str, object]]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {error}") from error
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("hamiltonian"), dict)
        or set(content) - {"hamiltonian", "vqe"}
    ):
        raise InputError(f"{path}: expected `hamiltonian: {{ZZ: -1.0, ...}}` and, if not all defaults serve, `vqe: {{...}}`")
    return content["hamiltonian"], content.get("vqe") or {}


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (InputError, CircuitError) as error:
        sys.exit(f"qmm.discrete.vqe_cli: {error}")
