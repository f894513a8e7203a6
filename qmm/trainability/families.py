"""Families of circuits that grow with qubits and depth: random ones, and layers of an ansatz on one register."""

import math
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor

from qmm.circuits import Ansatz, HardwareEfficient, drop_unfelt
from qmm.config import Configurable, to_config
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit
from qmm.trainability.ensembles import Ensemble
from qmm.trainability.observables import OWN, observable

_AXES = "xyz"


class Family(Configurable, ABC):
    """Circuits of any number of qubits and any depth, many at once."""

    reference = ""

    @abstractmethod
    def ensemble(self, qubits: int, depth: int, read: str, count: int, seed: int) -> Ensemble:
        """`count` circuits of so many qubits and layers, with the observable named `read`; the same seed gives the same ones.

        Raises InputError where the family has no such circuits.
        """

    def fingerprint(self) -> Any:
        """Plain data that changes whenever its circuits would."""
        return to_config(self)


class RandomAxes(Family):
    """The circuits of McClean et al.: RY(pi/4) on every qubit, then layers in which each qubit turns about an axis of its own,
    X, Y or Z, drawn at random, followed by CZ from each qubit to the next.

    Gradients of deep ones, uniformly started, vanish as 2**-n: where what follows the first rotation is a 2-design, that of
    a Pauli string has the variance 2**n / (4**n - 1) / 3.

    Args:
        block: So many layers form a block whose second half undoes the first, if its angles do: what identity blocks
            (arXiv:1903.05076) are made for. By default there are none.
    """

    reference = "arXiv:1803.11173"

    def __init__(self, block: int | None = None):
        if block is not None and (block < 2 or block % 2):
            raise InputError(f"block={block} layers, half of them to undo the others; give an even number, at least 2")
        self.block = block

    def ensemble(self, qubits: int, depth: int, read: str, count: int, seed: int) -> Ensemble:
        """All C circuits are one that has RX, RY and RZ wherever theirs has one of them, with angle 0 where it has another:
        compiled once, run as a batch."""
        if read == OWN:
            raise InputError("random circuits have no read-out of their own; name an observable, 'zz' for instance")
        if self.block and depth % self.block:
            raise InputError(f"{depth} layers in blocks of {self.block}; give a depth that is a multiple of it")
        drawn = _random_axes(qubits, depth, self.block, count, seed)
        read_out = (observable(read, qubits),)
        compiled = CompiledCircuit(Circuit.of(drawn.merged, (), drawn.merged_weights, read_out))
        # not by `Circuit.of`, whose checks take longer than all the rest, for hundreds of circuits that are alike
        circuits = [Circuit(circuit, (), drawn.weights, read_out) for circuit in drawn.circuits]
        columns = len(_AXES) * torch.arange(len(drawn.weights)) + drawn.axes
        return Ensemble(compiled, torch.zeros(count, 0, dtype=torch.float64), circuits, columns)


class _Drawn(NamedTuple):
    """Random circuits, and the one that they are all cases of."""

    axes: Tensor
    """(C, W), 0 to 2: of each weight's rotation."""
    weights: tuple[Parameter, ...]
    circuits: list[QuantumCircuit]
    merged: QuantumCircuit
    merged_weights: list[Parameter]
    """Three for each weight, one about each axis."""


@lru_cache(maxsize=1)
def _random_axes(qubits: int, depth: int, block: int | None, count: int, seed: int) -> _Drawn:
    """Kept for the next observable."""
    axes = torch.randint(3, (count, depth, qubits), generator=torch.Generator().manual_seed(seed))
    for first in range(0, depth, block) if block else ():
        half, end = first + block // 2, first + block  # type: ignore[operator]
        axes[:, half:end] = axes[:, first:half].flip(1)
    flat = axes.flatten(1)
    weights = tuple(Parameter(f"{layer}.r{qubit}") for layer in range(depth) for qubit in range(qubits))
    every = [[(Parameter(f"{weight.name}{axis}"), axis) for axis in _AXES] for weight in weights]
    rows = [[[(weight, _AXES[axis])] for weight, axis in zip(weights, row, strict=True)] for row in flat.tolist()]
    circuits = [_layers(qubits, depth, block, row) for row in rows]
    merged_weights = [parameter for turns in every for parameter, _ in turns]
    return _Drawn(flat, weights, circuits, _layers(qubits, depth, block, every), merged_weights)


def _layers(qubits: int, depth: int, block: int | None, turns: list[list[tuple[Parameter, str]]]) -> QuantumCircuit:
    """`turns`: for each layer, and in it each qubit, rotations with their axes."""
    circuit = QuantumCircuit(qubits)
    for qubit in range(qubits):
        circuit.ry(math.pi / 4, qubit)
    rotate = {"x": circuit.rx, "y": circuit.ry, "z": circuit.rz}
    pairs = [(qubit, qubit + 1) for qubit in range(qubits - 1)]
    for layer in range(depth):
        undoes = block is not None and layer % block >= block // 2
        for pair in reversed(pairs) if undoes else ():
            circuit.cz(*pair)
        for qubit in range(qubits):
            for parameter, axis in turns[layer * qubits + qubit]:
                rotate[axis](parameter, qubit)
        for pair in () if undoes else pairs:
            circuit.cz(*pair)
    return circuit


class AnsatzLayers(Family):
    """Layers of an ansatz on one register, without data: behind RY(pi/4) on every qubit, as in `RandomAxes`, so that no axis
    is special, and only the start is random.

    Gates that the observable does not feel are left out.

    Args:
        ansatz: By default HardwareEfficient.
    """

    reference = "arXiv:1804.00633"

    def __init__(self, ansatz: Ansatz | None = None):
        self.ansatz = ansatz or HardwareEfficient()

    def ensemble(self, qubits: int, depth: int, read: str, count: int, seed: int) -> Ensemble:
        if read == OWN:
            raise InputError("an ansatz has no read-out of its own; name an observable, 'zz' for instance")
        layer = self.ansatz.circuit(qubits)
        whole, weights = QuantumCircuit(qubits), list[Parameter]()
        whole.ry(math.pi / 4, range(qubits))
        for place in range(depth):
            named = {p: Parameter(f"{place}.{p.name}") for p in layer.parameters}
            whole.compose(layer.assign_parameters(named), inplace=True)
            weights += [named[angle] for item in layer.data for angle in item.operation.params if angle in named]
        in_order = dict.fromkeys(weights)  # that of the gates: the first weight is the first gate's
        circuit = felt(Circuit.of(whole, (), in_order, [observable(read, qubits)]))
        return Ensemble(CompiledCircuit(circuit), torch.zeros(count, 0, dtype=torch.float64), [circuit])


def felt(circuit: Circuit) -> Circuit:
    """Without gates and weights that no value depends on. Raises InputError where no weight is left."""
    kept = drop_unfelt(circuit)
    if not kept.weights:
        raise InputError("no weight of this circuit changes what is read out; take more layers, or another observable")
    return kept
