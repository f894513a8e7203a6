"""Operator back-propagation: the end of a circuit is taken into its observables, and what is left is shorter.

A gate G before a measurement of O is the measurement of G^+ O G without it. Clifford gates leave a Pauli string a string;
others make sums of strings of it, and with them more measurement bases, which bounds how far this is worth while.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Request
from qmm.quantum.extras import require
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.lower import is_parametrised
from qmm.quantum.pubs import Cache
from qmm.quantum.settings import Parts, group, parts

_WIDEST = 3  # qubits of a gate that is taken in: a sum of up to 4**3 strings
_ZERO = 1e-12  # coefficients below are none
_KEPT = 64  # shortened circuits that a mitigation remembers


class Backpropagated(NamedTuple):
    """A circuit whose end has been taken into its observables."""

    quantum_circuit: QuantumCircuit
    """What is left to run."""
    observables: tuple[SparsePauliOp, ...]
    errors: NDArray[np.float64]
    """(O,): bounds on what truncation changed in each observable's value: the sum of the coefficients that were dropped."""
    absorbed: int
    """Gates that were taken in."""
    absorbed_two_qubit: int
    """Those of them on several qubits."""
    bases: int
    """Measurement bases that the observables now take."""

    def __str__(self) -> str:
        left = sum(len(item.qubits) > 1 and item.name != "barrier" for item in self.quantum_circuit.data)
        return (
            f"{self.absorbed} gates taken into the observables, {self.absorbed_two_qubit} of them on several qubits, {left} of "
            f"these left; {self.bases} measurement bases; truncation error at most {self.errors.max(initial=0):.2g}"
        )


def backpropagate(
    circuit: Circuit,
    weights: Tensor | None = None,
    max_bases: int = 10,
    max_terms: int = 1000,
    max_error: float = 0.0,
) -> tuple[Circuit, Backpropagated]:
    """The circuit without as much of its end as its observables can take in, and what that took.

    Args:
        circuit: With observables.
        weights: (W,), to be bound; None: gates with weights stay, as those with inputs do.
        max_bases: Measurement bases of all observables, at most; each is run with all shots. What they take already is free.
        max_terms: Pauli strings of all observables, at most.
        max_error: By how much truncation may change each value; strings of the smallest coefficients are dropped for it.

    Raises CircuitError for probabilities, and without the extra "scaling".
    """
    if isinstance(circuit.observables, Probabilities):
        raise CircuitError("probabilities are no observables into which gates could be taken; read out observables")
    quantum_circuit = circuit.quantum_circuit
    if weights is not None:
        known = dict(zip(circuit.weights, weights.double().tolist(), strict=True))
        quantum_circuit = quantum_circuit.assign_parameters({p: known[p] for p in quantum_circuit.parameters if p in known})
    found = _shorten(quantum_circuit, circuit.observables, max_bases, max_terms, max_error)
    used = set(found.quantum_circuit.parameters)
    kept = [weight for weight in circuit.weights if weight in used]
    return Circuit.of(found.quantum_circuit, circuit.inputs, kept, found.observables), found


