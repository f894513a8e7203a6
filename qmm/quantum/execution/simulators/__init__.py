"""qiskit-aer's simulators, the noise of devices, and noisy circuits simulated exactly on the qubits that they touch."""
