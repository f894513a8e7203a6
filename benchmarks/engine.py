"""qmm.quantum beside every peer: the same Qiskit circuits, checked against each other, then timed in turn.

python benchmarks/engine.py race --quick --out runs/race      forward + backward, all peers
python benchmarks/engine.py forward --out runs/forward        forward only, many qubits, one sample, beside Aer
python benchmarks/engine.py qml --out runs/qml                Qiskit Machine Learning's TorchConnector, a small circuit
python benchmarks/engine.py scaling --out runs/scaling        ours alone: depth, batch, qubits
python benchmarks/engine.py memory --out runs/memory          what a step adds to the memory of a process, by depth
python benchmarks/engine.py table --out runs/race             Markdown of what a folder holds

A run that is ended keeps the points it has measured; the same command goes on from there.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import checks
import families
import memory
import tables
from points import Point, Results
from race import ENVIRONMENTS, Data, Entry, PeerError, Worker, race

MODES = ("race", "forward", "qml", "scaling", "memory", "table")
GPU_PEERS = ["ours", "pennylane_backprop", "deepquantum_vmap", "torchquantum_bmm", "tensorcircuit_torch"]
RACERS = [name for name in ENVIRONMENTS if name not in ("qiskit_ml_connector", "aer_statevector")]
DEFAULTS = {
    "race": {"qubits": [6, 9, 12, 15], "batch": [32, 256], "peers": RACERS, "family": ["ring", "reupload"]},
    "forward": {"qubits": [18, 20, 24], "batch": [1], "peers": ["ours", "aer_statevector"], "family": ["ring"], "budget": 60.0},
    "qml": {"qubits": [6], "batch": [32], "peers": ["ours", "qiskit_ml_connector"], "family": ["ring"], "budget": 120.0},
    "scaling": {"qubits": [6, 9, 12, 15, 18], "batch": [1, 32, 256], "peers": ["ours"], "family": ["ring"]},
    "memory": {"qubits": [12], "batch": [32], "peers": RACERS, "family": ["ring"], "layers": [3, 12, 48], "budget": 60.0},
    "table": {},
}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; one that has some is continued")
    parser.add_argument("--family", nargs="+", choices=families.FAMILIES)
    parser.add_argument("--qubits", type=int, nargs="+")
    parser.add_argument("--batch", type=int, nargs="+")
    parser.add_argument("--layers", type=int, nargs="+")
    parser.add_argument("--dtype", nargs="+", choices=["complex64", "complex128"], default=["complex64"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--peers", nargs="+", choices=list(ENVIRONMENTS))
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on a GPU only the torch peers run")
    parser.add_argument("--repeats", type=int, default=20, help="runs timed of each at most; default: 20")
    parser.add_argument("--budget", type=float, help="seconds a peer may be timed at one point; default: 10")
    parser.add_argument(
        "--first", type=float, default=60.0, help="seconds that building and the first run may take; default: 60"
    )
    parser.add_argument("--quick", action="store_true", help="6 and 9 qubits, ring only")
    args = parser.parse_args(words)
    if args.quick:
        args.qubits, args.family = args.qubits or [6, 9], args.family or ["ring"]
    if args.device != "cpu":
        args.peers = args.peers or GPU_PEERS
    for name, value in ({"layers": [3], "budget": 10.0} | DEFAULTS[args.mode]).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.first = max(args.first, args.budget)
    return args


def points(args: argparse.Namespace) -> Iterator[Point]:
    """Small states first within each family, so that what a peer needs there tells whether it can go on."""
    if args.mode == "scaling":
        yield from _scaling(args)
        return
    what = "forward" if args.mode == "forward" else "step"
    sizes = sorted(product(args.qubits, args.batch), key=lambda size: (2 ** size[0] * size[1], size))
    for threads, dtype, family, layers in product(args.threads, args.dtype, args.family, args.layers):
        for qubits, batch in sizes:
            yield Point(family, qubits, batch, layers, dtype, threads, args.device, what)


def _scaling(args: argparse.Namespace) -> Iterator[Point]:
    """Depth at n = 12, B = 32; batch at n = 9; width at B = 32."""
    sizes = [(12, 32, layers) for layers in (3, 6, 12, 24, 48)]
    sizes += [(9, batch, 3) for batch in (1, 8, 32, 128, 512, 2048)] + [(n, 32, 3) for n in (4, 6, 8, 10, 12, 14, 16, 18)]
    for threads, dtype, family in product(args.threads, args.dtype, args.family):
        for qubits, batch, layers in dict.fromkeys(sizes):
            yield Point(family, qubits, batch, layers, dtype, threads, args.device, "step")


class Team:
    """The workers of one number of threads: started when first needed, started again after one was ended."""

    def __init__(self, threads: int):
        self.threads = threads
        self.workers: dict[str, Worker] = {}
        self.broken: dict[str, str] = {}
        self.checked: set[tuple[str, int, int]] = set()

    def member(self, name: str) -> Worker:
        """Raises PeerError with the reason it gave the first time where a peer cannot be started."""
        if name in self.broken:
            raise PeerError(self.broken[name])
        if name not in self.workers or not self.workers[name].alive():
            try:
                self.workers[name] = Worker("ours" if name == "reference" else name, self.threads)
            except PeerError as error:
                self.broken[name] = str(error)
                raise
        return self.workers[name]

    def check(self, point: Point) -> None:
        """The reference on this circuit against Qiskit, once for all batches and precisions. Raises SystemExit if it is off."""
        which = (point.family, min(point.qubits, checks.LARGEST), point.layers)
        if which not in self.checked:
            gap = checks.against_qiskit(self.member("reference"), families.circuit(*which))
            self.checked.add(which)
            print(f"  reference at {which[1]} qubits: {gap:.1e} from Qiskit", flush=True)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()


def measure(point: Point, team: Team, results: Results, args: argparse.Namespace) -> list[Entry]:
    """The lines of one point: those that cannot run it or would need too long say so, the others race."""
    circuit = families.circuit(point.family, point.qubits, point.layers)
    data = Data.drawn(circuit, point.batch)
    reference = team.member("reference")
    reference.ready(circuit, data, "complex128", "cpu", 600)
    _, expected = reference.run(point.what, 600)
    absent, present = [], {}
    for name in args.peers:
        try:
            results.refuse_if_slow(name, point, args.budget)
            present[name] = team.member(name)
        except PeerError as error:
            absent.append(Entry.failed(name, point.dtype, str(error)))
            print(f"  {name}: {error}", flush=True)
    limits = {"repeats": args.repeats, "budget": args.budget, "first": args.first}
    entries = race(present, circuit, data, expected, point.dtype, point.device, point.what, **limits)
    order = list(args.peers)
    return sorted([*entries, *absent], key=lambda entry: order.index(entry.peer))


def run(args: argparse.Namespace) -> None:
    results = Results(args.out)
    wanted = list(points(args))
    team: Team | None = None
    try:
        for number, point in enumerate(wanted, 1):
            if point in results:
                continue
            if team is None or team.threads != point.threads:
                if team is not None:
                    team.close()
                team = Team(point.threads)
            print(f"[{number}/{len(wanted)}] {point.words()}", flush=True)
            team.check(point)
            entries = measure(point, team, results, args)
            results.add(point, entries, {name: worker.about["versions"] for name, worker in team.workers.items()})
            print(tables.line(entries), flush=True)
    finally:
        if team is not None:
            team.close()


def main(words: list[str] | None = None) -> None:
    args = arguments(words)
    if args.mode == "memory":
        memory.run(args.out, list(points(args)), args.peers, args.first)
    elif args.mode != "table":
        run(args)
    print(tables.markdown(args.out))


if __name__ == "__main__":
    main(sys.argv[1:])
