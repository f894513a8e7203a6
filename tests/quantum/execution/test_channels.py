"""Noisy circuits in the Pauli basis against qiskit-aer's density matrices."""

from collections.abc import Callable

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, ParameterVector
from qiskit.circuit.library import (
    CPhaseGate,
    CRXGate,
    PauliEvolutionGate,
    PhaseGate,
    RXGate,
    RXXGate,
    RYGate,
    RYYGate,
    RZGate,
    RZXGate,
    RZZGate,
    UGate,
    UnitaryGate,
    XGate,
)
from qiskit.quantum_info import DensityMatrix, Pauli, SparsePauliOp, random_unitary
from qiskit_aer import AerSimulator
from qiskit_aer.noise import (
    LocalNoisePass,
    NoiseModel,
    PauliLindbladError,
    RelaxationNoisePass,
    amplitude_damping_error,
    depolarizing_error,
    pauli_error,
    thermal_relaxation_error,
)

from qmm.quantum.execution.simulators.channels import Errors, UnsuitedError
from qmm.quantum.execution.simulators.propagation import Program

ANGLES = ParameterVector("a", 4)


def noise() -> NoiseModel:
    """Errors of every kind: for all qubits, for some, on directed edges, by label, on two qubits at once, while waiting."""
    model = NoiseModel()
    damping = amplitude_damping_error(0.08)
    model.add_all_qubit_quantum_error(depolarizing_error(0.05, 1).compose(damping), ["rx", "ry", "h", "u", "x", "reset"])
    model.add_quantum_error(thermal_relaxation_error(50, 60, 5), ["rx", "sx"], [1])
    model.add_all_qubit_quantum_error(depolarizing_error(0.08, 2), ["cx", "rzz", "rxx", "cp", "unitary"])
    model.add_quantum_error(pauli_error([("XY", 0.2), ("II", 0.8)]).compose(damping.tensor(damping)), ["cx"], [2, 0])
    model.add_all_qubit_quantum_error(pauli_error([("Z", 0.3), ("I", 0.7)]), "special")
    model._custom_noise_passes.append(RelaxationNoisePass([5e-5] * 3, [6e-5] * 3, 1e-9, type(QuantumCircuit(1).delay(1, 0)[0])))
    return model


def aer(circuit: QuantumCircuit, model: NoiseModel | None, values: np.ndarray) -> list[DensityMatrix]:
    body = circuit.copy()
    body.save_density_matrix()
    simulator = AerSimulator(method="density_matrix", noise_model=model, zero_threshold=0.0, fusion_enable=False)
    runs = [body.assign_parameters(row) for row in values]
    return [DensityMatrix(found.data.density_matrix) for found in simulator.run(runs, shots=1).result().results]


def check(circuit: QuantumCircuit, model: NoiseModel | None = None, rows: int = 3, seed: int = 0) -> None:
    """Each Pauli string's expectation value, and the probabilities of two qubits in either order."""
    values = np.random.default_rng(seed).uniform(-3, 3, (rows, circuit.num_parameters))
    program = Program(circuit, Errors(model))
    n = circuit.num_qubits
    strings = np.arange(4**n)
    found = program.expectations(values, strings)
    expected = aer(circuit, model, values)
    labels = ["".join("IXYZ"[string >> 2 * q & 3] for q in reversed(range(n))) for string in strings]
    operators = [Pauli(label).to_matrix() for label in labels]
    for row, state in zip(found, expected, strict=True):
        np.testing.assert_allclose(row, [np.trace(o @ state.data).real for o in operators], atol=1e-10)
    for qubits in ([n - 1, 0], [0], []):
        probabilities = program.probabilities(values, qubits)
        np.testing.assert_allclose(
            probabilities,
            [state.probabilities(qubits or [0]).reshape(2 ** len(qubits), -1).sum(1) for state in expected],
            atol=1e-10,
        )


