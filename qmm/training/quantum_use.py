"""Where a model's circuits run, what that will take, and what it took; in words, and as plain data."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmm.quantum import ExactBackend
from qmm.quantum.execution.jobs.budget import Plan
from qmm.training.quantum_plan import Work, plan_of


class QuantumUse:
    """What the circuits of a task take of their backend.

    Args:
        task: A task of qmm.tasks.
        folder: Where the backend keeps ids and results of its jobs, unless it was given a folder; None: nowhere.
    """

    def __init__(self, task: Any, folder: Path | None = None):
        """Raises CircuitError for a folder that cannot be made."""
        self.task, self.folder = task, folder
        self._began = time.perf_counter()
        self._before = self.snapshot()
        if folder is not None and hasattr(self.backend, "keep_in"):
            self.backend.keep_in(folder)

    @property
    def backend(self) -> Any:
        return self.task.model.fusion.backend

    @property
    def has_circuits(self) -> bool:
        return not isinstance(self.backend, ExactBackend | None) or bool(self.task.model.fusion.circuits())

    def where(self) -> str:
        """A sentence."""
        said = describe(self.backend)
        if said["class"] == "ExactBackend":
            return "Circuits run exactly."
        devices = said.get("device") or ", ".join(
            dict.fromkeys(d["device"] for d in said.get("backends", {}).values() if "device" in d)
        )
        shots = f", {said['shots']:,} shots each" if said.get("shots") else ""
        mitigation = f", with {', '.join(said['mitigation'])}" if said.get("mitigation") else ""
        return f"Circuits run on {devices or said['class']}{shots}{mitigation}."

    def plan(self, works: Sequence[Work]) -> Plan | None:
        """What these will take; None where that is not known. Raises CircuitError for circuits that the backend cannot run."""
        return plan_of(self.task, works)

    def require(self, plan: Plan) -> None:
        """Raises BudgetError where it is over the backend's budget."""
        budget = getattr(self.backend, "budget", None)
        if budget is not None:
            budget.check(plan)

    def snapshot(self) -> Any:
        """The figures up to now; None for a backend that counts nothing."""
        ledger = getattr(self.backend, "ledger", None)
        return None if ledger is None else ledger.snapshot()

    def begin(self) -> None:
        """Count from here."""
        self._began, self._before = time.perf_counter(), self.snapshot()

    def figures(self) -> dict[str, Any]:
        """What was taken since `begin`, and the seconds since."""
        now = self.snapshot()
        taken = {} if now is None else (now - self._before).to_dict()
        return {"seconds": round(time.perf_counter() - self._began, 3), **taken}


def describe(backend: Any) -> dict[str, Any]:
    """A backend as plain data: its class, device, shots, seed and mitigations; nothing else, so no credentials."""
    if isinstance(backend, ExactBackend | None):
        return {"class": "ExactBackend"}
    found: dict[str, Any] = {"class": type(backend).__name__}
    if hasattr(backend, "provider"):
        found["device"] = backend.provider.name
    found |= {name: getattr(backend, name) for name in ("shots", "seed", "simplify") if hasattr(backend, name)}
    if hasattr(backend, "mitigation"):
        found["mitigation"] = [type(m).__name__ for m in backend.mitigation]
    inner = getattr(backend, "backends", None)
    if inner is not None:
        inner = inner if isinstance(inner, dict) else {"all": inner}
        found["backends"] = {name: describe(one) for name, one in inner.items()}
    return found


def expected(plan: Plan, works: Sequence[Work]) -> str:
    """A sentence for a person."""
    return f"This takes {plan}: {', '.join(map(str, works))}, if every sample has all modalities."


def summary(figures: dict[str, Any]) -> list[str]:
    """Lines for a person."""
    lines = [f"{figures['seconds']:,.3g} s"]
    if "jobs" not in figures:
        return lines
    lines[0] += f", quantum jobs under way for {figures['wall_seconds']:,.3g} s of it"
    again = f" ({figures['retries']} sent again)" if figures["retries"] else ""
    lines.append(f"{figures['jobs']:,} jobs{again}, {figures['circuits']:,} circuits, {figures['shots']:,} shots")
    parts = [f"gates executed (QIN) {figures['qin']:.3g}"]
    for name, said in (
        ("qct_seconds", "circuits' own time (QCT)"),
        ("qpu_seconds", "charged"),
        ("queue_seconds", "in the queue"),
    ):
        parts += [] if figures[name] is None else [f"{said} {figures[name]:,.3g} s"]
    lines.append(", ".join(parts))
    if figures["found_circuits"]:
        lines.append(f"found in the journal: {figures['found_circuits']:,} circuits, {figures['found_shots']:,} shots")
    return lines
