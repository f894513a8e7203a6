"""The circuit of QAOA and of Trotterised annealing: turns about the cost and about X in alternation, and bits drawn from it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from dimod import BinaryQuadraticModel, SampleSet
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor

from qmm.discrete.ising import Ising
from qmm.errors import InputError
from qmm.quantum import Backend, Circuit, CompiledCircuit, ExactBackend, Probabilities, expectations, states
from qmm.quantum.execution import Estimates, PrimitiveBackend, Request
from qmm.quantum.settings import parts

WIDEST = 20
"""Qubits of a state that takes 16 MiB, and less than a second a step."""


def alternating_circuit(cost: Ising, layers: int) -> Circuit:
    """From all qubits in |+>, layer by layer exp(-i gamma C / scale), then exp(-i beta sum_i X_i).

    C is the cost without its offset and `scale` is `cost.scale`, so that gammas of order 1 matter whatever the units. The
    weights are gamma_1 ... gamma_p, beta_1 ... beta_p; what is measured is the cost, offset included.
    """
    n = cost.n_qubits
    gammas, betas = ([Parameter(f"{name}{layer}") for layer in range(layers)] for name in ("gamma", "beta"))
    circuit = QuantumCircuit(n)
    circuit.h(range(n))
    for gamma, beta in zip(gammas, betas, strict=True):
        for qubit, field in enumerate((cost.fields / cost.scale).tolist()):
            if field:
                circuit.rz(2 * field * gamma, qubit)
        for pair, coupling in zip(cost.pairs.tolist(), (cost.couplings / cost.scale).tolist(), strict=True):
            circuit.rzz(2 * coupling * gamma, *pair)
        circuit.rx(2 * beta, range(n))
    return Circuit.of(circuit, (), [*gammas, *betas], [cost.hamiltonian()])


def check_width(n_variables: int, most: int) -> None:
    """Raises InputError for more variables than qubits are allowed."""
    if n_variables > most:
        raise InputError(
            f"{n_variables} variables take as many qubits, and `most` allows {most}; take SimulatedAnnealing or TabuSearch, "
            "leave candidates out, or raise `most` where a device or the memory has room"
        )


def no_inputs() -> Tensor:
    """(1, 0): one sample of a circuit without inputs."""
    return torch.empty(1, 0, dtype=torch.float64)


def draw_bits(circuit: CompiledCircuit, weights: Tensor, backend: Backend | None, shots: int, seed: int) -> NDArray[np.int8]:
    """(shots, n): the bits of all qubits, measured at the end of the circuit.

    Args:
        circuit: Without inputs.
        weights: (W,) float64.
        backend: Where; None: drawn from the exact state. A PrimitiveBackend hands its shots over as they are, unmitigated; of
            any other, basis states' probabilities are asked for, which limits the number of qubits.
        shots: How many.
        seed: Of what is drawn here; a backend has its own.

    Raises InputError for a backend that has only an estimator, which gives no bits.
    """
    n = circuit.circuit.quantum_circuit.num_qubits
    if isinstance(backend, PrimitiveBackend):
        return _measure(circuit.circuit, weights, backend, shots)
    if isinstance(backend, ExactBackend | None):
        with torch.no_grad():
            found = states(circuit, no_inputs(), weights)[0].abs().square().numpy()
    else:
        whole = Circuit.of(circuit.circuit.quantum_circuit, (), circuit.circuit.weights, Probabilities(tuple(range(n))))
        with torch.no_grad():
            found = expectations(whole, no_inputs(), weights, backend)[0].numpy().clip(min=0)  # estimates may be below 0
    places = np.random.default_rng(seed).choice(len(found), shots, p=found / found.sum())
    return (places[:, None] >> np.arange(n) & 1).astype(np.int8)


def as_samples(bits: NDArray[np.int8], model: BinaryQuadraticModel, info: dict[str, Any]) -> SampleSet:
    """(shots, n) bits as samples of the model, in its own vartype; equal ones together."""
    values = bits if model.vartype.name == "BINARY" else 2 * bits - 1
    found = SampleSet.from_samples_bqm((values, list(model.variables)), model).aggregate()
    found.info.update(info)
    return found


class _Bits:
    """Reads nothing out of what was measured but keeps it: (shots, n), qubit by qubit of the circuit as it was written."""

    found: NDArray[np.int8]

    def read(self, bits: NDArray[np.bool_], basis: Any, observables: Sequence[SparsePauliOp]) -> Estimates:
        measured = np.flatnonzero(basis.z | basis.x)
        places = [int(np.searchsorted(measured, np.flatnonzero(o.paulis.z[0])[0])) for o in observables]
        self.found = bits.reshape(-1, bits.shape[-1])[:, places].astype(np.int8)
        return Estimates(np.zeros((1, len(observables))), np.zeros((1, len(observables))))


def _measure(circuit: Circuit, weights: Tensor, backend: PrimitiveBackend, shots: int) -> NDArray[np.int8]:
    """Shots of the backend's device, by a request whose reader keeps the bits."""
    n = circuit.quantum_circuit.num_qubits
    zs = [SparsePauliOp.from_sparse_list([("Z", [qubit], 1.0)], n) for qubit in range(n)]
    wanted = circuit._replace(observables=tuple(zs))
    bits = _Bits()
    request = Request(circuit.quantum_circuit, circuit.weights, weights[None].numpy(), parts(wanted).measurement, shots)
    if backend.provider.sampler(0) is None:
        raise InputError(f"{backend.provider.name} has an estimator alone, and bits are asked for; take one with a sampler")
    backend.dispatcher.submit([backend.transpiler(request._replace(reader=bits))]).result()
    return bits.found
