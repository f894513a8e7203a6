"""What one step adds to the memory of a fresh process, after a step of one sample that loads and compiles everything."""

from pathlib import Path

import families
from points import Point, Results
from race import Data, Entry, PeerError, Worker


def added(name: str, point: Point, limit: float) -> tuple[Entry, dict[str, str]]:
    """A line with megabytes in place of milliseconds, and the versions of what ran."""
    circuit = families.circuit(point.family, point.qubits, point.layers)
    worker, versions = None, {}
    try:
        worker = Worker(name, point.threads)
        versions = worker.about["versions"]
        worker.ready(circuit, Data.drawn(circuit, 1), point.dtype, point.device, limit)
        worker.run("step", limit)
        runs_in = worker.ready(circuit, Data.drawn(circuit, point.batch), point.dtype, point.device, limit)
        grown = worker.ask("memory", limit)["bytes"]
        return Entry(name, runs_in, None, 1, None, None, "", megabytes=grown / 1e6), versions
    except PeerError as error:
        return Entry.failed(name, point.dtype, str(error)), versions
    finally:
        if worker is not None:
            worker.close()


def run(folder: Path, points: list[Point], peers: list[str], limit: float) -> None:
    results = Results(folder)
    for point in (p._replace(what="memory") for p in points):
        if point in results:
            continue
        print(point.words(), flush=True)
        entries, versions = [], {}
        for name in peers:
            entry, versions[name] = added(name, point, limit)
            entries.append(entry)
            print(f"  {name}: {entry.remark or f'{entry.megabytes:.1f} MB'}", flush=True)
        results.add(point, entries, versions)
