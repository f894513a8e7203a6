"""PennyLane lightning.qubit: the adjoint method, one sample after another in C++."""

from typing import Any

import numpy as np
import pennylane as qml
import pennylane_backprop


class Peer(pennylane_backprop.Peer):
    PACKAGES = ("pennylane", "pennylane-lightning", "torch")
    DEVICES = ("cpu",)

    def made(self) -> Any:
        device = qml.device("lightning.qubit", wires=self.circuit.qubits, c_dtype=np.dtype(self.dtype).type)
        return qml.QNode(self.measured, device, interface="torch", diff_method="adjoint")
