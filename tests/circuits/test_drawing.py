"""Drawings set gates across registers off, whatever they are, and leave the circuit as it was."""

from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister

from qmm.circuits import across_registers, draw, draw_latex, draw_text
from qmm.circuits.drawing import _ACROSS


def registers() -> QuantumCircuit:
    return QuantumCircuit(QuantumRegister(2, "vision"), QuantumRegister(2, "my_sensor"))


def zoo() -> QuantumCircuit:
    """Gates of every way in which the drawer colours them: controlled, symmetric, boxes, swaps; within and across."""
    circuit, angles = registers(), iter(Parameter(f"a{i}") for i in range(10))
    for first, second in ((0, 1), (0, 2)):
        circuit.cx(first, second)
        circuit.cx(first, second, ctrl_state=0)
        circuit.cz(first, second)
        circuit.cp(next(angles), first, second)
        circuit.crx(next(angles), first, second)
        circuit.rzz(next(angles), first, second)
        circuit.rxx(next(angles), first, second)
        circuit.swap(first, second)
        circuit.unitary([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], [first, second], label="my_gate")
    circuit.ccx(0, 1, 3)
    circuit.barrier()
    return circuit


def colours(circuit: QuantumCircuit) -> list[str]:
    axes = draw(circuit).axes[0]
    artists = [*axes.patches, *axes.lines, *axes.collections]
    found = []
    for artist in artists:
        colour: Any = artist.get_facecolor if hasattr(artist, "get_facecolor") else artist.get_color  # type: ignore[attr-defined]
        found.append(to_hex(colour()))
    return found


def test_gates_across_registers_are_found() -> None:
    circuit = zoo()
    assert list(across_registers(circuit)) == [circuit.data[i] for i in range(9, 19)]


@pytest.mark.parametrize("number", range(19))
def test_they_and_no_others_have_a_colour_of_their_own(number: int) -> None:
    circuit = zoo()
    one = circuit.copy_empty_like()
    one.append(circuit.data[number])
    assert (_ACROSS in colours(one)) == (number >= 9)


def test_the_colour_is_explained_where_it_occurs() -> None:
    circuit = registers()
    circuit.cx(0, 1)
    assert not any("across" in text.get_text() for text in draw(circuit).axes[0].texts)
    circuit.cx(0, 2)
    (note,) = [text for text in draw(circuit).axes[0].texts if "across" in text.get_text()]
    assert note.get_color() == _ACROSS


def test_labels_are_written_as_they_were() -> None:
    texts = [text.get_text() for text in draw(zoo()).axes[0].texts]
    assert r"$\mathrm{my\_gate}$" in texts
    assert r"$\mathrm{R_{XX}}$" in texts
    assert not any("across:" in text for text in texts)


def test_drawing_changes_nothing() -> None:
    circuit, fresh = zoo(), zoo()
    before = circuit.copy()
    draw(circuit)
    assert circuit == before
    assert [item.operation.label for item in circuit.data] == [item.operation.label for item in fresh.data]


def test_the_paper_is_no_larger_than_the_drawing() -> None:
    figure = draw(zoo())
    (axes,) = figure.axes
    assert axes.get_position().bounds == pytest.approx((0, 0, 1, 1))
    width, height = figure.get_size_inches()
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert width / height == pytest.approx((right - left) / (top - bottom))
    grounds = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_zorder() == -1]
    assert min(g.get_y() for g in grounds) > bottom


def test_a_global_phase_is_not_drawn() -> None:
    circuit = zoo()
    circuit.global_phase = Parameter("phase")
    assert not any("Phase" in text.get_text() for text in draw(circuit).axes[0].texts)


def test_text_and_latex_name_the_registers() -> None:
    assert "my_sensor_1: " in draw_text(zoo())
    latex = draw_latex(zoo())
    assert r"\documentclass" in latex
    assert r"my\_sensor" in latex
