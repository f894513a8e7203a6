"""`qmm trainability`: how gradients vanish with qubits and depth, by the protocol of McClean et al. (arXiv:1803.11173)."""
