"""VQE: the least energy of a Hamiltonian over the states that a circuit can make."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from scipy.sparse.linalg import eigsh
from torch import Tensor

from qmm.circuits import Ansatz, HardwareEfficient, drop_unfelt
from qmm.config import Configurable
from qmm.discrete.minimising import CircuitValue, OptimiserMaker, minimise
from qmm.discrete.solver import positive
from qmm.errors import InputError
from qmm.quantum import Backend, Circuit, CompiledCircuit, Gradient

_DIAGONALISED = 14  # qubits up to which the exact energy is computed beside: a second or two
_DENSE = 5  # up to here by a dense matrix, which Lanczos' method needs larger
_SPREAD = 0.1  # of the first weights, in radians: near the identity, where gradients do not vanish (arXiv:2203.09376)


class Ground(NamedTuple):
    """What a VQE found."""

    energy: float
    """As it was found: with shots, the smallest of many estimates is smaller than what it estimates."""
    weights: Tensor
    """(W,) float64"""
    energies: NDArray[np.float64]
    """By step: behind each of a scipy method, before each of a torch optimiser."""
    exact: float | None
    """The least eigenvalue; None where there are too many qubits."""
    evaluations: int
    """Of the circuit, gradients counted as one each."""
    circuit: Circuit

    @property
    def gap(self) -> float | None:
        """How far the energy is above the exact one."""
        return None if self.exact is None else self.energy - self.exact


class VQE(Configurable):
    """The variational quantum eigensolver (arXiv:1304.3061): a circuit's weights are optimised so that a Hamiltonian's
    expectation value is small. Whatever loss can be written as a Hamiltonian is trained so.

    Args:
        ansatz: One layer of the circuit; by default HardwareEfficient with CX along a line.
        layers: How many.
        optimiser: By name ("L-BFGS-B", "COBYLA", "Adam", ...) or what makes one, as in `qmm.discrete.minimise`; with shots take
            "COBYLA", or "Adam", whose gradients are by parameter shift.
        steps: Of the optimiser, at most.
        learning_rate: Of a torch optimiser that is given by its name.
        backend: Where the circuit runs; by default exactly.
        gradient: How it is differentiated; by default the backend's own way.
        seed: Of the first weights.
        journal: A file that evaluations are kept in, to go on from after a kill.
    """

    def __init__(
        self,
        ansatz: Ansatz | None = None,
        layers: int = 3,
        optimiser: str | OptimiserMaker = "L-BFGS-B",
        steps: int = 500,
        learning_rate: float = 0.1,
        backend: Backend | None = None,
        gradient: Gradient | None = None,
        seed: int = 0,
        journal: str | None = None,
    ):
        positive(layers=layers, steps=steps, learning_rate=learning_rate)
        self.ansatz = ansatz or HardwareEfficient(entanglement="linear")
        self.layers, self.steps, self.learning_rate, self.seed = layers, steps, learning_rate, seed
        self.optimiser, self.backend, self.gradient, self.journal = optimiser, backend, gradient, journal

    def run(
        self,
        hamiltonian: SparsePauliOp | Mapping[str, float],
        circuit: QuantumCircuit | None = None,
        initial: ArrayLike | None = None,
    ) -> Ground:
        """The least energy found.

        Args:
            hamiltonian: Or real multiples of Pauli strings, {"ZZ": -1.0, "XI": 0.5}; qubit 0 is the rightmost.
            circuit: In place of layers of the ansatz: all of its parameters are weights.
            initial: (W,), the first weights; by default N(0, 0.1).

        Raises InputError for a Hamiltonian that is none, for a circuit of another width or without parameters, and for first
        weights of another number.
        """
        operator = as_operator(hamiltonian)
        n = operator.num_qubits
        if circuit is None:
            problem = drop_unfelt(Circuit.of(layered(self.ansatz, n, self.layers), observables=[operator]))
        else:
            if circuit.num_qubits != n:
                raise InputError(f"the Hamiltonian acts on {n} qubits, the circuit has {circuit.num_qubits}; make them equal")
            problem = Circuit.of(circuit, observables=[operator])
        if not problem.weights:
            raise InputError("no weight of the circuit changes the energy; give it parameters that do")
        function = CircuitValue(
            CompiledCircuit(problem), self.backend, self.gradient, self.journal, f"{self.optimiser} {self.learning_rate}"
        )
        start = self._start(len(problem.weights), initial)
        found = minimise(function, start, self.optimiser, self.steps, self.learning_rate, progress="VQE")
        exact = ground_energy(operator) if n <= _DIAGONALISED else None
        return Ground(found.value, found.weights, found.values, exact, found.evaluations, problem)

    def _start(self, size: int, initial: ArrayLike | None) -> NDArray[np.float64]:
        if initial is None:
            generator = torch.Generator().manual_seed(self.seed)
            return (_SPREAD * torch.randn(size, generator=generator, dtype=torch.float64)).numpy()
        start = np.asarray(initial, np.float64)
        if start.shape != (size,) or not np.isfinite(start).all():
            raise InputError(f"first weights of shape {start.shape}; expected ({size},) finite numbers")
        return start


def layered(ansatz: Ansatz, n_qubits: int, layers: int) -> QuantumCircuit:
    """Layers of an ansatz, one behind the other; the weights of layer l are called "l.name"."""
    found = QuantumCircuit(n_qubits)
    one = ansatz.circuit(n_qubits)
    for layer in range(layers):
        named = {parameter: Parameter(f"{layer}.{parameter.name}") for parameter in one.parameters}
        found.compose(one.assign_parameters(named), inplace=True)
    return found


def as_operator(hamiltonian: SparsePauliOp | Mapping[str, float]) -> SparsePauliOp:
    """Raises InputError for what is no Hamiltonian: complex coefficients, strings of different lengths or of other letters."""
    if isinstance(hamiltonian, Mapping):
        if not hamiltonian or len({len(label) for label in hamiltonian}) > 1 or set("".join(hamiltonian)) - set("IXYZ"):
            raise InputError(
                f"a Hamiltonian of {list(hamiltonian)[:5]}; expected Pauli strings of one length, made of I, X, Y and Z"
            )
        hamiltonian = SparsePauliOp.from_list([(label, float(c)) for label, c in hamiltonian.items()])
    if not isinstance(hamiltonian, SparsePauliOp):
        raise InputError(f"a {type(hamiltonian).__name__} as Hamiltonian; expected a SparsePauliOp, or numbers by Pauli string")
    coefficients = hamiltonian.coeffs.astype(complex)
    if not np.isfinite(coefficients).all() or np.abs(coefficients.imag).max(initial=0) > 1e-12:
        raise InputError("the Hamiltonian has coefficients that are not real and finite; an energy is a real number")
    return hamiltonian.simplify()


def ground_energy(hamiltonian: SparsePauliOp) -> float:
    """The least eigenvalue, by diagonalisation: dense for few qubits, else by Lanczos' method."""
    if hamiltonian.num_qubits <= _DENSE:
        return float(np.linalg.eigvalsh(hamiltonian.to_matrix())[0])
    matrix = hamiltonian.to_matrix(sparse=True).tocsr()
    start = np.random.default_rng(0).normal(size=matrix.shape[0])
    return float(eigsh(matrix, k=1, which="SA", v0=start, return_eigenvectors=False)[0])
