"""RegisterLayout: which qubits belong to which modality. Its order is THE order: of modalities, of qubits, of features."""

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

from qmm.errors import InputError


class RegisterLayout:
    """Consecutive qubits for each modality, in the order given.

    >>> layout = RegisterLayout({"vision": 2, "audio": 3})
    >>> layout.qubits("audio")
    (2, 3, 4)
    """

    def __init__(self, sizes: Mapping[str, int]):
        """`sizes`: modality -> number of qubits, at least 1 each. Raises InputError when a register is empty."""
        for modality, size in sizes.items():
            if size < 1:
                raise InputError(f"register {modality!r} has {size} qubits; give it at least 1, or leave the modality out")
        if not sizes:
            raise InputError("a register layout needs at least one modality, got none")
        self.sizes = dict(sizes)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    @property
    def n_qubits(self) -> int:
        return sum(self.sizes.values())

    def qubits(self, modality: str) -> tuple[int, ...]:
        """The modality's qubits, as indices into the whole circuit."""
        if modality not in self.sizes:
            raise InputError(f"no register for modality {modality!r}; the layout has {', '.join(self.sizes)}")
        start = 0
        for name, size in self.sizes.items():
            if name == modality:
                break
            start += size
        return tuple(range(start, start + self.sizes[modality]))

    def owner(self, qubit: int) -> str:
        """The modality that a qubit belongs to."""
        return next(modality for modality in self.sizes if qubit in self.qubits(modality))

    def label(self, qubit: int) -> str:
        """The qubit by its modality and its place in the register: "audio1"."""
        modality = self.owner(qubit)
        return f"{modality}{qubit - self.qubits(modality)[0]}"

    def restrict(self, present: Collection[str]) -> "RegisterLayout":
        """The layout of the modalities in `present` alone, order kept."""
        return RegisterLayout({m: size for m, size in self.sizes.items() if m in present})

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every two different modalities, in order."""
        return combinations(self.sizes, 2)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RegisterLayout) and list(self.sizes.items()) == list(other.sizes.items())

    def __hash__(self) -> int:
        return hash(tuple(self.sizes.items()))

    def __repr__(self) -> str:
        return f"RegisterLayout({self.sizes})"
