"""One register's circuits: angles end up where the docstrings say, costs are counted, drawings show the registers."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from qiskit.circuit import ParameterVector, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import Pauli, Statevector

from qmm.circuits import angle_encoding, count, cross_pairs, draw, draw_text, rotations_and_ring, z_of_each, zz_across
from qmm.errors import InputError
from qmm.quantum import Circuit
from qmm.registers import RegisterLayout


@pytest.mark.parametrize("features", [1, 2, 3, 4, 5, 6])
def test_each_qubit_points_where_its_two_angles_say(features):
    angles = ParameterVector("x", features)
    values = np.linspace(0.3, 2.8, features)
    state = Statevector(angle_encoding(angles, 3).assign_parameters(values))
    for qubit in range(3):
        polar, azimuth = (values[i] if i < features else 0.0 for i in (qubit, qubit + 3))
        expected = [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)]
        np.testing.assert_allclose(_bloch(state, qubit), expected, atol=1e-12)


def test_too_many_angles_are_refused():
    with pytest.raises(InputError, match="5 angles for 2 qubits; a register holds two a qubit, 4 here"):
        angle_encoding(ParameterVector("x", 5), 2)


@pytest.mark.parametrize(("n_qubits", "pairs"), [(1, []), (2, [(0, 1)]), (3, [(0, 1), (1, 2), (2, 0)])])
def test_the_ring_closes_from_three_qubits_on(n_qubits, pairs):
    circuit = rotations_and_ring(n_qubits)
    assert [tuple(circuit.find_bit(q).index for q in item.qubits) for item in circuit.get_instructions("cx")] == pairs
    assert circuit.num_parameters == 2 * n_qubits


def test_observables_follow_the_layout():
    layout = RegisterLayout({"vision": 2, "audio": 1, "text": 1})
    assert [o.paulis[0].to_label() for o in z_of_each(3)] == ["IIZ", "IZI", "ZII"]
    assert list(cross_pairs(layout)) == [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    assert [o.paulis[0].to_label() for o in zz_across(layout)] == ["IZIZ", "IZZI", "ZIIZ", "ZIZI", "ZZII"]
    assert zz_across(RegisterLayout({"text": 3})) == []


def registers() -> QuantumCircuit:
    circuit = QuantumCircuit(QuantumRegister(2, "vision"), QuantumRegister(1, "audio"))
    for layer in range(9):
        angles = ParameterVector(f"w{layer}", 3)
        for qubit in range(3):
            circuit.ry(angles[qubit], qubit)
        circuit.cx(0, 1)
        circuit.ccx(0, 1, 2)
        circuit.barrier()
    return circuit


def test_counts():
    circuit = registers()
    counts = count(Circuit.of(circuit, circuit.parameters[:3], observables=["ZZZ"]))
    assert counts == (3, 27, 45, 18, 3, 24, 1)


def test_a_drawing_colours_every_register_in_every_row(tmp_path):
    figure = draw(registers())
    grounds = [p for p in figure.axes[0].patches if isinstance(p, Rectangle) and p.get_zorder() == -1]
    first, second = grounds[:2]
    assert (first.get_y(), first.get_height()) == (-1.5, 2)
    assert (second.get_y(), second.get_height()) == (-2.5, 1)
    assert first.get_facecolor() != second.get_facecolor()
    labels = [t for t in figure.axes[0].texts if t.get_text() == "${audio}$"]
    assert len(labels) == 2  # the circuit goes on in a second row
    assert len(grounds) == 2 * len(labels)
    assert {round(label.get_position()[1] - 0.5, 6) for label in labels} == {g.get_y() for g in grounds[1::2]}
    figure.savefig(tmp_path / "circuit.png")
    assert (tmp_path / "circuit.png").stat().st_size > 10_000


def test_text_names_the_registers():
    text = draw_text(registers())
    assert "vision_1:" in text
    assert "audio:" in text


def _bloch(state: Statevector, qubit: int) -> list[float]:
    labels = ["".join("XYZ"[axis] if q == qubit else "I" for q in reversed(range(3))) for axis in range(3)]
    return [state.expectation_value(Pauli(label)).real for label in labels]
