"""Binary quadratic models as Hamiltonians, and back.

Variable i, in the order of the model, is qubit i. A bit of 1 is x = 1, the spin s = 2 x - 1 = +1 and Z = -1: Z = -s.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from dimod import BINARY, BinaryQuadraticModel
from numpy.typing import NDArray
from qiskit.quantum_info import SparsePauliOp

from qmm.discrete.problem import biases
from qmm.errors import InputError

_ZERO = 1e-12


class Ising(NamedTuple):
    """energy = offset + sum_i fields[i] Z_i + sum_e couplings[e] Z_i Z_j with (i, j) = pairs[e]."""

    fields: NDArray[np.float64]
    """(n,)"""
    pairs: NDArray[np.int64]
    """(E, 2)"""
    couplings: NDArray[np.float64]
    """(E,), none of them 0"""
    offset: float

    @property
    def n_qubits(self) -> int:
        return len(self.fields)

    @property
    def scale(self) -> float:
        """The root mean square of the field that a qubit feels when the others point at random; 1 where all are 0."""
        squares = self.fields**2
        np.add.at(squares, self.pairs.ravel(), np.repeat(self.couplings**2, 2))
        return float(np.sqrt(squares.mean())) or 1.0

    def hamiltonian(self) -> SparsePauliOp:
        """Diagonal; its eigenvalue at a basis state is the energy of these bits."""
        terms = [("", [], self.offset), *(("Z", [i], h) for i, h in enumerate(self.fields.tolist()) if h)]
        terms += [("ZZ", pair, j) for pair, j in zip(self.pairs.tolist(), self.couplings.tolist(), strict=True)]
        return SparsePauliOp.from_sparse_list(terms, self.n_qubits)


def ising(model: BinaryQuadraticModel) -> Ising:
    """The same energies in terms of Z. Raises InputError for a model without variables."""
    if not model.num_variables:
        raise InputError("a model without variables; there is nothing to choose")
    found = biases(model.spin)
    kept = found.quadratic != 0
    return Ising(-found.linear, found.pairs[kept], found.quadratic[kept], found.offset)


def hamiltonian(model: BinaryQuadraticModel) -> SparsePauliOp:
    """The diagonal Hamiltonian whose eigenvalue at a basis state is the model's energy for these bits."""
    return ising(model).hamiltonian()


def from_hamiltonian(operator: SparsePauliOp, names: Sequence[Hashable] | None = None) -> BinaryQuadraticModel:
    """The model, over 0 and 1, of a Hamiltonian of Z and ZZ: what `hamiltonian` undoes.

    Args:
        names: Of the variables; by default 0, 1, ...

    Raises InputError for other Pauli strings, for complex coefficients, and for names of another number.
    """
    n = operator.num_qubits
    names = list(range(n)) if names is None else list(names)
    if len(set(names)) != n:
        raise InputError(f"{len(set(names))} different names for {n} qubits; give each one of its own")
    model = BinaryQuadraticModel("SPIN")
    for name in names:
        model.add_linear(name, 0.0)
    for label, qubits, coefficient in operator.simplify().to_sparse_list():
        if abs(coefficient.imag) > _ZERO or set(label) - {"Z"} or len(label) > 2:
            raise InputError(
                f"the Hamiltonian has the term {coefficient:.4g} {label} on {list(qubits)}; a binary quadratic model is made "
                "of real multiples of Z and ZZ alone: take qmm.discrete.VQE for others"
            )
        value = float(coefficient.real)
        if not label:
            model.offset += value
        elif len(label) == 1:
            model.add_linear(names[qubits[0]], -value)
        else:
            model.add_quadratic(names[qubits[0]], names[qubits[1]], value)
    return model.change_vartype(BINARY, inplace=False)
