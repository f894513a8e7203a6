"""Gate dropout: whole gates left out of circuits in training, at random."""

import random
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from qiskit.circuit import CircuitInstruction, Gate, Parameter, ParameterExpression, QuantumCircuit
from qiskit.quantum_info import Operator
from torch import Tensor

from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, Evaluation
from qmm.regularisation.base import CircuitPerturbation, check_share, generator_for

_WIDEST = 3  # qubits of a gate whose matrix is looked at


class GateDropout(CircuitPerturbation):
    """Leaves gates out while a circuit is trained; when it is evaluated, all stand, and nothing is rescaled. Gates that write
    features are never left out.

    The independent form of arXiv:2310.04120: each gate by itself, not with those behind it. A trained gate is left out by the
    angle 0, which costs nothing; gates that share weights, only together. Gates without an angle (CX, CZ) are left out by
    running another circuit: one of `pool`, each drawn once from `seed` and compiled when first met, since compiling takes as
    long as many steps.

    Args:
        rotations: Probability that a trained gate is left out, those that entangle (RZZ, CRX) with the others.
        entanglers: Probability that a gate of two qubits or more that has no angle is left out. SWAPs stay.
        per_sample: Trained gates are left out for each sample anew; by default for a whole batch.
        pool: How many circuits without some of their entanglers there are of each.
        seed: Of the pool.

    Raises InputError for probabilities outside [0, 1), both 0, or an empty pool.
    """

    reference = "arXiv:2310.04120"

    def __init__(
        self, rotations: float = 0.1, entanglers: float = 0.0, per_sample: bool = False, pool: int = 16, seed: int = 0
    ):
        self.rotations, self.entanglers = check_share("rotations", rotations), check_share("entanglers", entanglers)
        if not rotations and not entanglers:
            raise InputError("rotations and entanglers are both 0; give one of them a probability, rotations=0.1 for instance")
        if pool < 1:
            raise InputError(f"pool={pool}; give a number of circuits, 16 for instance")
        self.per_sample, self.pool, self.seed = per_sample, pool, seed
        self._begin()

    def _begin(self) -> None:
        self._units: WeakKeyDictionary[CompiledCircuit, Tensor] = WeakKeyDictionary()
        self._pools: WeakKeyDictionary[CompiledCircuit, dict[int, CompiledCircuit]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def concerns(self, circuit: Circuit) -> bool:
        rotations = self.rotations and len(trained_gates(circuit))
        return bool(rotations or (self.entanglers and entanglers(circuit)))

    def perturb(self, evaluation: Evaluation) -> Evaluation:
        generator = generator_for(evaluation)
        circuit, inputs, weights, shots = evaluation
        if self.rotations:
            weights = weights * self._kept(circuit, len(inputs), weights, generator)
        if self.entanglers:
            circuit = self._thinned(circuit, int(torch.randint(self.pool, (), generator=generator)))
        return Evaluation(circuit, inputs, weights, shots)

    def _kept(self, circuit: CompiledCircuit, rows: int, weights: Tensor, generator: torch.Generator) -> Tensor:
        """(W,), or (B, W): 0 for the weights of gates that are left out, else 1."""
        with self._lock:
            if circuit not in self._units:
                self._units[circuit] = _unit_of_weight(circuit.circuit)
            units = self._units[circuit]
        last = int(units.max()) if len(units) else 0  # unit 0 always stays
        kept = torch.rand((rows, last + 1) if self.per_sample else (last + 1,), generator=generator) >= self.rotations
        kept[..., 0] = True
        return kept[..., units].to(weights)

    def _thinned(self, circuit: CompiledCircuit, which: int) -> CompiledCircuit:
        with self._lock:
            pool = self._pools.setdefault(circuit, {})
            if which not in pool:
                pool[which] = self._without_some(circuit, random.Random(f"{self.seed} {which}"))
            return pool[which]

    def _without_some(self, circuit: CompiledCircuit, rng: random.Random) -> CompiledCircuit:
        """Itself, where none goes."""
        gone = {place for place in entanglers(circuit.circuit) if rng.random() < self.entanglers}
        return CompiledCircuit(without(circuit.circuit, gone)) if gone else circuit

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles compile anew."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_units", "_pools", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()


class TrainedGates(NamedTuple):
    """Gates that can be left out by angles of 0, together since they share weights; mostly there is one gate."""

    weights: frozenset[Parameter]
    gates: int


def trained_gates(circuit: Circuit) -> list[TrainedGates]:
    """What GateDropout leaves out by angles of 0, in the order of the circuit: gates that do nothing when their weights are 0,
    and share none with one that then does something, as RY(w + pi/4) does."""
    weights = set(circuit.weights)
    owner: dict[Parameter, list[tuple[frozenset[Parameter], bool]]] = {}
    for item in circuit.quantum_circuit.data:
        own = frozenset(p for angle in item.operation.params for p in getattr(angle, "parameters", ()) if p in weights)
        if not own:
            continue
        joined = [(own, _vanishes(item, weights))]
        joined += [gate for gates in {id(owner[p]): owner[p] for p in own if p in owner}.values() for gate in gates]
        owner.update({p: joined for group, _ in joined for p in group})
    groups = {id(gates): gates for gates in owner.values()}.values()
    return [TrainedGates(frozenset().union(*(own for own, _ in g)), len(g)) for g in groups if all(gone for _, gone in g)]


def _vanishes(item: CircuitInstruction, weights: Iterable[Parameter]) -> bool:
    """Whether the gate is the identity, but for a phase, when its weights are 0, whatever its inputs are."""
    if not isinstance(item.operation, Gate) or item.operation.num_qubits > _WIDEST:
        return False
    gate = item.operation.to_mutable()
    gate.params = [_bound(angle, set(weights)) for angle in gate.params]
    try:
        matrix = Operator(gate).data
    except Exception:  # a user's own gate may have no matrix, and says so in ways of its own
        return False
    return bool(np.allclose(matrix, matrix[0, 0] * np.eye(len(matrix)), atol=1e-9))


def _bound(angle: Any, weights: set[Parameter]) -> Any:
    if not isinstance(angle, ParameterExpression):
        return angle
    values = {p: 0.0 if p in weights else 0.7311 for p in angle.parameters}  # inputs: any number
    return float(angle.bind(values))


def _unit_of_weight(circuit: Circuit) -> Tensor:
    """(W,): what each weight is left out with, counted from 1; 0 for those that stay."""
    units = {weight: number for number, group in enumerate(trained_gates(circuit), 1) for weight in group.weights}
    return torch.tensor([units.get(weight, 0) for weight in circuit.weights], dtype=torch.int64)


def entanglers(circuit: Circuit) -> list[int]:
    """Places in the circuit of gates on two qubits or more that have no angle. Without SWAPs, which move qubits, and without
    two equal ones that enclose nothing but gates with inputs: these are a gate on features, taken apart (CX RZ(x) CX)."""
    data, inputs = circuit.quantum_circuit.data, set(circuit.inputs)
    found = [i for i, item in enumerate(data) if _entangles(item)]
    enclosing = {place for first in found for place in _encloses(data, first, inputs)}
    return [place for place in found if place not in enclosing]


def _entangles(item: CircuitInstruction) -> bool:
    gate = item.operation
    return isinstance(gate, Gate) and gate.num_qubits > 1 and not gate.params and gate.name != "swap"


def _encloses(data: Any, first: int, inputs: set[Parameter]) -> tuple[int, ...]:
    """The gate and the next equal one on the same qubits, if only gates with inputs stand between them there."""
    qubits, between = set(data[first].qubits), 0
    for place in range(first + 1, len(data)):
        item = data[place]
        if not qubits.intersection(item.qubits) or item.operation.name == "barrier":
            continue
        if item.operation == data[first].operation and item.qubits == data[first].qubits:
            return (first, place) if between else ()
        used = {p for angle in item.operation.params for p in getattr(angle, "parameters", ())}
        if not used or not used <= inputs:
            return ()
        between += 1
    return ()


def without(circuit: Circuit, places: Iterable[int]) -> Circuit:
    """The circuit without the gates at these places, its inputs, weights and outputs as they were."""
    gone = set(places)
    left: QuantumCircuit = circuit.quantum_circuit.copy_empty_like()
    for place, item in enumerate(circuit.quantum_circuit.data):
        if place not in gone:
            left.append(item)
    return circuit._replace(quantum_circuit=left)
