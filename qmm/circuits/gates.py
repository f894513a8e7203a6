"""Gates by name: the rotations and two-qubit gates of ansätze and entanglers, and what of a circuit Z can feel."""

import difflib
from collections.abc import Collection, Sequence

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from qmm.errors import InputError
from qmm.quantum import Circuit
from qmm.quantum.light_cone import drop_unfelt

ROTATIONS = ("rx", "ry", "rz")
FIXED = ("cx", "cy", "cz", "ecr", "iswap")
"""Two-qubit gates without a parameter."""
TRAINED = ("rxx", "ryy", "rzz", "rzx", "crx", "cry", "crz", "cp")
"""Two-qubit gates of one angle. At 0 each is the identity."""

_DIAGONAL = {"cz", "rzz", "crz", "cp"}


def check_name(what: str, name: str, known: Collection[str]) -> str:
    """The name itself. Raises InputError for one that is not known, with those that are spelt nearly so."""
    if name in known:
        return name
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    raise InputError(f"no {what} named {name!r}; {hint}There are {', '.join(known)}")


def check_two_qubit_gate(name: str) -> str:
    return check_name("two-qubit gate", name, (*FIXED, *TRAINED))


def apply(circuit: QuantumCircuit, name: str, qubits: Sequence[int], weight: str = "") -> None:
    """Append the gate; one that is trained gets the parameter `weight`."""
    angles = [Parameter(weight)] if name in TRAINED or name in ROTATIONS else []
    getattr(circuit, name)(*angles, *qubits)


def is_diagonal(name: str) -> bool:
    """Of a two-qubit gate: a diagonal one, which no Z measured right behind it feels."""
    return name in _DIAGONAL


def without_unfelt(circuit: QuantumCircuit, read: Collection[int]) -> QuantumCircuit:
    """The circuit without those trained gates that change no product of Zs measured at its end on the qubits in `read`:
    RZ behind the last RY, a rotation of a qubit that nobody looks at. Gates without an angle all stay."""
    zs = [SparsePauliOp.from_sparse_list([("Z", [qubit], 1.0)], circuit.num_qubits) for qubit in read]
    felt = set(drop_unfelt(Circuit.of(circuit, observables=zs)).weights)
    found: QuantumCircuit = circuit.copy_empty_like()
    for item in circuit.data:
        if all(felt.issuperset(angle.parameters) for angle in item.operation.params):
            found.append(item)
    return found
