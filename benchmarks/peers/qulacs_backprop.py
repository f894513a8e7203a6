"""Qulacs: one `backprop_inner_product` a sample, of all observables weighed into one, on the state that the values need."""

from typing import Any

import interface
import numpy as np
from qulacs import Observable, ParametricQuantumCircuit, QuantumState

FIXED = {"h": "H", "x": "X", "y": "Y", "z": "Z", "s": "S", "sdg": "Sdag", "t": "T", "tdg": "Tdag"}
FIXED |= {"sx": "sqrtX", "sxdg": "sqrtXdag", "cx": "CNOT", "cz": "CZ", "swap": "SWAP"}
ROTATIONS = {"rx": "RX", "ry": "RY", "rz": "RZ", "p": "RZ"}  # a phase is an RZ up to the phase of the state
PAULIS = {"rxx": [1, 1], "ryy": [2, 2], "rzz": [3, 3], "rzx": [3, 1]}


class Peer(interface.Peer):
    GATES = (*FIXED, *ROTATIONS, *PAULIS)
    PACKAGES = ("qulacs",)
    DTYPES = ("complex128",)

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        self.ansatz, self.state = ParametricQuantumCircuit(circuit.qubits), QuantumState(circuit.qubits)
        self.bra, self.scratch = QuantumState(circuit.qubits), QuantumState(circuit.qubits)
        angles = []
        for name, qubits, gate_angles in circuit.gates:
            if name in FIXED:
                getattr(self.ansatz, f"add_{FIXED[name]}_gate")(*qubits)
                continue
            angles.append(gate_angles[0])
            if name in ROTATIONS:
                getattr(self.ansatz, f"add_parametric_{ROTATIONS[name]}_gate")(*qubits, 0.0)
            else:
                self.ansatz.add_parametric_multi_Pauli_rotation_gate(qubits, PAULIS[name], 0.0)
        self.constants = np.array([constant for constant, _ in angles])
        self.matrix = np.zeros((len(angles), circuit.inputs + circuit.weights))
        for row, (_, terms) in enumerate(angles):
            for column, coefficient in terms:
                self.matrix[row, column] += coefficient
        self.of_sample = self.matrix[:, : circuit.inputs].any(axis=1).nonzero()[0].tolist()
        self.observables = [self.observable(terms) for terms in circuit.observables]
        self.terms = [self.observable([(label, 1.0)]) for terms in circuit.observables for label, _ in terms]

    def observable(self, terms: list[tuple[str, float]]) -> Observable:
        total = Observable(self.circuit.qubits)
        for label, coefficient in terms:
            total.add_operator(coefficient, " ".join(f"{pauli} {qubit}" for qubit, pauli in interface.paulis(label)))
        return total

    def weighed(self, mixture: Any) -> Observable:
        pairs = zip(self.circuit.observables, mixture, strict=True)
        return self.observable([(label, coefficient * share) for terms, share in pairs for label, coefficient in terms])

    def angles(self, inputs: Any, weights: Any) -> Any:
        """(B, number of rotations); Qulacs turns the other way."""
        rows = np.concatenate([inputs, np.broadcast_to(weights, (len(inputs), len(weights)))], axis=1)
        return -(rows @ self.matrix.T + self.constants)

    def run(self, angles: list[float], indices: Any) -> list[float]:
        for index in indices:
            self.ansatz.set_parameter(index, angles[index])
        self.state.set_zero_state()
        self.ansatz.update_quantum_state(self.state)
        return [observable.get_expectation_value(self.state) for observable in self.observables]

    def forward(self, inputs: Any, weights: Any) -> Any:
        rows = self.angles(inputs, weights).tolist()
        return np.array([self.run(row, self.of_sample if i else range(len(row))) for i, row in enumerate(rows)])

    def step(self, inputs: Any, weights: Any, mixture: Any) -> tuple[Any, Any, Any]:
        values, gradients = [], []
        for i, (angles, share) in enumerate(zip(self.angles(inputs, weights).tolist(), mixture.tolist(), strict=True)):
            values.append(self.run(angles, self.of_sample if i else range(len(angles))))
            self.weighed(share).apply_to_state(self.scratch, self.state, self.bra)
            gradients.append(self.ansatz.backprop_inner_product(self.bra))
        by_column = -2 * np.array(gradients) @ self.matrix  # Qulacs leaves the factor of the adjoint rule to its `backprop`
        return np.array(values), by_column[:, : self.circuit.inputs], by_column[:, self.circuit.inputs :].sum(axis=0)
