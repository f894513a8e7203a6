"""Drawings of a circuit: as a figure, each register on a ground of its own colour, as text, and as LaTeX."""

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from qiskit.circuit import CircuitInstruction, ControlledGate, Operation, QuantumCircuit
from qiskit.visualization import circuit_drawer

_COLOURS = ("#dbe9f6", "#fde3cf", "#dff0d8", "#efe0f3", "#fdf3c7", "#d9f0ee")
_ACROSS = "#d9480f"
_COLUMNS = 24  # as many as stay readable on a screen; then the circuit goes on below
_INCHES = 0.65  # a column, at which the drawer's fonts fit its boxes
_MARK = "across:"  # stands before the label of a gate that touches several registers, where the drawer looks for its colour
_WRITTEN = {"rx": "R_X", "ry": "R_Y", "rz": "R_Z", "rxx": "R_{XX}", "ryy": "R_{YY}", "rzx": "R_{ZX}", "rzz": "ZZ"}  # as it does


def draw(circuit: QuantumCircuit) -> Figure:
    """A figure: wires labelled by register and place, one coloured ground for each quantum register, gates that touch several
    registers in a colour of their own.

    `figure.savefig("circuit.png")` writes it down; the figure is known to no window.
    """
    marked, names = _mark_across(circuit)
    style = {"displaycolor": dict.fromkeys(names, (_ACROSS, "#ffffff")), "displaytext": names}
    figure = circuit_drawer(marked, output="mpl", fold=_COLUMNS, style=style)
    plt.close(figure)
    axes = figure.axes[0]
    _colour_registers(axes, circuit)
    if names:
        _explain_colour(axes)
    _trim(figure)
    return figure


def draw_text(circuit: QuantumCircuit, width: int = 160) -> str:
    """`width`: characters a line."""
    return str(circuit_drawer(circuit, output="text", fold=width))


def draw_latex(circuit: QuantumCircuit) -> str:
    """A LaTeX document that draws the circuit, for `pdflatex` with the package qcircuit."""
    return str(circuit_drawer(circuit, output="latex_source"))


def across_registers(circuit: QuantumCircuit) -> list[CircuitInstruction]:
    """The gates that touch several quantum registers, barriers apart."""
    home = {qubit: index for index, register in enumerate(circuit.qregs) for qubit in register}
    gates = (item for item in circuit.data if item.operation.name != "barrier")
    return [item for item in gates if len({home[qubit] for qubit in item.qubits}) > 1]


def _mark_across(circuit: QuantumCircuit) -> tuple[QuantumCircuit, dict[str, str]]:
    """The circuit with marked labels on the gates across registers, and how the drawer is to write each mark."""
    marked, names = circuit.copy_empty_like(), {}
    marked.global_phase = 0  # which nothing that is measured depends on
    home = {qubit: index for index, register in enumerate(circuit.qregs) for qubit in register}
    for item in circuit.data:
        operation = item.operation
        if operation.name != "barrier" and len({home[qubit] for qubit in item.qubits}) > 1:
            operation, mark, written = _marked(operation)
            names[mark] = written
        marked.append(operation, item.qubits, item.clbits)
    return marked, names


def _marked(operation: Operation) -> tuple[Operation, str, str]:
    """A copy whose label (a controlled gate's: that of its base gate) is the mark, the mark, and what is to be read there."""
    copy: Any = operation.to_mutable()
    if isinstance(copy, ControlledGate):
        copy.base_gate = copy.base_gate.to_mutable()
    labelled = copy.base_gate if isinstance(copy, ControlledGate) else copy
    written = labelled.label or _WRITTEN.get(labelled.name, labelled.name.capitalize())
    labelled.label = _MARK + (labelled.label or labelled.name)
    return copy, labelled.label, written.replace("_", r"\_") if labelled.name not in _WRITTEN else written


def _colour_registers(axes: Axes, circuit: QuantumCircuit) -> None:
    (left, right), bottom = axes.get_xlim(), axes.get_ylim()[0]
    wires_a_row = circuit.num_qubits + (1 if circuit.num_clbits else 0) + 1  # the drawer leaves one free between rows
    top = 0.5  # wire 0 is at y = 0, the others 1 apart below it
    while top - circuit.num_qubits > bottom:
        for index, register in enumerate(circuit.qregs):
            below = 1 + max(circuit.find_bit(qubit).index for qubit in register)
            ground = Rectangle(
                (left, top - below), right - left, register.size, color=_COLOURS[index % len(_COLOURS)], zorder=-1
            )
            axes.add_patch(ground)
        top -= wires_a_row


def _explain_colour(axes: Axes) -> None:
    """What the colour of gates across registers means, in a line below the drawing."""
    left, (bottom, top) = axes.get_xlim()[0], axes.get_ylim()
    axes.set_ylim(bottom - 0.5, top)
    axes.text(left + 0.1, bottom - 0.2, "\u25cf across registers", color=_ACROSS, fontsize=10, va="center", zorder=100)


def _trim(figure: Figure) -> None:
    """Paper for the drawing alone, at the drawing's own scale: margins that the drawer leaves grow with the circuit."""
    axes = figure.axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    figure.set_size_inches((right - left) * _INCHES, (top - bottom) * _INCHES)
    axes.set_position((0, 0, 1, 1))
