"""Read-outs: which observables are measured, and what is made of their values. A value that needs a missing modality is 0."""

from collections.abc import Sequence

from qiskit.quantum_info import SparsePauliOp
from torch import Tensor, nn

from qmm.circuits.contracts import Readout
from qmm.circuits.observables import basis_state_projectors, parities, pauli_strings, random_paulis, z_of_each, zz_across
from qmm.errors import InputError
from qmm.registers import RegisterLayout


class ZReadout(Readout):
    """<Z> of every qubit: one measurement setting, and the fewest numbers that still tell every qubit."""

    reference = "arXiv:1803.00745"

    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        return z_of_each(layout.n_qubits, read)


class ZAndZZAcross(Readout):
    """<Z> of every qubit, then <ZZ> of every two qubits of different registers: one measurement setting."""

    reference = "arXiv:1804.11326"

    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        return [*z_of_each(layout.n_qubits, read), *zz_across(layout, read)]


class PauliStrings(Readout):
    """`pauli_strings`: X, Y and Z of every qubit, or all strings up to a weight.

    Args:
        weight: The most factors of a string. Their number grows as (qubits * axes)**weight, the settings as axes**weight.
        axes: Which of X, Y and Z.
        across: Only strings that act on two registers or more; these tell nothing of a modality that is alone.
    """

    reference = "arXiv:2406.04305"

    def __init__(self, weight: int = 1, axes: str = "XYZ", across: bool = False):
        super().__init__()
        self.weight, self.axes, self.across = weight, axes, across

    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        return pauli_strings(layout, read, self.weight, self.axes, self.across)


class SingleRegister(Readout):
    """One register is read, and learns of the others by what entangles it with them; without its modality, all is 0.

    Args:
        modality: By default the layout's first.
        weight: The most factors of a Pauli string, as in `PauliStrings`.
        axes: Which of X, Y and Z; Z alone is one measurement setting.
    """

    reference = "arXiv:1802.06002"

    def __init__(self, modality: str | None = None, weight: int = 1, axes: str = "Z"):
        super().__init__()
        self.modality, self.weight, self.axes = modality, weight, axes

    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        """Raises InputError for a modality that has no register."""
        own = layout.qubits(layout.modalities[0] if self.modality is None else self.modality)
        return pauli_strings(layout, [qubit for qubit in read if qubit in own], self.weight, self.axes)


class Parity(Readout):
    """<Z...Z>: how even the number of ones is, in one measurement setting.

    Args:
        registers: Of each register by itself.
        pairs: Of every two registers together.
        everything: Of all registers together.
    """

    reference = "arXiv:1804.11326"

    def __init__(self, registers: bool = True, pairs: bool = True, everything: bool = True):
        super().__init__()
        if not (registers or pairs or everything):
            raise InputError("a parity of nothing: set one of `registers`, `pairs` and `everything`")
        self.registers, self.pairs, self.everything = registers, pairs, everything

    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        """Raises InputError where only pairs are asked for, and there is one register."""
        n_registers = len(layout.modalities)
        wanted = {1: self.registers, 2: self.pairs}
        sizes = {size for size, asked in wanted.items() if asked and size <= n_registers}
        found = parities(layout, read, sizes | ({n_registers} if self.everything else set()))
        if not found:
            raise InputError(f"parities of pairs, but {layout.modalities[0]!r} is the only register; set `registers`")
        return found


class RegisterProbabilities(Readout):
    """How likely each basis state of each register is: 2**k numbers for k qubits, which add up to 1, in one setting."""

    reference = "arXiv:1803.07128"

    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        """Raises InputError for a register too wide for it."""
        own = ([qubit for qubit in read if qubit in layout.qubits(modality)] for modality in layout.modalities)
        return [projector for qubits in own for projector in basis_state_projectors(qubits, layout.n_qubits)]


class RandomPaulis(Readout):
    """`random_paulis`: a random, but seeded, sketch of the state, in the manner of classical shadows.

    Args:
        count: How many strings, at most.
        locality: The most factors of a string.
        seed: Of the draw; the same layout and seed give the same strings.
    """

    reference = "arXiv:2002.08953"

    def __init__(self, count: int = 32, locality: int = 2, seed: int = 0):
        super().__init__()
        self.count, self.locality, self.seed = count, locality, seed

    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        return random_paulis(read, layout.n_qubits, self.count, self.locality, self.seed)


class TrainableObservable(Readout):
    """Trained Hermitian observables: (B, P) values of Pauli strings -> (B, outputs), <O_j> = sum_p a_jp <P_p>.

    The a_jp are real and there is no bias, so that each output is the expectation value of one operator, and strings of a
    missing modality add nothing. Shots are counted for the strings; an output's error is theirs weighed by a.

    Args:
        outputs: How many observables.
        weight: The most factors of a string, as in `PauliStrings`.
        axes: Which of X, Y and Z.
    """

    reference = "arXiv:2504.13414"

    def __init__(self, outputs: int = 8, weight: int = 2, axes: str = "XYZ"):
        super().__init__()
        if outputs < 1:
            raise InputError(f"outputs={outputs} trained observables; give at least 1")
        self.outputs, self.weight, self.axes = outputs, weight, axes

    def observables(self, layout: RegisterLayout, read: Sequence[int]) -> list[SparsePauliOp]:
        return pauli_strings(layout, read, self.weight, self.axes)

    def build(self, n_observables: int) -> None:
        self.out_features = self.outputs
        self.coefficients = nn.Linear(n_observables, self.outputs, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        return self.coefficients(values)
