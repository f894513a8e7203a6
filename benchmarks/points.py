"""What is measured, and the file that keeps it: one JSON line a point, so that an ended run can go on."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from race import Entry, PeerError

ARITHMETIC_RULES = 12
"""Qubits; with fewer, most of a peer's time is what a gate or a sample costs whatever its size, and tells nothing of more."""


class Point(NamedTuple):
    family: str
    qubits: int
    batch: int
    layers: int
    dtype: str
    threads: int
    device: str
    what: str
    """ "step" (forward + backward) or "forward"."""

    def words(self) -> str:
        size = f"{self.family}, {self.qubits} qubits, batch {self.batch}, {self.layers} layers"
        return f"{size}; {self.what}, {self.dtype}, {self.threads} thread(s), {self.device}"

    @property
    def amplitudes(self) -> int:
        return 2**self.qubits * self.batch * self.layers


class Results:
    """Lines of `<folder>/points.jsonl`; `<folder>/versions.json` says what was installed."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.entries: dict[Point, list[Entry]] = {}
        path = folder / "points.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            fields = json.loads(line)
            self.entries[Point(**fields["point"])] = [Entry(**entry) for entry in fields["entries"]]

    def __contains__(self, point: Point) -> bool:
        return point in self.entries

    @property
    def versions(self) -> dict[str, dict[str, str]]:
        path = self.folder / "versions.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def add(self, point: Point, entries: list[Entry], versions: dict[str, dict[str, str]]) -> None:
        self.entries[point] = entries
        known = self.versions | {name: which for name, which in versions.items() if name != "reference"}
        (self.folder / "versions.json").write_text(json.dumps(known, indent=1) + "\n")
        fields: dict[str, Any] = {"point": point._asdict(), "entries": [entry._asdict() for entry in entries]}
        with (self.folder / "points.jsonl").open("a") as file:
            file.write(json.dumps(fields) + "\n")

    def refuse_if_slow(self, peer: str, point: Point, budget: float) -> None:
        """Raises PeerError where a smaller point of the same kind tells that a run takes over `budget` seconds: it did there,
        or it would, from ARITHMETIC_RULES qubits on, if its time grows half as fast as the number of amplitudes."""
        for other, entries in self.entries.items():
            if other._replace(qubits=0, batch=0, layers=0) != point._replace(qubits=0, batch=0, layers=0):
                continue
            if other.qubits > point.qubits or other.batch > point.batch or other.layers > point.layers or other == point:
                continue
            for entry in (e for e in entries if e.peer == peer):
                seconds = (entry.milliseconds or 0.0) / 1e3
                growth = point.amplitudes / other.amplitudes / 2 if other.qubits >= ARITHMETIC_RULES else 1.0
                if entry.remark.startswith("over "):
                    raise PeerError(f"{entry.remark}, at {other.qubits} qubits, batch {other.batch}")
                if seconds * max(1.0, growth) > budget:
                    where = f"{1e3 * seconds:,.0f} ms at {other.qubits} qubits, batch {other.batch}"
                    raise PeerError(f"left out: over {budget:.0f} s are expected from its {where}")
