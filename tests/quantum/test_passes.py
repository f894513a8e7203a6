"""Each step of the compiler alone: what it turns a circuit into."""

import numpy as np
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import Operator

from qmm.quantum import Circuit
from qmm.quantum.lower import lower
from qmm.quantum.operations import Permutation, Phase, Rotation
from qmm.quantum.schedule import image, schedule
from qmm.quantum.tensors.program import LocalStep, Program, compile_program
from qmm.quantum.tensors.runs import apply_blocks, blocks, kron
from qmm.quantum.tensors.steps import PermuteStep, PhaseStep


def ring_circuit(n_qubits: int, layers: int, reupload: bool = False) -> Circuit:
    x, w = ParameterVector("x", n_qubits), ParameterVector("w", 2 * n_qubits * layers)
    circuit = QuantumCircuit(n_qubits)
    weights = iter(w)
    for layer in range(layers):
        for qubit in range(n_qubits):
            if layer == 0 or reupload:
                circuit.ry(x[qubit], qubit)
            circuit.ry(next(weights), qubit)
            circuit.rz(next(weights), qubit)
        for qubit in range(n_qubits):
            circuit.cx(qubit, (qubit + 1) % n_qubits)
    return Circuit.of(circuit, x, w, ["Z" * n_qubits, "Z" + "I" * (n_qubits - 1)])


def _compile(circuit: Circuit) -> Program:
    return compile_program(circuit, lower(circuit.quantum_circuit), circuit.inputs)


def test_lowering_keeps_structure():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.crx(0.3, 0, 1)
    circuit.cy(1, 0)
    circuit.barrier()
    kinds = [type(op) for op in lower(circuit)]
    assert kinds.count(Permutation) == 1  # CY is a permutation, then phases
    assert kinds.count(Phase) == 2
    assert Rotation not in kinds


def test_a_layered_circuit_becomes_one_local_layer_and_one_permutation_a_layer():
    circuit = ring_circuit(5, 3).quantum_circuit
    assert [layer.kind for layer in schedule(lower(circuit), 5)] == ["local", "permutation"] * 3


def test_the_program_starts_with_a_product_and_folds_the_last_permutation():
    program = _compile(ring_circuit(5, 3))
    assert [type(step) for step in program.steps] == [PermuteStep, LocalStep, PermuteStep, LocalStep]
    assert program.per_sample is None
    assert _compile(ring_circuit(5, 3, reupload=True)).shared is None


def test_observables_with_x_keep_the_last_permutation():
    plain = ring_circuit(3, 1)
    program = _compile(Circuit.of(plain.quantum_circuit, plain.inputs, plain.weights, ["XII", "ZZI"]))
    assert [type(step) for step in program.steps] == [PermuteStep]
    assert len(program.readout.bases) == 2


def test_diagonal_gates_become_one_phase_multiply():
    circuit = QuantumCircuit(3)
    circuit.rx(0.3, [0, 1, 2])
    circuit.rzz(0.2, 0, 1)
    circuit.cz(1, 2)
    circuit.rz(0.4, 1)
    circuit.rx(0.1, [0, 1, 2])
    program = _compile(Circuit.of(circuit, observables=["ZII"]))
    assert [type(step) for step in program.steps] == [PhaseStep, LocalStep]


def test_permutations_compose_as_qiskit_multiplies():
    circuit = QuantumCircuit(4)
    circuit.cx(0, 2)
    circuit.swap(1, 3)
    circuit.ccx(3, 0, 1)
    matrix = Operator(circuit).data.real
    np.testing.assert_array_equal(matrix[image(lower(circuit), 4), np.arange(16)], 1)


def test_blocks_multiply_as_their_kronecker_product():
    for n in range(1, 10):
        sizes = blocks(n)
        assert sum(sizes) == n
        assert max(sizes) <= 4
        unitaries = [torch.randn(2**size, 2**size, dtype=torch.complex128) for size in sizes]
        whole = unitaries[0]
        for unitary in unitaries[1:]:
            whole = kron(whole, unitary)
        state = torch.randn(3, 2**n, dtype=torch.complex128)
        torch.testing.assert_close(apply_blocks(state, unitaries), state @ whole.T)
