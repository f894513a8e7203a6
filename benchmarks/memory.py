"""What one step adds to the memory of a fresh process, after a step of one sample that loads and compiles everything."""

from pathlib import Path

import families
from points import Point, Results
from race import Data, Entry, PeerError, Worker


def added(name: str, point: Point, limit: float) -> Entry:
    """Bytes in place of milliseconds: `megabytes` of the line."""
    circuit = families.circuit(point.family, point.qubits, point.layers)
    worker = None
    try:
        worker = Worker(name, point.threads)
        worker.ready(circuit, Data.drawn(circuit, 1), point.dtype, point.device, limit)
        worker.run("step", limit)
        runs_in = worker.ready(circuit, Data.drawn(circuit, point.batch), point.dtype, point.device, limit)
        grown = worker.ask("memory", limit)["bytes"]
        return Entry(name, runs_in, None, 1, None, None, "", megabytes=grown / 1e6)
    except PeerError as error:
        return Entry.failed(name, point.dtype, str(error))
    finally:
        if worker is not None:
            worker.close()


def run(folder: Path, points: list[Point], peers: list[str], limit: float) -> None:
    results = Results(folder)
    for point in (p._replace(what="memory") for p in points):
        if point in results:
            continue
        print(point.words(), flush=True)
        entries = []
        for name in peers:
            entries.append(added(name, point, limit))
            print(f"  {name}: {entries[-1].remark or f'{entries[-1].megabytes:.1f} MB'}", flush=True)
        results.add(point, entries, {})
