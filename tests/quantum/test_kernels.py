"""The parts of the CPU engine, each alone: against numpy, scipy and Qiskit."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba import njit
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import RXGate, RYGate, RZGate
from qiskit.quantum_info import Operator, random_unitary
from scipy.linalg import hadamard

from qmm.quantum import Circuit
from qmm.quantum.kernels.euler import GENERAL, IMAGINARY, REAL, REFLECTION, kind, rotations, split_layers
from qmm.quantum.kernels.loops import walsh_hadamard
from qmm.quantum.kernels.tape import DENSE, LOCAL, PERMUTATION, PHASE, compile_tape
from qmm.quantum.kernels.vectors import lanes, vector_function
from qmm.quantum.lower import lower
from qmm.quantum.operations import Local, Rotation
from qmm.quantum.schedule import cancel, schedule

_GATES = {"X": RXGate, "Y": RYGate, "Z": RZGate}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_vector_function_works_on_whole_vectors(dtype):
    @vector_function
    def combine(values, to, pair, factor):
        values[to] = values[pair[0]] * values.splat(factor) - values[pair[1]] + values[to * 2 + 1]

    @njit
    def run(values):
        combine(values, 0, (1, 2), 3)

    size = lanes(dtype().itemsize)
    values = np.random.default_rng(0).normal(size=(4, size)).astype(dtype)
    expected = values[1] * values[0, 3] - values[2] + values[1]
    flat = values.reshape(-1).copy()
    run(flat)
    np.testing.assert_allclose(flat[:size], expected, rtol=1e-5)
    np.testing.assert_array_equal(flat[size:], values[1:].reshape(-1))


@pytest.mark.parametrize("n", range(1, 8))
def test_walsh_hadamard_is_scipys(n):
    @njit
    def run(values):
        walsh_hadamard(values, n)

    size = lanes(8)
    values = np.random.default_rng(n).normal(size=(2**n, size))
    flat = values.reshape(-1).copy()
    run(flat)
    np.testing.assert_allclose(flat.reshape(-1, size), hadamard(2**n) @ values, atol=1e-12)


@pytest.mark.parametrize(
    "matrix", [*(random_unitary(2, seed=i).data for i in range(8)), *(Operator.from_label(g).data for g in "IXYZHST")]
)
def test_rotations_multiply_to_the_matrix_they_stand_for(matrix):
    product = np.eye(2)
    for rotation in rotations(Local((0,), matrix)):
        product = _GATES[rotation.axis](rotation.angle).to_matrix() @ product
    overlap = np.trace(product.conj().T @ matrix) / 2
    assert abs(overlap) == pytest.approx(1, abs=1e-12)


def test_kinds_of_runs():
    angle = Parameter("a")
    y, x, z = (Rotation((0,), axis, angle) for axis in "YXZ")
    (half, turn) = rotations(Local((0,), Operator.from_label("H").data))
    assert kind([y, y]) == REAL
    assert kind([half, turn, y]) == REFLECTION
    assert kind([half, turn, y, half, turn]) == REAL
    assert kind([x, x]) == IMAGINARY
    assert kind([x, y]) == kind([y, z]) == GENERAL


def test_outer_rz_become_phases_where_that_leaves_real_layers():
    circuit = QuantumCircuit(3)
    angle = Parameter("a")
    for q in range(3):
        circuit.h(q)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    for q in range(3):
        circuit.rz(angle, q)
        circuit.ry(angle, q)
        circuit.rz(2 * angle, q)
    circuit.swap(0, 2)
    layers = split_layers(schedule(lower(circuit), 3), 3)
    assert [layer.kind for layer in layers] == ["local", "permutation", "phase", "local", "phase", "permutation"]
    assert {op.axis for op in layers[3].operations} == {"Y"}


def test_gates_that_undo_each_other_are_left_out():
    circuit = QuantumCircuit(3)
    angle = Parameter("a")
    circuit.rxx(angle, 0, 1)
    circuit.rxx(angle, 1, 2)
    circuit.s(0)
    circuit.sdg(0)
    operations = cancel(lower(circuit))
    assert [op.qubits for op in operations] == [(0,), (1,), (0, 1), (0,), (2,), (1, 2), (1,), (2,)]  # H on 1 met H
    layers = schedule(lower(circuit), 3)
    assert [layer.kind for layer in layers] == ["local", "phase", "local"]
    assert len(layers[1].operations) == 2


def test_the_tape_of_a_circuit():
    circuit = QuantumCircuit(3)
    x, w = Parameter("x"), Parameter("w")
    circuit.ry(x, 0)
    circuit.h(1)
    circuit.cx(0, 1)
    circuit.rzz(w, 0, 2)
    circuit.rx(w, [0, 1, 2])
    circuit.unitary(random_unitary(4, seed=0), [0, 2])
    tape, shared, sample = compile_tape(Circuit.of(circuit, [x], [w], ["XYZ", "IIZ"]), lower(circuit), {x})
    assert [kind for kind, _ in tape.steps] == [PERMUTATION, PHASE, LOCAL, DENSE]
    assert (tape.n_qubits, tape.n_outputs, tape.n_slots - tape.n_shared) == (3, 2, 1)
    assert shared.of_inputs is None
    assert sample.of_inputs is not None
    assert len(tape.read.x_terms) == len(tape.read.z_terms) == 1


@pytest.mark.slow
def test_narrow_vectors_compute_the_same(tmp_path):
    """Without AVX-512 a vector holds half as many samples; the kernels are compiled anew for it, on any machine."""
    code = """
import numpy as np, sys, torch
from qmm.quantum.kernels import vectors
vectors._BYTES = 32
from qmm.quantum import ExactBackend, expectations
sys.path.insert(0, "tests/quantum")
from conftest import random_circuit
for seed in range(10):
    circuit = random_circuit(np.random.default_rng(seed), 5, 15)
    inputs, weights = torch.randn(21, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    found = []
    for engine in ("kernels", "torch"):
        leaves = [inputs.clone().requires_grad_(), weights.clone().requires_grad_()]
        values = expectations(circuit, *leaves, ExactBackend(engine))
        found.append((values, *torch.autograd.grad(values.square().sum(), leaves)))
    torch.testing.assert_close(*found, atol=1e-9, rtol=1e-9)
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}  # the usual cache holds wide vectors
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=300, env=environment)
