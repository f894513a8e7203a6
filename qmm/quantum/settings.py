"""Measurement settings: which Pauli strings are measured at once, and what of a circuit's outputs each of them gives.

Pauli strings that differ on no qubit, identities apart, are measured at once: turn each qubit so that its axis becomes Z, and
read the bits. A setting is such a group; each string belongs to one, identities to none, since they need no measurement.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.quantum_info import Pauli, PauliList, SparsePauliOp

from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.errors import CircuitError

_WIDEST_PROBABILITIES = 12  # qubits whose basis states are written as projectors: 2**k outputs of 2**k strings each


class Setting(NamedTuple):
    """What is measured at once."""

    basis: Pauli
    """The axis in which each qubit is measured; I where it is not."""
    terms: PauliList
    """The Pauli strings that are read out of the bits."""


class Measurement(NamedTuple):
    """P observables, each of which one of the bases gives: its strings commute qubit by qubit, and none is the identity."""

    observables: tuple[SparsePauliOp, ...]
    bases: tuple[Pauli, ...]
    """The axis in which each qubit is measured; I where it is not. A circuit is run once for each basis."""
    homes: tuple[int, ...]
    """(P,): the basis of each observable."""

    def apply_layout(self, layout: Any) -> Self:
        """The same on the qubits of a transpiled circuit, `circuit.layout`; itself where there is none."""
        if layout is None:
            return self
        return self._replace(
            observables=tuple(o.apply_layout(layout) for o in self.observables),
            bases=tuple(basis.apply_layout(layout) for basis in self.bases),
        )


class Parts(NamedTuple):
    """A circuit's outputs, taken apart into what one setting gives: an output is the sum of the observables placed at it."""

    measurement: Measurement
    places: NDArray[np.int64]
    """(P,): the output that each observable is a part of."""
    offsets: NDArray[np.float64]
    """(n_outputs,): what the identity adds."""

    def assemble(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, P) -> (N, n_outputs)"""
        found = np.tile(self.offsets, (len(values), 1))
        np.add.at(found.T, self.places, values.T)
        return found

    def assemble_variances(self, variances: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, P) -> (N, n_outputs), of parts that are measured independently of each other."""
        return self._replace(offsets=np.zeros_like(self.offsets)).assemble(variances)


def settings(circuit: Circuit) -> list[Setting]:
    """Groups of qubit-wise commuting Pauli strings that hold every term of the circuit's observables, the identity apart.

    Found by colouring a graph, which is not always the least number. Probabilities are one setting: Z of their qubits.
    """
    if isinstance(circuit.observables, Probabilities):
        z = np.zeros((len(circuit.observables.qubits), circuit.quantum_circuit.num_qubits), dtype=bool)
        z[range(len(z)), list(circuit.observables.qubits)] = True
        return [_setting(PauliList.from_symplectic(z, np.zeros_like(z)))]
    return group(circuit.observables)


def group(observables: Sequence[SparsePauliOp]) -> list[Setting]:
    """The settings that hold every term of these observables, the identity apart."""
    terms = [o.paulis[(o.paulis.x | o.paulis.z).any(axis=1)] for o in observables]
    found = [t for t in terms if len(t)]
    return [_setting(together) for together in _concatenate(found).unique().group_qubit_wise_commuting()] if found else []


def parts(circuit: Circuit) -> Parts:
    """The outputs of a circuit by measurement setting. Raises CircuitError for probabilities of too many qubits."""
    found = settings(circuit)
    bases = tuple(setting.basis for setting in found)
    if isinstance(circuit.observables, Probabilities):
        observables, places, offsets = _projectors(circuit.observables, circuit.quantum_circuit.num_qubits)
        return Parts(Measurement(tuple(observables), bases, (0,) * len(observables)), np.array(places, np.int64), offsets)
    home = {label: g for g, setting in enumerate(found) for label in setting.terms.to_labels()}
    observables, places, homes, offsets = [], [], [], np.zeros(circuit.n_outputs)
    for output, observable in enumerate(circuit.observables):
        simple = observable.simplify()
        groups = np.array([home.get(label, -1) for label in simple.paulis.to_labels()])
        offsets[output] = simple.coeffs.real[groups == -1].sum()
        for g in np.unique(groups[groups >= 0]).tolist():
            observables.append(simple[groups == g])
            places.append(output)
            homes.append(g)
    return Parts(Measurement(tuple(observables), bases, tuple(homes)), np.array(places, np.int64), offsets)


def measured(circuit: QuantumCircuit, basis: Pauli) -> QuantumCircuit:
    """The circuit with a measurement of each qubit that is not I in `basis`, in their order, into a register "measured"."""
    qubits = np.flatnonzero(basis.x | basis.z)
    bits = ClassicalRegister(len(qubits), "measured")
    read_out = circuit.copy()
    read_out.add_register(bits)
    for bit, qubit in zip(bits, qubits.tolist(), strict=True):
        if basis.x[qubit]:
            if basis.z[qubit]:
                read_out.sdg(qubit)
            read_out.h(qubit)
        read_out.measure(qubit, bit)
    return read_out


def _projectors(wanted: Probabilities, n_qubits: int) -> tuple[list[SparsePauliOp], list[int], NDArray[np.float64]]:
    """Observables without identities, the output of each, and what the identities add to the outputs.

    A projector on a basis state is a sum of Z strings: prod_q (1 + (-1)**bit Z_q) / 2.
    """
    k = len(wanted.qubits)
    if k > _WIDEST_PROBABILITIES:
        raise CircuitError(
            f"probabilities of the {2**k:,} states of {k} qubits; from shots, at most {_WIDEST_PROBABILITIES} qubits are read "
            "out so: take observables, or fewer qubits"
        )
    strings = np.arange(2**k)
    z = np.zeros((2**k, n_qubits), dtype=bool)
    for i, qubit in enumerate(wanted.qubits):
        z[:, qubit] = strings >> i & 1
    outcomes = np.array(wanted.outcomes if wanted.outcomes is not None else strings)
    signs = 1 - 2 * (np.bitwise_count(strings[:, None] & strings) & 1).astype(np.int64)  # (strings, states)
    observables, places, offsets = [], [], np.zeros(wanted.n_outputs)
    for output in np.unique(outcomes):
        coefficients = signs[:, outcomes == output].sum(axis=1) / 2**k
        offsets[output] = coefficients[0]
        used = np.flatnonzero(coefficients[1:]) + 1
        if len(used):
            observables.append(SparsePauliOp(PauliList.from_symplectic(z[used], np.zeros_like(z[used])), coefficients[used]))
            places.append(int(output))
    return observables, places, offsets


def _setting(terms: PauliList) -> Setting:
    return Setting(Pauli((terms.z.any(axis=0), terms.x.any(axis=0))), terms)


def _concatenate(lists: Sequence[PauliList]) -> PauliList:
    return PauliList.from_symplectic(np.concatenate([t.z for t in lists]), np.concatenate([t.x for t in lists]))