class OperatorBackpropagation(Mitigation):
    """Runs circuits without the end that their observables can take in (arXiv:2502.01897): fewer gates, more bases.

    A parameter that is the same in all samples of a call is a number there, weights in inference for instance, and gates with
    it can be taken in; a circuit of new numbers is transpiled anew. With `bind=False` only gates without parameters are.

    Args:
        max_bases: Measurement bases at most; each is run with all shots. What the observables take already is free.
        max_terms: Pauli strings of all observables, at most.
        max_error: By how much truncation may change each value; what it did is told by `reports`.
        bind: Whether parameters that all samples share are numbers.
    """

    stage = 5

    def __init__(self, max_bases: int = 10, max_terms: int = 1000, max_error: float = 0.0, bind: bool = True):
        """Raises CircuitError for bounds that make no sense."""
        _check(max_bases, max_terms, max_error)
        self.max_bases, self.max_terms, self.max_error, self.bind = max_bases, max_terms, max_error, bind
        self.reports: list[Backpropagated] = []
        """What each circuit took, the latest last; the same circuit with the same numbers once."""
        self._known: Cache[Backpropagated] = Cache(_KEPT)

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError without the extra "scaling"."""
        circuit = self._bound(request)
        observables = request.measurement.observables
        key = Fingerprint(circuit), tuple(tuple(o.to_list()) for o in observables)
        found = self._known.get(key, lambda: self._shorten(circuit, observables))
        own = parts(Circuit(found.quantum_circuit, tuple(found.quantum_circuit.parameters), (), found.observables))
        n = len(request.bindings)
        if not own.measurement.bases:
            return Expansion([], lambda estimates: _constant(own, n))
        shortened = request._replace(circuit=found.quantum_circuit, measurement=own.measurement)
        return Expansion([shortened], lambda estimates: _assembled(own, estimates))

    def _bound(self, request: Request) -> QuantumCircuit:
        if not self.bind or not len(request.bindings):
            return request.circuit
        shared = (request.bindings == request.bindings[0]).all(axis=0)
        used = set(request.circuit.parameters)
        numbers = {p: request.bindings[0, i] for i, p in enumerate(request.parameters) if shared[i] and p in used}
        return request.circuit.assign_parameters(numbers) if numbers else request.circuit

    def _shorten(self, circuit: QuantumCircuit, observables: Sequence[SparsePauliOp]) -> Backpropagated:
        found = _shorten(circuit, observables, self.max_bases, self.max_terms, self.max_error)
        self.reports.append(found)
        del self.reports[:-_KEPT]
        return found


def _shorten(
    circuit: QuantumCircuit, observables: Sequence[SparsePauliOp], max_bases: int, max_terms: int, max_error: float
) -> Backpropagated:
    _check(max_bases, max_terms, max_error)
    strings = [o.simplify(atol=_ZERO) for o in observables]
    errors = np.zeros(len(strings))
    left, stuck = dict(enumerate(circuit.data)), set[int]()
    while candidates := _candidates(left, stuck):
        slices = []
        for place in candidates:
            slices.append(circuit.copy_empty_like())
            slices[-1].append(left[place])
        strings, spent, done = _absorb(slices, strings, max_bases, max_terms, max_error - float(errors.max(initial=0)))
        errors += spent
        for place in candidates[len(candidates) - done :]:
            del left[place]
        if done < len(candidates):
            stuck.add(candidates[-1 - done])
    shorter: QuantumCircuit = circuit.copy_empty_like()
    for item in left.values():
        shorter.append(item)
    taken = [item for place, item in enumerate(circuit.data) if place not in left]
    wide = sum(len(item.qubits) > 1 for item in taken)
    return Backpropagated(shorter, tuple(strings), errors, len(taken), wide, len(group(strings)))


def _candidates(left: dict[int, Any], stuck: set[int]) -> list[int]:
    """The places of gates behind which nothing on their qubits has to stay."""
    found, blocked = [], set[Any]()
    for place in reversed(left):
        item = left[place]
        if item.operation.name == "barrier":
            continue
        if place in stuck or not blocked.isdisjoint(item.qubits) or not _can_be_taken(item.operation):
            blocked.update(item.qubits)
        else:
            found.append(place)
    return found[::-1]


def _can_be_taken(operation: Any) -> bool:
    known = isinstance(operation, Gate) and operation.num_qubits <= _WIDEST and not is_parametrised(operation)
    return known and (hasattr(operation, "__array__") or operation.definition is not None)


def _absorb(
    slices: Sequence[QuantumCircuit], observables: Sequence[SparsePauliOp], max_bases: int, max_terms: int, max_error: float
) -> tuple[list[SparsePauliOp], NDArray[np.float64], int]:
    """The observables before as many of the last slices as the bounds allow, the error of each, and how many slices that is."""
    addon, simplify, truncating = _addon()
    active = [i for i, o in enumerate(observables) if (o.paulis.x | o.paulis.z).any()]  # the addon takes no identities
    if not active:
        return list(observables), np.zeros(len(observables)), len(slices)
    everything = SparsePauliOp.sum([SparsePauliOp(observables[i].paulis) for i in active]).simplify()
    budget = simplify.OperatorBudget(
        max_paulis=max(max_terms, len(everything)),  # what there is already is free
        max_qwc_groups=max(max_bases, len(everything.paulis.group_qubit_wise_commuting())),
        atol=_ZERO,
        rtol=0,
    )
    truncation = truncating.setup_budget(max_error_total=max_error, num_slices=len(slices)) if max_error > 0 else None
    own = [observables[i] for i in active]
    found, _, told = addon.backpropagate(own, slices, operator_budget=budget, truncation_error_budget=truncation)
    done = told.num_backpropagated_slices
    new, spent = list(observables), np.zeros(len(observables))
    if done:  # else what comes back has the gate in it that was too much
        for i, place in enumerate(active):
            new[place], spent[place] = SparsePauliOp(found[i].paulis, found[i].coeffs.real), told.accumulated_error(i, done)
    return new, spent, done


def _addon() -> list[Any]:
    """The addon, and its modules of budgets."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of how it imports qiskit-ibm-runtime
        modules = ("", ".utils.simplify", ".utils.truncating")
        return [require(f"qiskit_addon_obp{module}", "scaling", "back-propagated circuits") for module in modules]


def _assembled(own: Parts, estimates: Sequence[Estimates]) -> Estimates:
    (found,) = estimates
    return Estimates(own.assemble(found.values), own.assemble_variances(found.variances))


def _constant(own: Parts, n: int) -> Estimates:
    """Of observables that have become numbers."""
    values = np.tile(own.offsets, (n, 1))
    return Estimates(values, np.zeros_like(values))


def _check(max_bases: int, max_terms: int, max_error: float) -> None:
    for name, value in (("max_bases", max_bases), ("max_terms", max_terms)):
        if value < 1:
            raise CircuitError(f"{name}={value}; there is at least one")
    if not max_error >= 0:
        raise CircuitError(f"max_error={max_error}; it is how much a value may change, 0 or more")