def layered(n: int, gates: int, seed: int) -> QuantumCircuit:
    """Random gates of one, two and three qubits, fixed and with expressions of parameters, on random qubits."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(n, global_phase=ANGLES[0])
    for i in range(gates):
        a, b, c = rng.permutation(n)[:3].tolist()
        angle = [ANGLES[i % 4], 0.3 - 2 * ANGLES[i % 4], ANGLES[0] * ANGLES[3], np.sin(i)][rng.integers(4)]
        match rng.integers(13):
            case 0:
                circuit.rx(angle, a)
            case 1:
                circuit.ry(angle, a)
            case 2:
                circuit.rz(angle, a)
            case 3:
                circuit.p(angle, a)
            case 4:
                circuit.u(angle, 0.2, ANGLES[1], a)
            case 5:
                circuit.rzz(angle, a, b)
            case 6:
                circuit.cx(a, b)
            case 7:
                circuit.cp(angle, a, b)
            case 8:
                circuit.sx(a)
                circuit.ecr(a, b)
            case 9:
                circuit.h(a)
                circuit.barrier()
            case 10:
                circuit.ccx(a, b, c)
            case 11:
                circuit.delay(7000, a, "ns")
            case 12:
                circuit.append(XGate(label="special"), [a])
    return circuit


@pytest.mark.parametrize("seed", range(4))
def test_random_circuits(seed: int) -> None:
    check(layered(3, 25, seed), noise(), seed=seed)
    check(layered(3, 15, seed), None, seed=seed)


@pytest.mark.parametrize(
    "gate",
    [RXGate, RYGate, RZGate, PhaseGate, RXXGate, RYYGate, RZZGate, RZXGate, CPhaseGate, CRXGate,
     lambda a: UGate(a, 0.3, 2 * a), lambda a: RZZGate(a).control(1, ctrl_state=0).base_gate,
     lambda a: PauliEvolutionGate(SparsePauliOp(["XY", "YX"], [0.5, 0.3]), a)],
)  # fmt: skip
def test_gates_with_a_parameter(gate: Callable[..., Gate]) -> None:
    made = gate(ANGLES[0])
    circuit = QuantumCircuit(3)
    circuit.h([0, 1, 2])
    circuit.t(1)
    circuit.append(made, [2, 0][: made.num_qubits])
    circuit.rx(ANGLES[1], 2)
    if isinstance(made, PauliEvolutionGate | CRXGate):  # which qiskit-aer's density matrices do not take
        values = np.random.default_rng(0).uniform(-3, 3, (3, 2))
        found = Program(circuit, Errors(None)).probabilities(values, [0, 1, 2])
        exact = [DensityMatrix(circuit.decompose("PauliEvolution").assign_parameters(row)).probabilities() for row in values]
        np.testing.assert_allclose(found, exact, atol=1e-10)
    else:
        check(circuit, noise())


def test_channels_in_the_circuit_and_resets() -> None:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.append(PauliLindbladError([Pauli("XI"), Pauli("YZ")], [0.1, 0.05]), [2, 0])
    circuit.append(UnitaryGate(random_unitary(4, seed=3)), [1, 2])
    circuit.reset(1)
    circuit.append(depolarizing_error(0.2, 1), [2])
    circuit.ry(0.4, 1)
    check(circuit, noise(), rows=1)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 40])
def test_any_number_of_bindings_and_threads(rows: int) -> None:
    circuit = layered(3, 12, 1)
    program = Program(circuit, Errors(noise()))
    values = np.random.default_rng(1).normal(size=(rows, circuit.num_parameters))
    alone = np.concatenate([program.probabilities(row[None], [0, 2]) for row in values])
    np.testing.assert_allclose(program.probabilities(values, [0, 2], threads=3), alone, atol=1e-14)
    assert np.abs(alone.sum(axis=1) - 1).max() < 1e-12


def test_no_parameters_no_gates() -> None:
    circuit = QuantumCircuit(2)
    np.testing.assert_allclose(Program(circuit, Errors(None)).probabilities(np.zeros((4, 0)), [1]), [[1, 0]] * 4)


def _measured() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    return circuit


def _branching() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    return circuit


def _wide() -> QuantumCircuit:
    circuit = QuantumCircuit(4)
    circuit.mcx([0, 1, 2], 3)
    return circuit


def _open_control() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1, ctrl_state=0)
    return circuit


def _initialised() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.initialize([0, 1], 0)
    return circuit


@pytest.mark.parametrize("make", [_measured, _branching, _wide, _open_control, _initialised])
def test_circuits_that_are_left_to_qiskit_aer(make: Callable[[], QuantumCircuit]) -> None:
    with pytest.raises(UnsuitedError):
        Program(make(), Errors(noise()))


def test_noise_that_is_left_to_qiskit_aer() -> None:
    model = NoiseModel()
    model._custom_noise_passes.append(LocalNoisePass(lambda op, qubits: None))
    with pytest.raises(UnsuitedError, match="custom noise passes"):
        Errors(model)
    model = NoiseModel()
    model.add_all_qubit_readout_error([[0.9, 0.1], [0.1, 0.9]])
    assert Errors(model).reads_qubit_by_qubit
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), "measure")
    assert not Errors(model).reads_qubit_by_qubit
