"""What a peer is: a circuit in plain data goes in, values and gradients come out. Imports nothing that a peer may lack."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple


class Gate(NamedTuple):
    name: str
    """Qiskit's."""
    qubits: list[int]
    angles: list[Any]
    """(constant, [(column, coefficient), ...]) each, radians: columns are the inputs, then the weights."""


class Description(NamedTuple):
    """A circuit in the gates of one peer."""

    qubits: int
    inputs: int
    weights: int
    gates: list[Gate]
    observables: list[list[tuple[str, float]]]
    """Sums of Pauli strings, qubit 0 rightmost."""
    source: str
    """The Qiskit circuit that the gates were made of, as `qmm.quantum.Circuit.to_json` writes it."""

    @classmethod
    def read(cls, fields: dict[str, Any]) -> "Description":
        return cls(**{**fields, "gates": [Gate(*gate) for gate in fields["gates"]]})


class Peer(ABC):
    """One framework, made ready for one circuit. A module of this folder has one subclass, called `Peer` too."""

    GATES: Sequence[str] = ()
    """Qiskit's names of the gates it has; the circuit is transpiled to them."""
    PACKAGES: Sequence[str] = ()
    """Distributions whose versions the table prints."""
    DTYPES: Sequence[str] = ("complex64", "complex128")
    """What it computes in; where the one asked for is missing, it runs in the first."""
    DEVICES: Sequence[str] = ("cpu",)
    LARGEST: int | None = None
    """Qubits beyond which it is not tried."""

    def __init__(self, circuit: Description, dtype: str, batch: int, device: str):
        self.circuit, self.dtype, self.batch, self.device = circuit, dtype, batch, device

    def prepare(self, inputs: Any, weights: Any, mixture: Any) -> tuple[Any, Any, Any]:
        """Its own arrays of (B, n_inputs), (W,) and (B, n_observables) float64; not timed."""
        return inputs, weights, mixture

    @abstractmethod
    def forward(self, inputs: Any, weights: Any) -> Any:
        """(B, n_observables)."""

    def step(self, inputs: Any, weights: Any, mixture: Any) -> tuple[Any, Any, Any]:
        """Values and the gradients of sum(values * mixture): (B, n_observables), (B, n_inputs), (W,).

        Raises TypeError in a peer that runs circuits and differentiates nothing.
        """
        raise TypeError(f"{type(self).__module__} computes no gradients; race it in `forward`")


def evaluate(angle: Any, columns: Sequence[Any]) -> Any:
    """An angle in whatever numbers `columns` holds; a column itself where the angle is just that."""
    total, terms = angle
    for column, coefficient in terms:
        term = columns[column] if coefficient == 1 else coefficient * columns[column]
        total = term if isinstance(total, float) and total == 0 else total + term
    return total


def paulis(label: str) -> list[tuple[int, str]]:
    """The qubits that a Pauli string acts on, and how: "ZIX" -> [(0, "X"), (2, "Z")]."""
    return [(qubit, pauli) for qubit, pauli in enumerate(reversed(label)) if pauli != "I"]
