"""Markdown of a folder of results, so that no number is typed by hand."""

from collections.abc import Iterable
from pathlib import Path

from points import Point, Results
from race import Entry

OURS = "ours"


COMPILED = "tensorcircuit_jax"


def fastest(entries: Iterable[Entry], dtype: str, but: tuple[str, ...] = (OURS,)) -> Entry | None:
    """Of those at least as precise as `dtype`."""
    timed = [e for e in entries if e.milliseconds is not None and e.peer not in but and e.runs_in in (dtype, "complex128")]
    return min(timed, key=lambda entry: entry.milliseconds or 0.0, default=None)


def line(entries: list[Entry]) -> str:
    """One line for the screen: milliseconds of each, and how many times ours."""
    ours = next((e.milliseconds for e in entries if e.peer == OURS), None)
    words = [f"{e.peer} {e.milliseconds:.2f} ms{ratio(e, ours)}" for e in entries if e.milliseconds is not None]
    return "  " + ", ".join(words)


def ratio(entry: Entry, ours: float | None) -> str:
    if not ours or entry.peer == OURS or entry.milliseconds is None:
        return ""
    times = entry.milliseconds / ours
    return f" ({times:.0f}x)" if times >= 10 else f" ({times:.1f}x)"


def cell(entry: Entry | None, ours: float | None, notes: dict[str, int]) -> str:
    if entry is None:
        return ""
    if entry.megabytes is not None:
        return f"{entry.megabytes:.1f} MB"
    if entry.milliseconds is None:
        return f"[{notes.setdefault(f'{entry.peer}: {entry.remark}', len(notes) + 1)}]"
    mark = "*" if entry.repeats == 1 else ""
    return f"{entry.milliseconds:.3g}{mark}{ratio(entry, ours)}" if entry.milliseconds < 100 else _large(entry, ours, mark)


def _large(entry: Entry, ours: float | None, mark: str) -> str:
    return f"{entry.milliseconds:,.0f}{mark}{ratio(entry, ours)}"


def row(point: Point, entries: list[Entry], peers: list[str], notes: dict[str, int]) -> list[str]:
    by_peer = {entry.peer: entry for entry in entries}
    ours = by_peer[OURS].milliseconds if OURS in by_peer else None
    best = [fastest(entries, point.dtype), fastest(entries, point.dtype, (OURS, COMPILED))]
    best_words = ["" if entry is None else f"{entry.peer}{ratio(entry, ours)}" for entry in best]
    cells = [cell(by_peer.get(peer), ours, notes) for peer in peers]
    return [str(point.qubits), str(point.batch), str(point.layers), *cells, *best_words]


def markdown(folder: Path) -> str:
    """A table for each kind of point (family, dtype, threads, device, what), then the remarks, precisions and versions."""
    results = Results(folder)
    kinds: dict[Point, list[Point]] = {}
    for point in results.entries:
        kinds.setdefault(point._replace(qubits=0, batch=0, layers=0), []).append(point)
    blocks, notes = [], {}
    for kind, points in kinds.items():
        peers = list(dict.fromkeys(entry.peer for point in points for entry in results.entries[point]))
        unit = "MB added by a step" if kind.what == "memory" else f"median ms of a {kind.what} (times ours)"
        blocks.append(f"**{kind.family}**, {kind.dtype}, {kind.threads} thread(s), {kind.device}: {unit}\n")
        header = ["n", "B", "layers", *peers, "fastest peer", "fastest without a compiler"]
        rows = [row(point, results.entries[point], peers, notes) for point in sorted(points)]
        blocks.append("\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)) + "\n")
    return "\n".join([*blocks, *_remarks(results, notes)])


def _remarks(results: Results, notes: dict[str, int]) -> list[str]:
    lines = [f"[{number}] {text}  " for text, number in notes.items()]
    entries = [(point, entry) for point, listed in results.entries.items() for entry in listed if entry.repeats]
    if any(entry.repeats == 1 and entry.megabytes is None for _, entry in entries):
        lines.append("\\* one run.  ")
    other = {entry.peer: entry.runs_in for point, entry in entries if entry.runs_in != point.dtype}
    lines += [f"{peer} computes in {dtype} whatever is asked.  " for peer, dtype in other.items()]
    if "complex64" in other.values():
        lines.append("In complex64 only, a peer is not called the fastest of a table in complex128.  ")
    gaps: dict[str, float] = {}
    for _, entry in entries:
        if entry.difference is not None:
            gaps[entry.peer] = max(gaps.get(entry.peer, 0.0), entry.difference)
    if gaps:
        lines.append(
            "Greatest difference from the reference: " + ", ".join(f"{p} {gap:.0e}" for p, gap in gaps.items()) + ".  "
        )
    versions = dict(pair for which in results.versions.values() for pair in which.items())
    lines.append("Versions: " + ", ".join(f"{package} {number}" for package, number in sorted(versions.items())) + ".")
    return lines
