"""CutBackend: a circuit cut into fragments, each run on a device of its own."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from qiskit.circuit import QuantumCircuit
from torch import Tensor

from qmm.quantum.backends import Backend, Evaluation, Gradient
from qmm.quantum.circuit import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.jobs.budget import Plan
from qmm.quantum.execution.jobs.ledger import Figures, Ledger
from qmm.quantum.execution.requests import Estimates
from qmm.quantum.gradients import ParameterShift
from qmm.quantum.gradients.estimated import Stencil
from qmm.quantum.scaling.batches import Batch, Ready, Slot, ready
from qmm.quantum.scaling.decompositions import in_turns
from qmm.quantum.scaling.places import Pieces, is_marked, register_labels, sever
from qmm.quantum.scaling.plans import CutPlan, find_cuts, plan, read_out

_T = TypeVar("_T")


class CutJob:
    """Outputs under way, put together when they are asked for."""

    def __init__(self, assemble: Callable[[], Estimates], like: Tensor):
        self._assemble, self._like = assemble, like
        self._found: Estimates | None = None

    def estimates(self) -> Estimates:
        """(N, n_outputs): values and their variances."""
        if self._found is None:
            self._found = self._assemble()
        return self._found

    def result(self) -> Tensor:
        """(N, n_outputs)"""
        return torch.from_numpy(self.estimates().values).to(self._like)

    def variances(self) -> Tensor:
        """(N, n_outputs): squared standard errors of the values."""
        return torch.from_numpy(self.estimates().variances).to(self._like)


class CutBackend(Backend):
    """Cuts each circuit into fragments, which run elsewhere, and puts their values together (arXiv:1909.07534, 1904.00102).

    Cut are the gates between different registers, one fragment for each register; or else the wires that `cut_wire` marked; or
    what `labels` or `max_qubits` say. A fragment is an ordinary circuit: where a cut measures a qubit in mid-circuit, it is
    copied by a CX to one qubit more, which is read at the end.

    All operations at the cuts and all samples travel as bindings of a few circuits for each fragment, and each binding has the
    shots of its backend. Samples that share the angles of a fragment share its results; samples that are equal altogether are
    run as often as they come.

    Args:
        backends: Where fragments run: one for all, or one for each by name, that of its register or label ("0", "1", ... where
            there are none).
        labels: One for each qubit, in place of registers: qubits of the same label form a fragment.
        max_qubits: Cuts are searched for that make the circuit fit devices of so many qubits; see `suggest_cuts`.
        max_overhead: Circuits are refused whose cuts multiply the shots by more than this; see `overhead`.
        samples: How many operations at the cuts are drawn, anew in each call, where all are too many; None: all are run.
        seed: Of these draws, and of the search.
    """

    def __init__(
        self,
        backends: Backend | dict[str, Backend],
        labels: list[str] | None = None,
        max_qubits: int | None = None,
        max_overhead: float = 1000,
        samples: int | None = None,
        seed: int = 0,
    ):
        """Raises CircuitError for arguments that contradict each other."""
        if labels is not None and max_qubits is not None:
            raise CircuitError("both labels and max_qubits say where to cut; give one of them")
        if samples is not None and samples < 1:
            raise CircuitError(f"samples={samples}; draw at least one, or leave it out to sum over all operations at the cuts")
        if max_qubits is not None and max_qubits < 2:
            raise CircuitError(f"max_qubits={max_qubits}; devices need at least two qubits")
        self.backends, self.labels, self.max_qubits = backends, labels, max_qubits
        self.max_overhead, self.samples, self.seed = max_overhead, samples, seed
        self._rng = np.random.default_rng(seed)
        self._ready: WeakKeyDictionary[CompiledCircuit, Ready] = WeakKeyDictionary()

    @property
    def gradient(self) -> Gradient:
        return CutShift()

    @property
    def shots(self) -> int | None:
        """Of each binding of a fragment, where all backends have the same number."""
        found = {getattr(backend, "shots", None) for backend in self._all()}
        return found.pop() if len(found) == 1 else None

    @property
    def ledger(self) -> "Ledgers":
        """What ran so far, on all backends together."""
        return Ledgers([backend.ledger for backend in self._all() if hasattr(backend, "ledger")])

    def cutting(self, circuit: Circuit | CompiledCircuit) -> CutPlan:
        """What cutting a circuit takes: cuts, widths of the fragments, circuits, overhead. Nothing runs.

        Raises CircuitError where it cannot be cut.
        """
        circuit = circuit.circuit if isinstance(circuit, CompiledCircuit) else circuit
        return self._cut(circuit)[1]

    def overhead(self, circuit: Circuit | CompiledCircuit) -> float:
        """How many times the shots, for the error of the uncut circuit, where operations at the cuts are drawn: 9 for each CX,
        16 for each wire, multiplied. Where all run and share their results, as by default, it is mostly far less."""
        return self.cutting(circuit).overhead

    def plan(self, circuit: CompiledCircuit, n_rows: int, shots: int | None = None) -> Plan:
        """What computing a circuit's outputs for so many samples takes of all devices; at most, where samples share angles.

        Nothing is sent. Raises CircuitError as `submit` does.
        """
        total = Plan()
        for fragment in self._get(circuit).whole.fragments:
            backend = self._backend(fragment.name)
            for variant in fragment.variants if hasattr(backend, "plan") else ():
                total += backend.plan(variant.compiled, n_rows * len(variant.turns), shots)
        return total

    def keep_in(self, folder: str | Path) -> None:
        """Keeps job ids and results there, those of backends by name in folders of their own."""
        by_name = {".": self.backends} if isinstance(self.backends, Backend) else self.backends
        for name, backend in by_name.items():
            if hasattr(backend, "keep_in"):
                backend.keep_in(Path(folder) / name)

    def together(self, tasks: Sequence[Callable[[], _T]]) -> list[_T]:
        """The results of tasks that do not need each other; on a single backend, what they submit travels in one job."""
        return self.backends.together(tasks) if isinstance(self.backends, Backend) else super().together(tasks)

    def submit(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, shots: int | None = None) -> CutJob:
        """Begins to compute a circuit's outputs.

        Args:
            circuit: What to run.
            inputs: (N, n_inputs) radians.
            weights: (W,), or (N, W).
            shots: Of each binding of a fragment, in place of its backend's own number.

        Raises CircuitError for a circuit that costs more than `max_overhead`, that cannot be cut, or has a fragment without a
        backend, or too wide for it.
        """
        return self.submit_many([Evaluation(circuit, inputs, weights, shots)])[0]

    @torch.no_grad()
    def submit_many(self, evaluations: Sequence[Evaluation]) -> list[CutJob]:
        """Begins to compute the outputs of several circuits; what goes to the same backend goes together."""
        batches = [Batch(self._get(e.circuit), e, self.samples, self._rng) for e in evaluations]
        queues: dict[int, tuple[Backend, list[Evaluation], list[Slot]]] = {}
        for batch in batches:
            for fragment, slots in zip(batch.ready.whole.fragments, batch.slots, strict=True):
                backend = self._backend(fragment.name)
                _, queue, waiting = queues.setdefault(id(backend), (backend, [], []))
                busy = [slot for slot in slots if not slot.is_idle]
                queue += [slot.evaluation for slot in busy]
                waiting += busy
        for backend, queue, waiting in queues.values():
            if queue:
                for slot, job in zip(waiting, backend.submit_many(queue), strict=True):
                    slot.job = job
        return [CutJob(batch.assemble, e.inputs) for batch, e in zip(batches, evaluations, strict=True)]

    def _get(self, compiled: CompiledCircuit) -> Ready:
        if compiled not in self._ready:
            self._ready[compiled] = self._prepare(compiled.circuit)
        return self._ready[compiled]

    def _prepare(self, circuit: Circuit) -> Ready:
        pieces, needed = self._cut(circuit)
        if needed.overhead > self.max_overhead:
            raise CircuitError(
                f"cutting the circuit multiplies its shots by {needed.overhead:,.4g} ({'; '.join(map(str, needed.cuts))}), "
                f"more than max_overhead={self.max_overhead:,.4g}; let registers meet in one layer alone and at few qubits "
                "(qmm.fusion.FewMeetings), or raise max_overhead"
            )
        for fragment in needed.fragments:
            room = _room(self._backend(fragment.name))
            if room is not None and fragment.width > room:
                raise CircuitError(
                    f"fragment {fragment.name!r} has {fragment.qubits} qubits, and {fragment.width - fragment.qubits} more for "
                    f"the measurements at its cuts; its device has {room}: take a larger device, or cut fewer of its gates"
                )
        return ready(circuit, pieces, read_out(circuit))

    def _cut(self, circuit: Circuit) -> tuple[Pieces, CutPlan]:
        quantum_circuit = circuit.quantum_circuit
        if self.max_qubits is not None:
            return find_cuts(circuit, self.max_qubits, self.seed)
        if self.labels is not None and len(self.labels) != quantum_circuit.num_qubits:
            raise CircuitError(f"{len(self.labels)} labels for {quantum_circuit.num_qubits} qubits; give one for each")
        pieces = sever(quantum_circuit, self._labels(quantum_circuit))
        return pieces, plan(pieces, read_out(circuit).strings)

    def _labels(self, circuit: QuantumCircuit) -> list[str] | None:
        if is_marked(circuit):
            if self.labels is not None:
                raise CircuitError("labels say where to cut, and wires are marked as well; give one of them")
            return None
        return self.labels if self.labels is not None else register_labels(circuit)

    def _all(self) -> list[Backend]:
        return [self.backends] if isinstance(self.backends, Backend) else list(self.backends.values())

    def _backend(self, name: str) -> Any:
        if isinstance(self.backends, Backend):
            return self.backends
        if name not in self.backends:
            raise CircuitError(
                f"there is no backend for fragment {name!r}; backends are given for {', '.join(self.backends) or 'none'}: "
                "add one for each fragment, or give a single backend for all of them"
            )
        return self.backends[name]


class Ledgers:
    """What ran on several backends side by side: sums, but of the wall time the longest."""

    def __init__(self, ledgers: Sequence[Ledger]):
        self._ledgers = ledgers

    def snapshot(self) -> Figures:
        found = [ledger.snapshot() for ledger in self._ledgers]
        total = Figures(**{f.name: _total([getattr(one, f.name) for one in found]) for f in dataclasses.fields(Figures)})
        if any(one.qct_seconds is None for one in found):
            total = dataclasses.replace(total, qct_seconds=None)
        return dataclasses.replace(total, wall_seconds=max((one.wall_seconds for one in found), default=0.0))

    def to_dict(self) -> dict[str, float | int | None]:
        return self.snapshot().to_dict()


def _total(figures: Sequence[Any]) -> Any:
    """Of those that are known; None where none is."""
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known or not figures else None


class CutShift(ParameterShift):
    """The parameter-shift rule of a circuit that is cut.

    Gates of one angle on two qubits are first written so that their shifted versions cost no more to cut than they do.
    """

    def stencil(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, wanted: tuple[bool, bool]) -> Stencil:
        if circuit not in _TURNED:
            _TURNED[circuit] = CompiledCircuit(in_turns(circuit.circuit))
        return super().stencil(_TURNED[circuit], inputs, weights, wanted)


_TURNED: WeakKeyDictionary[CompiledCircuit, CompiledCircuit] = WeakKeyDictionary()


def _room(backend: Backend) -> int | None:
    """How many qubits a backend's device has, where it has one."""
    device = getattr(getattr(backend, "provider", None), "device", None)
    return None if device is None else device.num_qubits
