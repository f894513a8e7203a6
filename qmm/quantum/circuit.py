"""Circuit: a Qiskit circuit whose parameters are split into inputs and weights, and the observables that are read out."""

import base64
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qiskit import qpy
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Pauli, SparsePauliOp

from qmm.quantum.errors import CircuitError


class Probabilities(NamedTuple):
    """Read out how likely the basis states of some qubits are, instead of observables."""

    qubits: tuple[int, ...]
    """Bit i of a basis state is `qubits[i]`."""
    outcomes: tuple[int, ...] | None = None
    """For each of the 2**k basis states the output that its probability is added to; None: an output each."""
    width: int | None = None
    """The number of outputs where it is more than `outcomes` reaches: the others are 0."""

    @property
    def n_outputs(self) -> int:
        if self.width is not None:
            return self.width
        return 2 ** len(self.qubits) if self.outcomes is None else max(self.outcomes) + 1

    def table(self, n_qubits: int) -> NDArray[np.int64]:
        """(2**n,): the output of each basis state of the whole circuit."""
        states = np.arange(2**n_qubits)
        local = sum((((states >> q) & 1) << i for i, q in enumerate(self.qubits)), np.zeros_like(states))
        return local if self.outcomes is None else np.array(self.outcomes)[local]

    def check(self, n_qubits: int) -> None:
        """Raises CircuitError for qubits that the circuit has not, named twice, or outcomes of the wrong number."""
        wrong = [q for q in self.qubits if not 0 <= q < n_qubits]
        if wrong or len(set(self.qubits)) < len(self.qubits):
            raise CircuitError(f"probabilities of qubits {list(self.qubits)}; the circuit has 0 to {n_qubits - 1}, each once")
        if self.outcomes is not None and (len(self.outcomes) != 2 ** len(self.qubits) or min(self.outcomes) < 0):
            states = 2 ** len(self.qubits)
            raise CircuitError(f"{len(self.outcomes)} outcomes of {len(self.qubits)} qubits; give {states} of 0 or more")
        least = self._replace(width=None).n_outputs
        if self.n_outputs < least:
            raise CircuitError(f"width={self.width}; the outcomes need at least {least} outputs")


Readouts: TypeAlias = tuple[SparsePauliOp, ...] | Probabilities


class Circuit(NamedTuple):
    quantum_circuit: QuantumCircuit
    inputs: tuple[Parameter, ...]
    """One angle each, given per sample: (B, n_inputs)."""
    weights: tuple[Parameter, ...]
    """Trained: (n_weights,)."""
    observables: Readouts
    """Each gives one number per sample: (B, n_outputs)."""

    @property
    def n_outputs(self) -> int:
        return self.observables.n_outputs if isinstance(self.observables, Probabilities) else len(self.observables)

    @classmethod
    def of(
        cls,
        quantum_circuit: QuantumCircuit,
        inputs: Iterable[Parameter] = (),
        weights: Iterable[Parameter] | None = None,
        observables: Sequence[SparsePauliOp | Pauli | str] | Probabilities = (),
    ) -> Self:
        """A checked Circuit. Without `weights`, every parameter that is no input is one, in the order of
        `quantum_circuit.parameters`; an observable may also be a Pauli string such as "ZZI" (qubit 0 is the rightmost).

        Raises CircuitError, as `check` does.
        """
        inputs = tuple(inputs)
        if weights is None:
            weights = (p for p in quantum_circuit.parameters if p not in inputs)
        if not isinstance(observables, Probabilities):
            observables = tuple(o if isinstance(o, SparsePauliOp) else SparsePauliOp(o) for o in observables)
        return cls(quantum_circuit, inputs, tuple(weights), observables).check()

    def check(self) -> Self:
        """Itself, if every parameter is an input or a weight, and every observable is real and as wide as the circuit.

        Raises CircuitError otherwise.
        """
        named = (*self.inputs, *self.weights)
        if len(set(named)) < len(named):
            twice = sorted({p.name for p in named if named.count(p) > 1})
            raise CircuitError(f"parameters named twice among inputs and weights: {', '.join(twice)}; name each once")
        known = set(named)
        unknown = [p.name for p in self.quantum_circuit.parameters if p not in known]
        if unknown:
            raise CircuitError(f"parameters that are neither input nor weight: {', '.join(unknown)}; list each in one")
        if isinstance(self.observables, Probabilities):
            self.observables.check(self.quantum_circuit.num_qubits)
            return self
        if not self.observables:
            raise CircuitError("a circuit needs at least one observable to read out, got none")
        for index, observable in enumerate(self.observables):
            _check_observable(observable, index, self.quantum_circuit.num_qubits)
        return self

    def to_json(self) -> str:
        """Everything about it as text, the quantum circuit as base64 of Qiskit's QPY."""
        buffer = io.BytesIO()
        qpy.dump(self.quantum_circuit, buffer)
        read: Any = (
            self.observables._asdict()
            if isinstance(self.observables, Probabilities)
            else [[[label, float(c.real)] for label, c in o.to_list()] for o in self.observables]
        )
        return json.dumps(
            {
                "qpy": base64.b64encode(buffer.getvalue()).decode(),
                "inputs": [p.name for p in self.inputs],
                "weights": [p.name for p in self.weights],
                "observables": read,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote. A parameter that the quantum circuit does not use is a new one of its name."""
        data = json.loads(text)
        (quantum_circuit,) = qpy.load(io.BytesIO(base64.b64decode(data["qpy"])))
        used = {p.name: p for p in quantum_circuit.parameters}
        inputs, weights = (tuple(used.get(name) or Parameter(name) for name in data[kind]) for kind in ("inputs", "weights"))
        read = data["observables"]
        if isinstance(read, dict):
            outcomes = read["outcomes"]
            read_out: Any = Probabilities(tuple(read["qubits"]), None if outcomes is None else tuple(outcomes), read["width"])
        else:
            read_out = tuple(SparsePauliOp.from_list(terms) for terms in read)
        return cls(quantum_circuit, inputs, weights, read_out).check()


def _check_observable(observable: SparsePauliOp, index: int, n_qubits: int) -> None:
    if observable.num_qubits != n_qubits:
        width = observable.num_qubits
        raise CircuitError(f"observable {index} acts on {width} qubits, the circuit has {n_qubits}; pad it with I")
    if observable.coeffs.dtype == object:
        raise CircuitError(f"observable {index} has parameters among its coefficients; give it numbers")
    if np.any(np.abs(observable.coeffs.imag) > 1e-12):
        raise CircuitError(f"observable {index} has complex coefficients; a measurable quantity has real ones")
