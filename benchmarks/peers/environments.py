"""Makes each peer's environment, for peers clash: python benchmarks/peers/environments.py [names] [--again]

They lie in .benchmarks/<name> of the checkout, or in $QMM_BENCHMARKS/<name>. One that does not install is reported with the
reason, which `engine.py` repeats in its table.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

TORCH = "torch==2.14.1"
BUILDING = ("--build-constraints", str(Path(__file__).with_name("build-constraints.txt")))


class Environment(NamedTuple):
    requirements: tuple[str, ...]
    python: str = "3.11"


ENVIRONMENTS = {
    "qulacs": Environment(("qulacs==0.6.14", "numpy")),
    "mindquantum": Environment(("mindquantum==0.12.0", "numpy")),
    "pennylane": Environment(("pennylane==0.45.*", "pennylane-lightning==0.45.*", TORCH)),
    "deepquantum": Environment(("deepquantum==4.5.*", TORCH)),
    "tensorcircuit": Environment(("tensorcircuit-ng==1.10.*", "jax==0.10.*", TORCH)),
    # 0.1.8 imports only beside an old Qiskit; setuptools 81 lacks the pkg_resources that one of these wants
    "torchquantum": Environment(
        ("torchquantum==0.1.8", "qiskit<1", "qiskit-ibm-runtime<0.21", "qiskit-aer<0.14", "setuptools<81", "numpy<2", TORCH)
    ),
    "qiskit_ml": Environment(("qiskit-machine-learning==0.9.1", "qiskit-algorithms==0.4.*", "qiskit==2.6.2", TORCH)),
}


def folder() -> Path:
    own = os.environ.get("QMM_BENCHMARKS")
    return Path(own) if own else Path(__file__).parents[2] / ".benchmarks"


def interpreter(name: str) -> Path:
    return folder() / name / "bin" / "python"


def why_missing(name: str) -> str:
    """Why an environment's interpreter is not there."""
    reason = _reason_file(name)
    return reason.read_text() if reason.exists() else f"not installed: python benchmarks/peers/environments.py {name}"


def make(name: str) -> bool:
    """Whether the environment was made. Runs outside the checkout, whose constraints are qmm's own."""
    environment, place = ENVIRONMENTS[name], folder() / name
    commands = (
        ["uv", "venv", "--clear", "--python", environment.python, str(place)],
        ["uv", "pip", "install", "--python", str(interpreter(name)), *BUILDING, *environment.requirements],
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    _reason_file(name).unlink(missing_ok=True)
    for command in commands:
        done = subprocess.run(command, cwd=tempfile.gettempdir(), capture_output=True, text=True)
        if done.returncode:
            print(done.stderr)
            interpreter(name).unlink(missing_ok=True)
            _reason_file(name).write_text(f"does not install: {' '.join(done.stderr.split())[-200:]}")
            return False
    return True


def _reason_file(name: str) -> Path:
    return folder() / f"{name}.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(ENVIRONMENTS), help=f"default: {' '.join(ENVIRONMENTS)}")
    parser.add_argument("--again", action="store_true", help="make anew those that are there")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(ENVIRONMENTS))
    if unknown:
        parser.error(f"no such environment: {', '.join(unknown)}; choose among {', '.join(ENVIRONMENTS)}")
    for name in args.names:
        there = interpreter(name).exists() and not args.again
        print(f"{name}: {'is there' if there else 'made' if make(name) else 'does not install'}", flush=True)


if __name__ == "__main__":
    main()
