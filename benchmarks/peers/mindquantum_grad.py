"""MindQuantum: `get_expectation_with_grad`, which computes the whole Jacobian, as its own torch-like layers do."""

import os
from typing import Any

import interface
import mindquantum as mq
import numpy as np
from mindquantum.core import gates
from mindquantum.core.circuit import Circuit
from mindquantum.core.operators import Hamiltonian, QubitOperator
from mindquantum.core.parameterresolver import ParameterResolver
from mindquantum.simulator import Simulator

FIXED = {"h": gates.H, "x": gates.X, "y": gates.Y, "z": gates.Z, "s": gates.S, "sdg": gates.S.hermitian(), "t": gates.T}
FIXED |= {"tdg": gates.T.hermitian(), "sx": gates.SX, "swap": gates.SWAP, "iswap": gates.ISWAP}
CONTROLLED = {"cx": (gates.X, 1), "cy": (gates.Y, 1), "cz": (gates.Z, 1), "ch": (gates.H, 1), "ccx": (gates.X, 2)}
CONTROLLED |= {"ccz": (gates.Z, 2), "cswap": (gates.SWAP, 1)}
ROTATIONS = {"rx": gates.RX, "ry": gates.RY, "rz": gates.RZ, "p": gates.PhaseShift}
ROTATIONS |= {"rxx": gates.Rxx, "ryy": gates.Ryy, "rzz": gates.Rzz}
CONTROLLED_ROTATIONS = {"crx": gates.RX, "cry": gates.RY, "crz": gates.RZ, "cp": gates.PhaseShift}


class Peer(interface.Peer):
    GATES = (*FIXED, *CONTROLLED, *ROTATIONS, *CONTROLLED_ROTATIONS)
    PACKAGES = ("mindquantum",)

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        ansatz = Circuit()
        for name, qubits, angles in circuit.gates:
            for part in self.parts(angles):
                ansatz += self.gate(name, qubits, part)
        sums = [QubitOperator() for _ in circuit.observables]
        for total, terms in zip(sums, circuit.observables, strict=True):
            for label, coefficient in terms:
                total += QubitOperator(" ".join(f"{pauli}{qubit}" for qubit, pauli in interface.paulis(label)), coefficient)
        precision = mq.complex64 if dtype == "complex64" else mq.complex128
        simulator = Simulator("mqvector", circuit.qubits, dtype=precision)
        hamiltonians = [Hamiltonian(total).astype(precision) for total in sums]
        workers = int(os.environ["OMP_NUM_THREADS"])
        self.simulator = simulator
        self.with_gradient = simulator.get_expectation_with_grad(hamiltonians, ansatz, parallel_worker=workers)
        self.order = [int(name[1:]) for name in ansatz.encoder_params_name]
        self.weight_order = [int(name[1:]) - circuit.inputs for name in ansatz.ansatz_params_name]

    def parts(self, angles: list[Any]) -> list[Any]:
        """An angle of inputs and weights as two gates of the same axis, since MindQuantum's encoders take no weights."""
        if not angles:
            return [None]
        ((constant, terms),) = angles
        encoded = [term for term in terms if term[0] < self.circuit.inputs]
        trained = [term for term in terms if term[0] >= self.circuit.inputs]
        return [(constant, encoded), (0.0, trained)] if encoded and trained else [(constant, terms)]

    def gate(self, name: str, qubits: list[int], part: Any) -> Any:
        if name in FIXED:
            return FIXED[name].on(qubits)
        if name in CONTROLLED:
            kind, controls = CONTROLLED[name]
            return kind.on(qubits[controls:], qubits[:controls])
        constant, terms = part
        angle = ParameterResolver({f"p{column}": coefficient for column, coefficient in terms}, constant)
        if any(column < self.circuit.inputs for column, _ in terms):
            angle.as_encoder()
        if name in ROTATIONS:
            return ROTATIONS[name](angle).on(qubits)
        return CONTROLLED_ROTATIONS[name](angle).on(qubits[1], qubits[0])

    def prepare(self, inputs: Any, weights: Any, mixture: Any) -> tuple[Any, Any, Any]:
        return inputs[:, self.order], weights[self.weight_order], mixture

    def forward(self, inputs: Any, weights: Any) -> Any:
        return self.with_gradient(inputs, weights)[0].real

    def step(self, inputs: Any, weights: Any, mixture: Any) -> tuple[Any, Any, Any]:
        values, by_input, by_weight = self.with_gradient(inputs, weights)
        grad_inputs = np.zeros((len(inputs), self.circuit.inputs))
        grad_weights = np.zeros(self.circuit.weights)
        grad_inputs[:, self.order] = np.einsum("bo,bok->bk", mixture, by_input.real)
        grad_weights[self.weight_order] = np.einsum("bo,bow->w", mixture, by_weight.real)
        return values.real, grad_inputs, grad_weights
