from qmm.quantum.circuit import Circuit
__all__ = ["Circuit"]
