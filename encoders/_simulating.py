"""What compressors with circuits share."""

from collections.abc import Iterator
from contextlib import contextmanager

from qiskit.circuit import Parameter, QuantumCircuit

from qmm.circuits import FeatureMap, z_of_each
from qmm.contracts import RunsCircuits
from qmm.quantum import Circuit


@contextmanager
def simulated(module: RunsCircuits, exactly: bool) -> Iterator[None]:
    """If `exactly`, its circuits are simulated inside the `with`, wherever they run otherwise."""
    backend, gradient = module.backend, module.gradient
    if exactly:
        module.run_on()
    try:
        yield
    finally:
        module.run_on(backend, gradient)


def state_circuit(feature_map: FeatureMap) -> Circuit:
    """What a built feature map prepares, read out in Z; inputs `x0`, `x1`, ..."""
    inputs = [Parameter(f"x{i}") for i in range(feature_map.n_angles)]
    circuit = QuantumCircuit(feature_map.n_qubits)
    circuit.compose(feature_map.circuit(inputs), inplace=True)
    return Circuit.of(circuit, inputs, (), z_of_each(feature_map.n_qubits))
