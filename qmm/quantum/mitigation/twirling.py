"""Pauli twirling: coherent errors of two-qubit gates become stochastic ones."""

from qiskit.circuit import QuantumCircuit, pauli_twirl_2q_gates

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Execution, Expansion, Mitigation, Request
from qmm.quantum.mitigation.randomizing import averaged, positive, split

_TWIRLED = ("cx", "cz", "ecr", "iswap")


class PauliTwirling(Mitigation):
    """Random Pauli gates around each two-qubit gate that leave the circuit as it is (Qiskit's `pauli_twirl_2q_gates`).

    Averaged over the draws, the noise of each gate is a Pauli channel: an over-rotation, whose effects add up as amplitudes,
    becomes chance errors, whose effects add up as probabilities. It removes no error by itself; it makes errors such that
    extrapolation and read-out mitigation can. The Pauli gates are merged with the one-qubit gates around them.

    Two-qubit gates other than cx, cz, ecr and iswap stay as they are.

    Shots: those of the request, split over the circuits drawn, at least one each.

    Args:
        randomizations: Circuits that are drawn for each request.
    """

    stage = 130

    def __init__(self, randomizations: int = 16):
        """Raises CircuitError for a number that is not positive."""
        self.randomizations = positive("randomizations", randomizations)

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError where none of the two-qubit gates can be twirled."""
        names = {item.name for item in request.circuit.data if len(item.qubits) > 1 and item.name != "barrier"}
        if not names:
            return Expansion([request], lambda estimates: estimates[0])
        if names.isdisjoint(_TWIRLED):
            raise CircuitError(
                f"the circuit's gates on several qubits are {', '.join(sorted(names))}; twirled are {', '.join(_TWIRLED)}: "
                "give the simulator a device to transpile for"
            )
        shots = split(request.shots, self.randomizations)
        circuits = self._drawn(request.circuit, len(shots), execution)
        variants = request.variants * len(shots)
        requests = [
            request._replace(circuit=circuit, shots=count, variants=variants)
            for circuit, count in zip(circuits, shots, strict=True)
        ]
        return Expansion(requests, lambda estimates: averaged(estimates, shots))

    def _drawn(self, circuit: QuantumCircuit, number: int, execution: Execution) -> list[QuantumCircuit]:
        target = None if execution.device is None else execution.device.target
        seed = int(execution.rng.integers(2**63))
        return pauli_twirl_2q_gates(circuit, list(_TWIRLED), seed=seed, num_twirls=number, target=target)
