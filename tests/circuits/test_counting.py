"""Counts and costs of a circuit on the exact engine."""

import math

import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit

from qmm.circuits import count, state_bytes, step_time
from qmm.errors import InputError
from qmm.quantum import Circuit, states


@pytest.fixture
def circuit() -> Circuit:
    x, a, b = Parameter("x"), Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(3)
    circuit.ry(x, 0)
    circuit.barrier()
    circuit.rz(a, 0)
    circuit.cx(0, 1)
    circuit.rzz(b, 1, 2)
    circuit.h(2)
    return Circuit.of(circuit, [x], [a, b], ["IIZ", "XII"])


def test_counts_are_qiskits_own(circuit: Circuit) -> None:
    found, quantum_circuit = count(circuit), circuit.quantum_circuit
    gates = {name: n for name, n in quantum_circuit.count_ops().items() if name != "barrier"}
    assert found.gates == sum(gates.values())
    assert found.two_qubit_gates == gates["cx"] + gates["rzz"] == quantum_circuit.num_nonlocal_gates()
    assert found.depth == quantum_circuit.depth()
    assert found[-3:] == (1, 2, 2)


def test_memory_is_that_of_the_states(circuit: Circuit) -> None:
    for dtype, real in ((torch.complex64, torch.float32), (torch.complex128, torch.float64)):
        made = states(circuit, torch.rand(5, 1), torch.rand(2, dtype=real))
        assert state_bytes(circuit, 5, dtype) == made.nbytes == 5 * 8 * dtype.itemsize
    assert state_bytes(Circuit.of(QuantumCircuit(40), observables=["Z" * 40])) == 2**43  # asked, not allocated


def test_a_step_takes_time(circuit: Circuit) -> None:
    for dtype in (torch.float32, torch.float64):
        seconds = step_time(circuit, batch_size=2, repeats=2, dtype=dtype)
        assert math.isfinite(seconds)
        assert seconds > 0


def test_bad_input(circuit: Circuit) -> None:
    with pytest.raises(InputError, match="batch_size=0"):
        step_time(circuit, batch_size=0)
    with pytest.raises(InputError, match="repeats=0"):
        step_time(circuit, repeats=0)
    with pytest.raises(InputError, match="no training step"):
        step_time(Circuit.of(QuantumCircuit(1), observables=["Z"]))
