"""Ansätze: what is trained inside a register, one layer at a time."""

from qmm.circuits.ansatz.layers import (
    Brickwork,
    EfficientSU2,
    HardwareEfficient,
    brickwork,
    efficient_su2_layer,
    hardware_efficient,
    rotations_and_ring,
)
from qmm.circuits.ansatz.mirrored import Mirrored, mirrored
from qmm.circuits.ansatz.pooling import QCNN, qcnn
from qmm.circuits.ansatz.trees import (
    MERA,
    MatrixProductState,
    TreeTensorNetwork,
    matrix_product_state,
    mera,
    tree_tensor_network,
)

__all__ = [
    "MERA",
    "QCNN",
    "Brickwork",
    "EfficientSU2",
    "HardwareEfficient",
    "MatrixProductState",
    "Mirrored",
    "TreeTensorNetwork",
    "brickwork",
    "efficient_su2_layer",
    "hardware_efficient",
    "matrix_product_state",
    "mera",
    "mirrored",
    "qcnn",
    "rotations_and_ring",
    "tree_tensor_network",
]
