"""What a backend asks of a device, and what comes back: requests that mitigations rewrite, estimates that they combine."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.quantum_info import Pauli, SparsePauliOp

from qmm.quantum.errors import CircuitError
from qmm.quantum.settings import Measurement


class Estimates(NamedTuple):
    """Estimated expectation values, and the variances of these estimates (the squares of their standard errors)."""

    values: NDArray[np.float64]
    """(N, P): a row for each binding, a column for each observable."""
    variances: NDArray[np.float64]
    """(N, P)"""


class Reader(Protocol):
    """Makes estimates of the bits of one basis: for read-out errors that are undone bit by bit, or shots that are discarded."""

    def read(self, bits: NDArray[np.bool_], basis: Pauli, observables: Sequence[SparsePauliOp]) -> Estimates:
        """Args:
        bits: (N, shots, k), those of the k qubits that `basis` measures, in the order of the qubits.
        basis: Over all qubits of the circuit.
        observables: Those that this basis gives, over all qubits.
        """
        ...


class Request(NamedTuple):
    """One circuit to run for many bindings of its parameters, and what to measure."""

    circuit: QuantumCircuit
    """Without measurements. First as written, later in the instruction set of a device, on all of its qubits."""
    parameters: tuple[Parameter, ...]
    """(D,): which column of the bindings each parameter is. Those that the circuit has lost are left out when it runs."""
    bindings: NDArray[np.float64]
    """(N, D) radians"""
    measurement: Measurement
    shots: int
    """Of each binding, in each basis."""
    initial_layout: tuple[int, ...] | None = None
    """The physical qubit of each of the circuit's, where it is prescribed; None leaves it to the transpiler."""
    reader: Reader | None = None
    """How bits are read where averages of them are not all; only samplers can."""
    variants: int = 1
    """How many requests like this one, drawn at random, share the shots: what is randomized later needs fewer of its own."""


class Expansion(NamedTuple):
    """What is run in place of one request, and how the estimates of these make those of the request."""

    requests: list[Request]
    combine: Callable[[Sequence[Estimates]], Estimates]


class Execution(NamedTuple):
    """What a mitigation may know of where its requests run."""

    device: BackendV2 | None
    noise_model: Callable[[], Any]
    """Of a simulated device, on its physical qubits; None where it is not known. Putting one together takes seconds."""
    rng: np.random.Generator
    run: Callable[[Sequence[Request]], list[Estimates]]
    """Runs requests at once, for calibration. They are not mitigated."""
    transpile: Callable[[Request], Request]
    memory: dict[Hashable, Any]
    """What mitigations keep of a backend, calibrations for instance; their keys begin with a name of their own."""


class Mitigation(ABC):
    """Rewrites what is run so that noise can be taken out of what is estimated.

    Mitigations are applied in the order of their stages, whatever the order they are given in: those below `PHYSICAL` see the
    circuit as it was written, the others in the instruction set of the device. Estimates are combined in the reverse order.
    """

    PHYSICAL: ClassVar[int] = 100
    stage: ClassVar[int]
    needs_sampler: ClassVar[bool] = False
    """Whether it needs bits, which an estimator does not give."""
    reads_out: ClassVar[bool] = False
    """Whether it reads what is measured in a way of its own, as all that need bits do: one mitigation at most can."""

    @abstractmethod
    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError where the request or the device is not one that it can work with."""


def arranged(mitigations: Sequence[Mitigation]) -> list[Mitigation]:
    """In the order of their stages. Raises CircuitError for two of a kind, and where two want to read what is measured."""
    found = sorted(mitigations, key=lambda m: m.stage)
    names = [type(m).__name__ for m in found]
    for first, second in pairwise(names):
        if first == second:
            raise CircuitError(f"{first} came twice, and would mitigate what it has mitigated; keep one of them")
    readers = [name for name, m in zip(names, found, strict=True) if m.reads_out or m.needs_sampler]
    if len(readers) > 1:
        raise CircuitError(f"{' and '.join(readers)} each read what is measured in a way of their own; keep one of them")
    return found
