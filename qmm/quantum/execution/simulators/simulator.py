"""RegionSimulator: a device with its noise as one of qiskit-aer's simulators, for all that runs circuits on such."""

import copy
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2, JobStatus, JobV1
from qiskit.result import Result
from qiskit.result.models import ExperimentResult, ExperimentResultData
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from qmm.quantum.execution.simulators.region import Regions
from qmm.quantum.execution.simulators.simulation import Measured, Simulation, drawn

_OWN = {"shots", "memory", "seed_simulator"}  # run options; with others, a circuit is left to qiskit-aer
_SHOTS = 1024


class RegionSimulator(AerSimulator):
    """A device with its noise, of which each run simulates no more than the region that a circuit touches.

    To all who run circuits it is as wide as the device, and an AerSimulator. Make it with `of`.
    """

    _simulation: Simulation

    @classmethod
    def of(cls, device: BackendV2, noise: NoiseModel | None = None, threads: int = 1, **options: Any) -> Self:
        """Args:
        device: What circuits are transpiled for.
        noise: On the device's physical qubits; None: what the device says of its errors.
        threads: At most this many.
        options: Of AerSimulator.
        """
        made: Self = cls.from_backend(device, noise_model=None, **options)
        made._simulation = Simulation(Regions(device, noise, **options), options.get("method", "automatic"), threads)
        return made

    def run(self, circuits: Any, parameter_binds: Any = None, **run_options: Any) -> "DoneJob":
        """As AerSimulator does, with noise of the physical qubits; but the job is done when this returns."""
        circuits = [circuits] if isinstance(circuits, QuantumCircuit) else list(circuits)
        binds = list(parameter_binds) if parameter_binds else [{}] * len(circuits)
        seed = run_options.get("seed_simulator")
        rng = np.random.default_rng(self.options.seed_simulator if seed is None else seed)
        results: list[ExperimentResult] = []
        for circuit, values in zip(circuits, binds, strict=True):
            results += self._results(circuit, values, run_options, rng)
        return DoneJob(self, results)

    def _results(
        self, circuit: QuantumCircuit, binds: Mapping[Any, Any], options: dict[str, Any], rng: np.random.Generator
    ) -> list[ExperimentResult]:
        """One for each binding."""
        plan = self._simulation.plan(circuit)
        count = len(next(iter(binds.values()))) if binds else 1
        own = list(plan.circuit.parameters)
        options = {name: value for name, value in options.items() if value is not None}
        if plan.measured is None or not options.keys() <= _OWN:
            options["seed_simulator"] = int(rng.integers(2**31))
            simulator = self._simulation.regions.simulator(plan.region)
            given = [{p: binds[p] for p in own}] if own else None
            return list(
                simulator.run([plan.circuit] * (1 if own else count), parameter_binds=given, **options).result().results
            )
        bindings = np.stack([np.asarray(binds[p], float) for p in own], -1) if own else np.zeros((count, 0))
        states = drawn(self._simulation.probabilities(plan, bindings), options.get("shots", _SHOTS), rng)
        words = _words(plan.measured)
        return [_result(plan.circuit, row, words, bool(options.get("memory"))) for row in states]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = copy.copy(self)  # what the simulation has learnt is shared
        made._options = copy.copy(self._options)
        return made


class DoneJob(JobV1):
    """Results that are there already."""

    def __init__(self, backend: BackendV2, results: Sequence[ExperimentResult]):
        super().__init__(backend, str(uuid.uuid4()))
        self._results = list(results)

    def submit(self) -> None:
        """It has run."""

    def result(self) -> Result:
        """Of all circuits and bindings, in the order in which they came."""
        return Result(
            backend_name=self.backend().name,
            backend_version=self.backend().backend_version,
            job_id=self.job_id(),
            success=all(result.success for result in self._results),
            results=self._results,
            metadata={},
        )

    def status(self) -> JobStatus:
        """Done."""
        return JobStatus.DONE


def _words(measured: Measured) -> list[str]:
    """The classical bits of each state of the measured qubits, in hexadecimal."""
    words = [0] * 2 ** len(measured.qubits)
    for bit, place in measured.bits.items():
        for state in range(len(words)):
            words[state] |= (state >> place & 1) << bit
    return [hex(word) for word in words]


def _result(circuit: QuantumCircuit, states: NDArray[np.int64], words: list[str], memory: bool) -> ExperimentResult:
    numbers = np.bincount(states, minlength=len(words))
    data: dict[str, Any] = {"counts": {words[i]: int(numbers[i]) for i in np.flatnonzero(numbers)}}
    if memory:
        data["memory"] = [words[state] for state in states]
    header = {
        "name": circuit.name,
        "n_qubits": circuit.num_qubits,
        "memory_slots": circuit.num_clbits,
        "creg_sizes": [[register.name, register.size] for register in circuit.cregs],
        "qreg_sizes": [[register.name, register.size] for register in circuit.qregs],
        "metadata": circuit.metadata,
    }
    return ExperimentResult(len(states), True, ExperimentResultData(**data), header=header, status="DONE")
