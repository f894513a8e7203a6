"""How circuits are simulated on regions of devices.

Of each circuit is found out once which region it touches, in which form it is simulated, and how bits come of that.
Where all measurements are final, the probabilities of the outcomes are computed, read-out errors included, and shots are drawn
from these: for one binding that is what qiskit-aer does shot by shot, up to chance, and it costs a fraction.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.simulators.channels import Errors, UnsuitedError
from qmm.quantum.execution.simulators.propagation import Program
from qmm.quantum.execution.simulators.region import Regions, narrowed, native, touched
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.pubs import Cache

_WIDEST_CHANNELS = 12  # qubits whose density matrix is propagated in the Pauli basis: 1 GiB, and still faster than 1,000 shots
_WIDEST_READ = 12  # measured qubits whose outcomes' probabilities are computed one and all
_WIDEST_STATE = 20  # qubits of which they are

Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """A circuit whose measurements are all final, apart from these."""

    circuit: QuantumCircuit
    qubits: tuple[int, ...]
    """Those that are measured."""
    bits: dict[int, int]
    """Which of them each classical bit holds, by its place in `qubits`."""


class Plan(NamedTuple):
    """How a circuit is simulated."""

    region: tuple[int, ...]
    circuit: QuantumCircuit
    """On the region."""
    measured: Measured | None
    """None: it is run shot by shot."""
    program: Program | None
    """Its channels; None where qiskit-aer computes the probabilities."""
    readout: tuple[Floats | None, ...]
    """(2, 2), or None where reading is exact, for each measured qubit."""


class Simulation:
    """Simulates circuits, and remembers what it learnt of them. Samplers and estimators share it.

    Args:
        regions: Noise and simulators.
        method: Of qiskit-aer. With "automatic", small noisy circuits are propagated in the Pauli basis (`propagation`).
        threads: For these.
    """

    def __init__(self, regions: Regions, method: str = "automatic", threads: int = 1):
        self.regions, self.method, self.threads = regions, method, threads
        self._plans: Cache[Plan] = Cache()
        self._errors: Cache[Errors] = Cache()
        self._narrow: Cache[tuple[QuantumCircuit, Program | None]] = Cache()

    def plan(self, circuit: QuantumCircuit) -> Plan:
        """How the circuit is sampled."""
        return self._plans.get(Fingerprint(circuit), lambda: self._plan(circuit))

    def narrow(self, circuit: QuantumCircuit, region: tuple[int, ...]) -> tuple[QuantumCircuit, Program | None]:
        """A circuit without measurements on a region, and its channels; None for these where qiskit-aer is to simulate it."""
        return self._narrow.get((Fingerprint(circuit), region), lambda: self._narrowed(circuit, region))

    def probabilities(self, plan: Plan, bindings: Floats) -> Floats:
        """(N, 2**k): of what is read from the k measured qubits, the first in the lowest bit."""
        assert plan.measured is not None
        if not plan.measured.qubits:
            return np.ones((len(bindings), 1))
        if plan.program is not None:
            found = plan.program.probabilities(bindings, plan.measured.qubits, self.threads)
        else:
            found = self._by_aer(plan, bindings)
        shape = found.shape
        for place, matrix in enumerate(plan.readout):
            if matrix is not None:
                found = np.einsum("asb,st->atb", found.reshape(-1, 2, 2**place), matrix)
        found = found.reshape(shape).clip(min=0)
        return found / found.sum(axis=1, keepdims=True)

    def _plan(self, circuit: QuantumCircuit) -> Plan:
        if self.regions.device is not None:
            circuit = native(circuit, self.regions.device.target)
        region = touched(circuit)
        small = narrowed(circuit, region)
        noise = self.regions.noise(region)
        measured = final_measurements(small)
        shot_by_shot = Plan(region, small, None, None, ())
        if measured is None or len(measured.qubits) > _WIDEST_READ:
            return shot_by_shot
        if noise is None:
            fits = self.method in ("automatic", "statevector", "density_matrix") and len(region) <= _WIDEST_STATE
            return Plan(region, small, measured, None, ()) if fits else shot_by_shot
        try:
            errors = self._errors.get(region, lambda: Errors(noise))
        except UnsuitedError:
            return shot_by_shot
        if not errors.reads_qubit_by_qubit:
            return shot_by_shot
        readout = tuple(errors.readout(qubit) for qubit in measured.qubits)
        if self.method == "automatic" and len(region) <= _WIDEST_CHANNELS:
            try:
                return Plan(region, small, measured, Program(measured.circuit, errors), readout)
            except UnsuitedError:
                return shot_by_shot
        return Plan(region, small, measured, None, readout) if self.method == "density_matrix" else shot_by_shot

    def _narrowed(self, circuit: QuantumCircuit, region: tuple[int, ...]) -> tuple[QuantumCircuit, Program | None]:
        small, noise = narrowed(circuit, region), self.regions.noise(region)
        if noise is None or self.method != "automatic" or len(region) > _WIDEST_CHANNELS:
            return small, None
        try:
            return small, Program(small, self._errors.get(region, lambda: Errors(noise)))
        except UnsuitedError:
            return small, None

    def _by_aer(self, plan: Plan, bindings: Floats) -> Floats:
        assert plan.measured is not None
        circuit = plan.measured.circuit.copy()
        circuit.save_probabilities(list(plan.measured.qubits))
        simulator = self.regions.simulator(plan.region)
        binds = [dict(zip(circuit.parameters, bindings.T, strict=True))] if circuit.parameters else None
        at_once = self.regions.noise(plan.region) is None  # with noise it is slower so
        result = simulator.run(circuit, parameter_binds=binds, shots=1, runtime_parameter_bind_enable=at_once).result()
        _check(result)
        found = np.array([part.data.probabilities for part in result.results])
        return found if circuit.parameters else np.repeat(found, len(bindings), 0)


def drawn(probabilities: Floats, shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(N, M) -> (N, shots): outcomes, drawn independently of each other."""
    counts = rng.multinomial(shots, probabilities)
    outcomes = np.tile(np.arange(probabilities.shape[1]), len(probabilities))
    return rng.permuted(np.repeat(outcomes, counts.ravel()).reshape(len(probabilities), shots), axis=1)


def final_measurements(circuit: QuantumCircuit) -> Measured | None:
    """None for a circuit in which something other than a delay follows a measurement on its qubit, or depends on it."""
    if circuit.num_vars or circuit.num_captured_vars:
        return None
    places: dict[int, int] = {}  # of the measured qubits
    bits: dict[int, int] = {}
    kept = []
    for item in circuit.data:
        if item.name == "barrier":
            continue
        qubits = [circuit.find_bit(qubit).index for qubit in item.qubits]
        clbits = [circuit.find_bit(bit).index for bit in item.clbits]
        if item.name == "delay" and qubits[0] in places:
            continue
        if not places.keys().isdisjoint(qubits) or (clbits and (item.name != "measure" or clbits[0] in bits)):
            return None
        if clbits:
            bits[clbits[0]] = places[qubits[0]] = len(places)
        else:
            kept.append(item)
    body = QuantumCircuit.from_instructions(kept, qubits=circuit.qubits, global_phase=circuit.global_phase)
    return Measured(body, tuple(places), bits)


def _check(result: Any) -> None:
    if not result.success:
        raise CircuitError(f"qiskit-aer cannot run the circuit: {result.status}")
