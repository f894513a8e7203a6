"""Observables: what is read out of the registers."""

from collections.abc import Iterator

from qiskit.quantum_info import SparsePauliOp

from qmm.registers import RegisterLayout


def z_of_each(n_qubits: int) -> list[SparsePauliOp]:
    """Z of every qubit, in their order."""
    return [_z_string((qubit,), n_qubits) for qubit in range(n_qubits)]


def zz_across(layout: RegisterLayout) -> list[SparsePauliOp]:
    """ZZ of every two qubits of different registers, in the order of `cross_pairs`."""
    return [_z_string(pair, layout.n_qubits) for pair in cross_pairs(layout)]


def cross_pairs(layout: RegisterLayout) -> Iterator[tuple[int, int]]:
    """Every two qubits of different registers: register pairs in order, then qubits in order."""
    for first, second in layout.pairs():
        yield from ((a, b) for a in layout.qubits(first) for b in layout.qubits(second))


def _z_string(qubits: tuple[int, ...], n_qubits: int) -> SparsePauliOp:
    return SparsePauliOp.from_sparse_list([("Z" * len(qubits), qubits, 1.0)], n_qubits)
