"""Entropies against Qiskit's, of states that are known, and between registers."""

import math

import pytest
import torch
from qiskit import QuantumCircuit, QuantumRegister
from qiskit.quantum_info import Statevector, partial_trace
from qiskit.quantum_info import entropy as qiskit_entropy

from qmm.errors import InputError
from qmm.geometry import between_registers, entropy, mutual_information
from qmm.quantum import Circuit, states


def test_agree_with_qiskit(layered, angles):
    circuit = layered(5, 2)
    vectors = states(circuit, *angles(circuit, 3))
    for qubits in ([0], [3, 1], [4, 0, 2], [0, 1, 2, 3]):
        others = [q for q in range(5) if q not in qubits]
        expected = [qiskit_entropy(partial_trace(Statevector(v.numpy()), others)) for v in vectors]
        assert entropy(vectors, qubits).tolist() == pytest.approx(expected, abs=1e-9)
    three = [partial_trace(Statevector(v.numpy()), [1, 4]) for v in vectors]
    split = [
        qiskit_entropy(partial_trace(r, [1, 2])) + qiskit_entropy(partial_trace(r, [0])) - qiskit_entropy(r) for r in three
    ]
    assert mutual_information(vectors, [0], [2, 3]).tolist() == pytest.approx(split, abs=1e-9)


def test_known_states():
    bell = torch.tensor([[1, 0, 0, 1], [1, 0, 0, 0]], dtype=torch.complex64) / torch.tensor([[math.sqrt(2)], [1]])
    assert entropy(bell, [0]).tolist() == pytest.approx([1, 0], abs=1e-6)
    assert entropy(bell, [0, 1]).tolist() == [0, 0]
    assert mutual_information(bell, [0], [1]).tolist() == pytest.approx([2, 0], abs=1e-6)
    with pytest.raises(InputError, match="0 to 1, each once"):
        entropy(bell, [0, 2])


def test_between_registers():
    vision, audio, text = (QuantumRegister(size, name) for name, size in (("vision", 1), ("audio", 2), ("text", 1)))
    circuit = QuantumCircuit(vision, audio, text)
    circuit.h(0)
    circuit.cx(0, 2)
    own = Circuit.of(circuit, [], [], ["ZZZZ"])
    found = between_registers(own, states(own, torch.zeros(1, 0), torch.zeros(0, dtype=torch.float64)))
    expected = {"vision": 1, "audio": 1, "text": 0, "vision-audio": 2, "vision-text": 0, "audio-text": 0}
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, abs=1e-9)
    plain = Circuit.of(QuantumCircuit(2), [], [], ["ZZ"])
    assert between_registers(plain, torch.ones(1, 4)) == {}
