"""Qiskit Aer's state-vector simulator, forward only: every expectation value saved from one exact run."""

import os
from typing import Any

import interface
import numpy as np
from qiskit import transpile
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator

from qmm.quantum import Circuit


class Peer(interface.Peer):
    PACKAGES = ("qiskit-aer", "qiskit")

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        source = Circuit.from_json(circuit.source)
        self.parameters = [*source.inputs, *source.weights]
        precision = "single" if dtype == "complex64" else "double"
        threads = int(os.environ["OMP_NUM_THREADS"])
        self.simulator = AerSimulator(method="statevector", precision=precision, max_parallel_threads=threads)
        measured = source.quantum_circuit.copy()
        for index, terms in enumerate(circuit.observables):
            measured.save_expectation_value(SparsePauliOp.from_list(terms), range(circuit.qubits), label=str(index))
        self.measured = transpile(measured, self.simulator, optimization_level=0)

    def forward(self, inputs: Any, weights: Any) -> Any:
        columns = np.concatenate([inputs, np.broadcast_to(weights, (len(inputs), len(weights)))], axis=1).T.tolist()
        used = {p: values for p, values in zip(self.parameters, columns, strict=True) if p in self.measured.parameters}
        result = self.simulator.run(self.measured, parameter_binds=[used], shots=1).result()
        labels = [str(index) for index in range(len(self.circuit.observables))]
        return np.array([[result.data(row)[label] for label in labels] for row in range(len(inputs))])
