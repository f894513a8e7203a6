"""What cutting a circuit takes, told before anything runs, and cuts that are found."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import RZZGate
from qiskit.quantum_info import PauliList

from qmm.quantum.circuit import Circuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.extras import require
from qmm.quantum.lower import is_parametrised
from qmm.quantum.scaling.decompositions import expand
from qmm.quantum.scaling.places import Cut, End, Fragment, Pieces, is_last, register_labels, sever
from qmm.quantum.settings import parts

_BACKJUMPS = 300  # of each search for cuts; the addon's 10,000 take seconds and were not seen to find better ones


class FragmentPlan(NamedTuple):
    name: str
    qubits: int
    """Of the circuit's own, each piece of a cut wire counted."""
    width: int
    """Of the device that it needs: with the qubits to which measurements in mid-circuit are deferred."""
    circuits: int
    """At most, for each sample and measurement basis."""


class CutPlan(NamedTuple):
    """What cutting a circuit takes."""

    cuts: tuple[Cut, ...]
    fragments: tuple[FragmentPlan, ...]

    @property
    def overhead(self) -> float:
        """How many times the shots, for the error that the whole circuit would have: the product of gamma**2, 9 for each CX.

        At open angles the largest that there can be.
        """
        return float(np.prod([cut.decomposition.gamma**2 for cut in self.cuts]))

    def __str__(self) -> str:
        lines = [
            f"{f.name}: {f.qubits} qubits, with deferred measurements {f.width}, at most {f.circuits:,} circuits a sample"
            for f in self.fragments
        ]
        by = f", the product of {'; '.join(map(str, self.cuts))}" if self.cuts else ", nothing is cut"
        return "\n".join([*lines, f"sampling overhead {self.overhead:,.4g}{by}"])


class ReadOut(NamedTuple):
    """A circuit's outputs by Pauli strings."""

    strings: PauliList
    """T of them, each once, no identity."""
    outputs: NDArray[np.float64]
    """(O, T): their coefficients in each output."""
    offsets: NDArray[np.float64]
    """(O,): what the identity adds."""


def read_out(circuit: Circuit) -> ReadOut:
    """Raises CircuitError for probabilities of too many qubits."""
    found = parts(circuit)
    places: dict[str, int] = {}
    entries = [
        (output, places.setdefault(label, len(places)), coefficient.real)
        for output, observable in zip(found.places.tolist(), found.measurement.observables, strict=True)
        for label, coefficient in observable.to_list()
    ]
    outputs = np.zeros((circuit.n_outputs, len(places)))
    for output, place, coefficient in entries:
        outputs[output, place] += coefficient
    strings = PauliList(list(places)) if places else PauliList(["I" * circuit.quantum_circuit.num_qubits])[:0]
    return ReadOut(strings, outputs, found.offsets)


def within(strings: PauliList, pieces: Pieces, fragment: Fragment) -> PauliList:
    """What Pauli strings of the circuit's qubits are on those of a fragment."""
    place = {wire: i for i, wire in enumerate(pieces.last)}
    x, z = np.zeros((2, len(strings), len(fragment.wires)), dtype=bool)
    for i, wire in enumerate(fragment.wires):
        if wire in place:
            x[:, i], z[:, i] = strings.x[:, place[wire]], strings.z[:, place[wire]]
    return PauliList.from_symplectic(z, x)


def plan(pieces: Pieces, strings: PauliList) -> CutPlan:
    """Of a circuit cut into pieces, of which these strings are read out."""
    return CutPlan(pieces.cuts, tuple(_fragment_plan(f, pieces.cuts, within(strings, pieces, f)) for f in pieces.fragments))


