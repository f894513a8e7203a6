"""Matrix product states: what simulating a circuit by them takes, and how much of the state they lose.

`PrimitiveBackend(Aer(method="matrix_product_state", max_bond_dimension=...))` runs circuits so; here is told how far to trust
it.
"""

import re
import time
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit import transpile
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import PauliList, SparsePauliOp
from torch import Tensor

from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.errors import CircuitError
from qmm.quantum.layer import check_finite, check_shapes

_BONDS = re.compile(r"BD=\[([\d ]*)\]")
_DISCARDED = re.compile(r"discarded_value=([-+.\deE]+)")
_ALONE = Lock()  # Aer keeps one log for the whole process, to which every run adds
_LITTLE = QuantumCircuit(2, 1)
_LITTLE.cx(0, 1)
_LITTLE.measure(0, 0)


class MPSReport(NamedTuple):
    """N samples of a circuit of n qubits as matrix product states."""

    values: NDArray[np.float64]
    """(N, n_outputs): of the truncated states, without shots."""
    bond_dimensions: NDArray[np.int64]
    """(N, n - 1): the largest that each bond of the chain has had."""
    discarded: NDArray[np.float64]
    """(N,): the sum over all gates of the squared Schmidt coefficients that were dropped."""
    fidelity: NDArray[np.float64]
    """(N,): an estimate of the overlap with the state that was to be computed, the product over all gates of what was kept
    (arXiv:2002.07730)."""
    seconds: float
    """Of all samples together."""

    @property
    def error(self) -> NDArray[np.float64]:
        """(N,): at a state of this fidelity, an observable with values in [-1, 1] is off by so much at most."""
        return np.asarray(2 * np.sqrt((1 - self.fidelity).clip(0)))

    def __str__(self) -> str:
        return (
            f"bond dimension {self.bond_dimensions.max(initial=1)}, discarded {self.discarded.max(initial=0):.2e}, "
            f"fidelity {self.fidelity.min(initial=1):.6f}, {self.seconds:.2f} s"
        )


def mps_report(
    circuit: Circuit,
    inputs: Tensor,
    weights: Tensor,
    max_bond_dimension: int | None = None,
    truncation_threshold: float | None = None,
    threads: int | None = None,
) -> MPSReport:
    """Simulates each sample with qiskit-aer's matrix product states, and tells what they took.

    Args:
        circuit: With observables; probabilities of many qubits are just what such states do not give.
        inputs: (N, n_inputs) radians.
        weights: (W,), or (N, W).
        max_bond_dimension: Schmidt coefficients kept at a bond; None: all.
        truncation_threshold: The smallest coefficients are dropped as long as their squares sum to less; None: Aer's 1e-16.
        threads: At most this many; None: as many as torch uses.

    Raises CircuitError for probabilities, for angles that are not finite or do not fit the circuit, and for a bond dimension or
    a threshold that makes no sense.
    """
    from qiskit_aer import AerSimulator

    if isinstance(circuit.observables, Probabilities):
        raise CircuitError("probabilities are read out of a whole state, which matrix product states avoid; take observables")
    if max_bond_dimension is not None and max_bond_dimension < 1:
        raise CircuitError(f"max_bond_dimension={max_bond_dimension}; it is at least 1")
    if truncation_threshold is not None and not 0 <= truncation_threshold < 1:
        raise CircuitError(f"truncation_threshold={truncation_threshold}; it is a share of the state, from 0 to below 1")
    check_shapes(circuit, inputs, weights)
    check_finite(circuit, inputs, weights)
    options = {
        "matrix_product_state_max_bond_dimension": max_bond_dimension,
        "matrix_product_state_truncation_threshold": truncation_threshold,
    }
    simulator = AerSimulator(
        method="matrix_product_state",
        mps_log_data=True,
        fusion_enable=False,
        enable_truncation=False,  # leaving out qubits, Aer 0.18 saves wrong expectation values
        max_parallel_threads=threads or torch.get_num_threads(),
        **{name: value for name, value in options.items() if value is not None},
    )
    written = _written(circuit, simulator)
    bindings = torch.cat([inputs, weights.expand(len(inputs), -1)], dim=1).double().numpy(force=True)
    places = {parameter: i for i, parameter in enumerate((*circuit.inputs, *circuit.weights))}
    columns = [places[parameter] for parameter in written.parameters]
    began = time.perf_counter()
    rows = [_run(simulator, written.assign_parameters(row[columns]), circuit) for row in bindings]
    seconds = time.perf_counter() - began
    n_bonds = circuit.quantum_circuit.num_qubits - 1
    return MPSReport(
        values=np.array([row.values for row in rows]).reshape(len(rows), circuit.n_outputs),
        bond_dimensions=np.array([row.bonds for row in rows], dtype=np.int64).reshape(len(rows), n_bonds),
        discarded=np.array([row.discarded.sum() for row in rows]),
        fidelity=np.array([np.prod(1 - row.discarded) for row in rows]),
        seconds=seconds,
    )


class _Row(NamedTuple):
    values: list[float]
    bonds: NDArray[np.int64]
    discarded: NDArray[np.float64]


def _written(circuit: Circuit, simulator: Any) -> QuantumCircuit:
    """In gates of the simulator, with what it is to save."""
    import qiskit_aer.library  # noqa: F401  # gives circuits save_expectation_value

    written = transpile(circuit.quantum_circuit, simulator, optimization_level=0)
    for output, observable in enumerate(circuit.observables):
        paulis = observable.paulis
        felt = np.flatnonzero((paulis.x | paulis.z).any(axis=0)).tolist() or [0]
        narrow = SparsePauliOp(PauliList.from_symplectic(paulis.z[:, felt], paulis.x[:, felt]), observable.coeffs)
        written.save_expectation_value(narrow, felt, label=str(output))
    return written


def _run(simulator: Any, bound: QuantumCircuit, circuit: Circuit) -> _Row:
    with _ALONE:
        earlier = _log(simulator.run(_LITTLE, shots=1).result())
        result = simulator.run(bound).result()
    if not result.success:
        raise CircuitError(f"qiskit-aer could not simulate the circuit: {result.status}")
    data, log = result.data(), _log(result)[len(earlier) - 1 :]  # all but its closing bracket
    found = [np.array(one.split(), dtype=np.int64) for one in _BONDS.findall(log)]
    n_bonds = circuit.quantum_circuit.num_qubits - 1
    bonds = np.max(found, axis=0) if found and n_bonds else np.ones(n_bonds, np.int64)
    discarded = np.array([float(value) for value in _DISCARDED.findall(log)])
    return _Row([float(np.real(data[str(i)])) for i in range(circuit.n_outputs)], bonds, discarded)


def _log(result: Any) -> str:
    return str(result.results[0].metadata["MPS_log_data"])
