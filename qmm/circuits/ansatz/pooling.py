"""Quantum convolutional network: convolution and pooling by turns, until few qubits are left."""

from collections.abc import Sequence

from qiskit.circuit import Parameter, QuantumCircuit

from qmm.circuits.ansatz.layers import block, bricks, check_rotations, rotate
from qmm.circuits.ansatz.trees import halved
from qmm.circuits.contracts import Ansatz
from qmm.circuits.gates import check_two_qubit_gate, without_unfelt
from qmm.errors import InputError

_ROTATIONS = ("rz", "ry")


def convolution(n_qubits: int, qubits: Sequence[int], rotations: Sequence[str], gate: str) -> QuantumCircuit:
    """One and the same `block` on all neighbours among `qubits`, in two rows: translation invariant, its weights shared."""
    circuit = QuantumCircuit(n_qubits)
    of_one = QuantumCircuit(2)
    block(of_one, 0, 1, rotations, gate, "conv.")
    for row in bricks(qubits):
        for pair in row:
            circuit.compose(of_one, pair, inplace=True)
    return circuit


def pooling(n_qubits: int, pairs: Sequence[tuple[int, int]]) -> QuantumCircuit:
    """Of each pair (a, b), a is measured and b turned about X as the outcome says: by `pool0` for 0, `pool0 + pool1` for 1.

    The measurement is deferred: RX(pool0) on b, then RX(pool1) on b controlled by a, which is looked at no more. All pairs
    share the two weights.
    """
    circuit = QuantumCircuit(n_qubits)
    always, if_one = Parameter("pool0"), Parameter("pool1")
    for a, b in pairs:
        circuit.rx(always, b)
        circuit.crx(if_one, a, b)
    return circuit


def qcnn(n_qubits: int, rotations: Sequence[str] = _ROTATIONS, gate: str = "cx", levels: int | None = None) -> QuantumCircuit:
    """`convolution` and `pooling` by turns, each level with the qubits that the one before has left, with weights of its own.

    Pooling halves their number, and where it is odd keeps the last. It stops after `levels`, by default when one qubit is
    left. A single qubit is turned alone.
    """
    circuit = QuantumCircuit(n_qubits)
    for level, qubits in enumerate(_stages(n_qubits, levels)[:-1]):
        for part in (convolution(n_qubits, qubits, rotations, gate), pooling(n_qubits, halved(qubits)[0])):
            own = {p: Parameter(f"{level}.{p.name}") for p in part.parameters}
            circuit.compose(part.assign_parameters(own), inplace=True)
    if n_qubits == 1:
        rotate(circuit, rotations, 0)
    return without_unfelt(circuit, _stages(n_qubits, levels)[-1])


def _stages(n_qubits: int, levels: int | None) -> list[list[int]]:
    """The qubits of every level, and those left behind the last."""
    stages = [list(range(n_qubits))]
    while len(stages[-1]) > 1 and (levels is None or len(stages) <= levels):
        stages.append(halved(stages[-1])[1])
    return stages


class QCNN(Ansatz):
    """`qcnn`, the quantum convolutional neural network: as many weights as log n, no barren plateaus (arXiv:2011.02966).

    Args:
        rotations: Of both qubits of the convolution's block, in this order: "rx", "ry", "rz".
        gate: Its two-qubit gate, by Qiskit's name.
        levels: How often the register is halved; by default until one qubit is left.
    """

    reference = "arXiv:1810.03787"

    def __init__(self, rotations: Sequence[str] = _ROTATIONS, gate: str = "cx", levels: int | None = None):
        if levels is not None and levels < 1:
            raise InputError(f"levels={levels}; a QCNN pools at least once, or leave it out to pool until one qubit is left")
        self.rotations, self.gate, self.levels = check_rotations(rotations), check_two_qubit_gate(gate), levels

    def circuit(self, n_qubits: int) -> QuantumCircuit:
        return qcnn(n_qubits, self.rotations, self.gate, self.levels)

    def read(self, n_qubits: int) -> tuple[int, ...]:
        return tuple(_stages(n_qubits, self.levels)[-1])