def find_cuts(circuit: Circuit, max_qubits: int, seed: int = 0) -> tuple[Pieces, CutPlan]:
    """Cuts for devices of `max_qubits` qubits: those between registers, or those of gates and wires that qiskit-addon-cutting
    finds, whichever have the least overhead.

    Raises CircuitError where none are found, and without the extra "scaling".
    """
    strings = read_out(circuit).strings
    if circuit.quantum_circuit.num_qubits <= max_qubits:
        pieces = sever(circuit.quantum_circuit)
        return pieces, plan(pieces, strings)
    flat = _flat(circuit.quantum_circuit)
    candidates: list[Pieces | None] = [sever(flat, register_labels(flat)), _found(flat, max_qubits, False, True, seed)]
    for limit in range(max_qubits, 1, -1):  # the measurements of cut gates take qubits as well: then smaller pieces fit
        candidates += [_found(flat, limit, True, wires, seed) for wires in (True, False)]
    plans = [(pieces, plan(pieces, strings)) for pieces in candidates if pieces is not None]
    fitting = [(pieces, own) for pieces, own in plans if max(f.width for f in own.fragments) <= max_qubits]
    if not fitting:
        raise CircuitError(
            f"no cuts were found that make the circuit of {flat.num_qubits} qubits fit devices of {max_qubits}; take larger "
            "devices, or a circuit whose registers meet less often"
        )
    return min(fitting, key=lambda found: found[1].overhead)


def suggest_cuts(circuit: Circuit, max_qubits: int, seed: int = 0) -> CutPlan:
    """How a circuit can be cut for devices of at most `max_qubits` qubits: the cuts, the fragments, the overhead.

    `CutBackend(..., max_qubits=max_qubits)` cuts so. Raises CircuitError where no such cuts are found.
    """
    return find_cuts(circuit, max_qubits, seed)[1]


def _fragment_plan(fragment: Fragment, cuts: Sequence[Cut], strings: PauliList) -> FragmentPlan:
    signs, circuits = 0, 1
    for place, (step, qubits) in enumerate(fragment.steps):
        if isinstance(step, End):
            choices = cuts[step.cut].decomposition.choices[step.side]
            circuits *= len(choices)
            signs += any(choice.measured for choice in choices) and not is_last(fragment, strings, place, qubits[0])
    return FragmentPlan(fragment.name, len(fragment.wires), len(fragment.wires) + signs, circuits)


def _flat(circuit: QuantumCircuit) -> QuantumCircuit:
    """The same in gates of one qubit, and of two that can be cut."""
    flat: QuantumCircuit = circuit.copy_empty_like()
    for place, item in enumerate(circuit.data):
        qubits = tuple(circuit.find_bit(q).index for q in item.qubits)
        try:
            own = [(item.operation, qubits)] if item.operation.name == "barrier" else expand(item.operation, qubits)
            for operation, placed in own:
                flat.append(operation, placed)
        except CircuitError as error:
            raise CircuitError(f"instruction {place} ({item.operation.name!r} on qubits {list(qubits)}): {error}") from error
    return flat


def _found(flat: QuantumCircuit, limit: int, gates: bool, wires: bool, seed: int) -> Pieces | None:
    """The pieces where cuts, of gates, of wires, are found for `limit` qubits; None where they are not."""
    addon = require("qiskit_addon_cutting", "scaling", "cuts")
    places = [place for place, item in enumerate(flat.data) if len(item.qubits) == 2 and item.operation.name != "barrier"]
    searched = QuantumCircuit(flat.num_qubits)
    for place in places:
        item = flat.data[place]
        searched.append(_stand_in(item.operation), [flat.find_bit(q).index for q in item.qubits])
    options = addon.OptimizationParameters(seed=seed, gate_lo=gates, wire_lo=wires, max_backjumps=_BACKJUMPS)
    try:
        cut, _ = addon.find_cuts(searched, options, addon.DeviceConstraints(qubits_per_subcircuit=limit))
    except (ValueError, AttributeError):  # what the addon raises where its search ends without cuts
        return None
    cut_gates, cut_wires, at = [], dict[int, list[int]](), iter(places)
    waiting: list[int] = []
    for item in cut.data:
        if item.operation.name == "cut_wire":
            waiting.append(cut.find_bit(item.qubits[0]).index)
            continue
        place = next(at)
        if waiting:
            cut_wires[place], waiting = waiting, []
        if item.operation.name == "qpd_2q":
            cut_gates.append(place)
    return sever(flat, None, cut_gates, cut_wires)


def _stand_in(gate: Any) -> Any:
    """A gate without open angles that costs as much to cut."""
    return RZZGate(np.pi / 2) if is_parametrised(gate) else gate
