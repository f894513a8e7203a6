"""What gradients are taken of: local and global observables of any number of qubits, by name."""

from collections.abc import Callable
from itertools import product

from qiskit.quantum_info import SparsePauliOp

from qmm.errors import InputError
from qmm.suggestions import did_you_mean

OWN = "own"
"""What the circuit itself reads out; where that is several values, circuit i takes number i modulo their number."""


def z(n_qubits: int) -> SparsePauliOp:
    """Z of the first qubit."""
    return SparsePauliOp.from_sparse_list([("Z", [0], 1.0)], n_qubits)


def zz(n_qubits: int) -> SparsePauliOp:
    """Z of the first two qubits, the observable of arXiv:1803.11173."""
    return SparsePauliOp.from_sparse_list([("ZZ", [0, 1], 1.0)], n_qubits)


def mean_z(n_qubits: int) -> SparsePauliOp:
    """The mean of all <Z>: up to constants the local cost of arXiv:2001.00550."""
    return SparsePauliOp.from_sparse_list([("Z", [qubit], 1 / n_qubits) for qubit in range(n_qubits)], n_qubits)


def parity(n_qubits: int) -> SparsePauliOp:
    """Z of all qubits together."""
    return SparsePauliOp("Z" * n_qubits)


def projector(n_qubits: int) -> SparsePauliOp:
    """|0...0><0...0|, the global cost of arXiv:2001.00550 up to constants: a sum of 2**n strings."""
    return SparsePauliOp.from_list([("".join(label), 0.5**n_qubits) for label in product("IZ", repeat=n_qubits)])


LOCAL: dict[str, Callable[[int], SparsePauliOp]] = {"z": z, "zz": zz, "mean-z": mean_z}
GLOBAL: dict[str, Callable[[int], SparsePauliOp]] = {"parity": parity, "projector": projector}
NAMES = (*LOCAL, *GLOBAL, OWN)
_LEAST = {"zz": 2}
_WIDEST_PROJECTOR = 16  # qubits: 65,536 strings


def check_observable(name: str) -> str:
    """Raises InputError for a name that is none of `NAMES`."""
    if name not in NAMES:
        raise InputError(f"observable {name!r}{did_you_mean(name, NAMES)}; choose among {', '.join(NAMES)}")
    return name


def observable(name: str, n_qubits: int) -> SparsePauliOp:
    """The named one, but `own`, of so many qubits. Raises InputError where they are too few for it, or too many."""
    if n_qubits < _LEAST.get(name, 1):
        raise InputError(f"observable {name!r} of {n_qubits} qubit; it takes {_LEAST[name]}")
    if name == "projector" and n_qubits > _WIDEST_PROJECTOR:
        raise InputError(f"observable 'projector' of {n_qubits} qubits is a sum of 2**{n_qubits} strings; take 'parity'")
    return {**LOCAL, **GLOBAL}[name](n_qubits)
