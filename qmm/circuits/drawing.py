"""Drawings of a circuit: as a figure, each register on a ground of its own colour, and as text."""

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from qiskit.circuit import QuantumCircuit
from qiskit.visualization import circuit_drawer

_COLOURS = ("#dbe9f6", "#fde3cf", "#dff0d8", "#efe0f3", "#fdf3c7", "#d9f0ee")
_COLUMNS = 24  # as many as stay readable on a screen; then the circuit goes on below


def draw(circuit: QuantumCircuit) -> Figure:
    """A figure, wires labelled by register and place, one coloured ground for each quantum register.

    `figure.savefig("circuit.png")` writes it down; the figure is known to no window.
    """
    figure = circuit_drawer(circuit, output="mpl", fold=_COLUMNS)
    plt.close(figure)
    _colour_registers(figure.axes[0], circuit)
    return figure


def draw_text(circuit: QuantumCircuit, width: int = 160) -> str:
    """`width`: characters a line."""
    return str(circuit_drawer(circuit, output="text", fold=width))


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
