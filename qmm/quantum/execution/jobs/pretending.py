"""What calibrations would find, for plans: nothing is sent."""

import numpy as np
from qiskit.quantum_info import PauliList, SparsePauliOp

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.answers import estimator_pub
from qmm.quantum.execution.requests import Estimates, Request
from qmm.quantum.primitives import ExactEstimator

_WIDEST = 16  # qubits that are simulated
_OTHERWISE = 0.9  # what is taken for the values of others: calibrations expect something near 1


def pretended(request: Request) -> Estimates:
    """What a device without errors would give, with the variances of shots."""
    shape = len(request.bindings), len(request.measurement.observables)
    try:
        values = _simulated(request)
    except CircuitError:  # delays, resets
        values = np.full(shape, _OTHERWISE)
    return Estimates(values.reshape(shape), np.full(shape, 1 / request.shots))


def _simulated(request: Request) -> np.ndarray:
    from qmm.quantum.execution.simulators.region import narrowed, touched

    observables = request.measurement.observables
    supports = [np.flatnonzero((o.paulis.x | o.paulis.z).any(axis=0)).tolist() for o in observables]
    region = touched(request.circuit, sorted({qubit for support in supports for qubit in support}))
    if len(region) > _WIDEST:
        raise CircuitError(f"{len(region)} qubits are too many to pretend")
    strings = [PauliList.from_symplectic(o.paulis.z[:, region], o.paulis.x[:, region]) for o in observables]
    own = tuple(SparsePauliOp(s, o.coeffs) for s, o in zip(strings, observables, strict=True))
    measurement = request.measurement._replace(observables=own)
    narrow = request._replace(circuit=narrowed(request.circuit, region), measurement=measurement)
    (result,) = ExactEstimator().run([estimator_pub(narrow)]).result()
    return np.asarray(result.data.evs)
