"""Observables: what is read out of the registers."""

from collections.abc import Iterator, Sequence

from qiskit.quantum_info import SparsePauliOp

from qmm.circuits.contracts import Readout
from qmm.registers import RegisterLayout


def z_of_each(n_qubits: int, read: Sequence[int] | None = None) -> list[SparsePauliOp]:
    """Z of every qubit (of those in `read`), in their order."""
    return [_z_string((qubit,), n_qubits) for qubit in (range(n_qubits) if read is None else read)]


def zz_across(layout: RegisterLayout, read: Sequence[int] | None = None) -> list[SparsePauliOp]:
    """ZZ of every two qubits of different registers (both in `read`), in the order of `cross_pairs`."""
    kept = set(range(layout.n_qubits) if read is None else read)
    return [_z_string(pair, layout.n_qubits) for pair in cross_pairs(layout) if kept.issuperset(pair)]


def cross_pairs(layout: RegisterLayout) -> Iterator[tuple[int, int]]:
    """Every two qubits of different registers: register pairs in order, then qubits in order."""
    for first, second in layout.pairs():
        yield from ((a, b) for a in layout.qubits(first) for b in layout.qubits(second))


def _z_string(qubits: tuple[int, ...], n_qubits: int) -> SparsePauliOp:
    return SparsePauliOp.from_sparse_list([("Z" * len(qubits), qubits, 1.0)], n_qubits)


class ZAndZZAcross(Readout):
    """<Z> of every qubit, then <ZZ> of every two qubits of different registers: one measurement setting."""

    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        return [*z_of_each(layout.n_qubits, read), *zz_across(layout, read)]
