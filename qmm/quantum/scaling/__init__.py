"""Circuits larger than a device or a state vector: cut, propagated back, or simulated as matrix product states."""
