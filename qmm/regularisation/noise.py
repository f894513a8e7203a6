"""Noise as a regulariser: angles that tremble, and Pauli operators that come between gates."""

import math
import threading
from typing import Any
from weakref import WeakKeyDictionary

import torch
from qiskit.circuit import Parameter, QuantumCircuit
from torch import Tensor

from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, Evaluation
from qmm.regularisation.base import CircuitPerturbation, check_deviation, check_share, generator_for


class AngleNoise(CircuitPerturbation):
    """Gaussian noise on the angles of a circuit while it is trained.

    On average a rotation by exp(-i w P/2) whose angle trembles with deviation s is followed by a channel that dephases about
    P, with probability (1 - exp(-s^2/2))/2 of another P: noise as a regulariser, as in arXiv:2410.19921, which depolarises.

    Args:
        weights: Standard deviation of the noise on trained angles, in radians.
        inputs: That of the noise on the angles that features have become.
        per_sample: Each sample has a noise of its own on trained angles; otherwise a batch has one.

    Raises InputError for deviations that are negative, or both 0.
    """

    reference = "arXiv:2410.19921"

    def __init__(self, weights: float = 0.05, inputs: float = 0.0, per_sample: bool = True):
        self.weights, self.inputs = check_deviation("weights", weights), check_deviation("inputs", inputs)
        if not weights and not inputs:
            raise InputError("weights and inputs are both 0; give one of them a standard deviation, weights=0.05 for instance")
        self.per_sample = per_sample

    def concerns(self, circuit: Circuit) -> bool:
        return bool((self.weights and circuit.weights) or (self.inputs and circuit.inputs))

    def perturb(self, evaluation: Evaluation) -> Evaluation:
        generator = generator_for(evaluation)
        circuit, inputs, weights, shots = evaluation
        if self.weights:
            size = (len(inputs), weights.shape[-1]) if self.per_sample else tuple(weights.shape)
            weights = weights + self.weights * torch.randn(size, generator=generator).to(weights)
        if self.inputs:
            inputs = inputs + self.inputs * torch.randn(inputs.shape, generator=generator).to(inputs)
        return Evaluation(circuit, inputs, weights, shots)


class PauliNoise(CircuitPerturbation):
    """Pauli operators behind gates, drawn for each sample anew while a circuit is trained: depolarising noise, one trajectory a
    sample, its average that of the noisy circuit (arXiv:2410.19921).

    Each is RX then RZ, of angles 0 or pi that are further inputs, so that one circuit serves all draws. Meant for exact
    simulation: gradients by shifts would be taken of these inputs as well.

    Args:
        rate: Probability that a qubit that a gate has touched then suffers X, Y or Z, each as likely as the others.
        single: Whether gates on one qubit are followed by noise, too; by default only those on two or more.

    Raises InputError for a rate outside (0, 1).
    """

    reference = "arXiv:2410.19921"

    def __init__(self, rate: float = 0.01, single: bool = False):
        if not check_share("rate", rate):
            raise InputError("rate=0 changes nothing; give a probability, 0.01 for instance")
        self.rate, self.single = rate, single
        self._begin()

    def _begin(self) -> None:
        self._noisy: WeakKeyDictionary[CompiledCircuit, CompiledCircuit] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def concerns(self, circuit: Circuit) -> bool:
        return len(with_paulis(circuit, self.single).inputs) > len(circuit.inputs)

    def perturb(self, evaluation: Evaluation) -> Evaluation:
        circuit, inputs, weights, shots = evaluation
        with self._lock:
            if circuit not in self._noisy:
                self._noisy[circuit] = CompiledCircuit(with_paulis(circuit.circuit, self.single))
            noisy = self._noisy[circuit]
        places = (len(noisy.circuit.inputs) - len(circuit.circuit.inputs)) // 2
        angles = self._draw(len(inputs), places, generator_for(evaluation))
        return Evaluation(noisy, torch.cat([inputs, angles.to(inputs)], dim=1), weights, shots)

    def _draw(self, rows: int, places: int, generator: torch.Generator) -> Tensor:
        """(rows, 2 * places) angles of RX and RZ in turn."""
        struck = torch.rand(rows, places, generator=generator) < self.rate
        kind = torch.randint(3, (rows, places), generator=generator)  # X, Y, Z
        flips = torch.stack([struck & (kind < 2), struck & (kind > 0)], dim=-1)
        return math.pi * flips.flatten(1).double()

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles compile anew."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_noisy", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()


def with_paulis(circuit: Circuit, single: bool = False) -> Circuit:
    """The circuit with RX and RZ behind each gate of two qubits or more, on each of its qubits; behind gates on one qubit as
    well, if `single`. Their angles are inputs behind its own, in the order of the circuit, RX's before RZ's."""
    noisy: QuantumCircuit = circuit.quantum_circuit.copy_empty_like()
    angles: list[Parameter] = []
    for item in circuit.quantum_circuit.data:
        noisy.append(item)
        if getattr(item.operation, "_directive", False) or (len(item.qubits) < 2 and not single):
            continue
        for qubit in item.qubits:
            x, z = (Parameter(f"pauli{len(angles) // 2}.{axis}") for axis in "xz")
            noisy.rx(x, qubit)
            noisy.rz(z, qubit)
            angles += [x, z]
    return circuit._replace(quantum_circuit=noisy, inputs=(*circuit.inputs, *angles))
