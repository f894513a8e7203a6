"""Small noisy devices, and what is sent to them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import (
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
)
from qiskit.providers import BackendV2
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_aer.primitives import SamplerV2
from torch import Tensor

from qmm.quantum import Circuit
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.execution import Given, Mitigation, PrimitiveBackend
from qmm.quantum.primitives import ExactSampler

GATES = ["rz", "sx", "x", "cz"]


class Counting(BaseSamplerV2):
    """Passes everything on, and remembers what came: (circuit, bindings, shots) of each PUB, and the number of jobs."""

    def __init__(self, sampler: BaseSamplerV2):
        self.sampler, self.pubs, self.jobs = sampler, list[tuple[QuantumCircuit, int, int]](), 0

    def run(self, pubs: Iterable[Any], *, shots: int | None = None) -> Any:
        pubs = list(pubs)
        self.pubs += [(circuit, len(bindings), each) for circuit, bindings, each in pubs]
        self.jobs += 1
        return self.sampler.run(pubs, shots=shots)

    @property
    def shots(self) -> int:
        """All that were taken."""
        return sum(bindings * each for _, bindings, each in self.pubs)

    def __deepcopy__(self, memo: Any) -> "Counting":
        return self


class Simulated(BaseSamplerV2):
    """Aer's sampler with a seed of its own for each job; given one, it would begin each job with the same."""

    def __init__(self, simulator: AerSimulator, seed: int):
        self.simulator, self.rng = simulator, np.random.default_rng(seed)

    def run(self, pubs: Iterable[Any], *, shots: int | None = None) -> Any:
        return SamplerV2.from_backend(self.simulator, seed=int(self.rng.integers(2**31))).run(pubs, shots=shots)


class Misread(BaseSamplerV2):
    """An exact sampler whose outcomes are mistaken for each other.

    Args:
        confusion: (2**k, 2**k): how likely each outcome (column) is read as each other one (row), of k measured bits.
        seed: Of shots and mistakes.
    """

    def __init__(self, confusion: NDArray[np.float64], seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.sampler, self.thresholds = ExactSampler(seed=self.rng), confusion.cumsum(axis=0)[:-1]

    def run(self, pubs: Iterable[Any], *, shots: int | None = None) -> Any:
        results = [self._misread(result) for result in self.sampler.run(pubs, shots=shots).result()]
        job = PrimitiveJob(PrimitiveResult, results)
        job._submit()
        return job

    def _misread(self, result: SamplerPubResult) -> SamplerPubResult:
        bits: BitArray = result.data["measured"]
        k = bits.num_bits
        assert len(self.thresholds) == 2**k - 1
        states = bits.to_bool_array(order="little") @ (1 << np.arange(k))
        draw = self.rng.random(states.shape)
        drawn = sum((draw > threshold[states]).astype(np.int64) for threshold in self.thresholds)
        read = (drawn[..., None] >> np.arange(k)) & 1
        return SamplerPubResult(DataBin(measured=BitArray.from_bool_array(read.astype(bool), order="little"), shape=bits.shape))


@pytest.fixture(scope="session")
def device() -> BackendV2:
    """Five qubits in a line, cz in both directions."""
    line = [[i, i + 1] for i in range(4)]
    return GenericBackendV2(5, basis_gates=GATES, coupling_map=line + [edge[::-1] for edge in line], seed=1)


@pytest.fixture
def noisy(device: BackendV2) -> Callable[..., tuple[PrimitiveBackend, Counting]]:
    """(noise, mitigation=(), shots=1000, seed=0) -> a backend on the device with this noise, and what counts its shots."""

    def make(
        noise: NoiseModel | None, mitigation: Sequence[Mitigation] = (), shots: int = 1000, seed: int = 0
    ) -> tuple[PrimitiveBackend, Counting]:
        simulator = AerSimulator(noise_model=noise, method="density_matrix", max_parallel_threads=1)
        sampler = Counting(Simulated(simulator, seed))
        return PrimitiveBackend(Given(sampler, device), shots=shots, mitigation=mitigation, seed=seed), sampler

    return make


def layered(rng: Generator, n_qubits: int, layers: int, observables: Sequence[SparsePauliOp]) -> Circuit:
    """Turns of every qubit and a chain of cx, so that no two gates cancel; one input a qubit, one weight a turn."""
    inputs = [Parameter(f"x{i}") for i in range(n_qubits)]
    weights = [Parameter(f"w{i:02}") for i in range(2 * n_qubits * layers)]
    free = iter(weights)
    circuit = QuantumCircuit(n_qubits)
    for qubit, angle in enumerate(inputs):
        circuit.ry(angle, qubit)
    for _ in range(layers):
        for qubit in range(n_qubits):
            circuit.ry(next(free), qubit)
            circuit.rz(next(free), qubit)
        for qubit in rng.permutation(n_qubits - 1).tolist():
            circuit.cx(qubit, qubit + 1)
    return Circuit.of(circuit, inputs, weights, list(observables))


@pytest.fixture
def models() -> Callable[..., tuple[CompiledCircuit, Tensor, Tensor]]:
    """(seed, n_qubits, layers, labels, samples=3) -> a circuit of these observables, (samples, inputs) and weights."""

    def make(
        seed: int, n_qubits: int, layers: int, labels: Sequence[str | list[str]], samples: int = 3
    ) -> tuple[CompiledCircuit, Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        strings = [[label] if isinstance(label, str) else label for label in labels]
        observables = [SparsePauliOp(each, np.linspace(1, 0.5, len(each))) for each in strings]
        circuit = layered(rng, n_qubits, layers, observables)
        inputs = torch.from_numpy(rng.uniform(-1, 1, (samples, len(circuit.inputs))))
        return CompiledCircuit(circuit), inputs, torch.from_numpy(rng.uniform(-1, 1, len(circuit.weights)))

    return make


@pytest.fixture
def misread() -> Callable[..., tuple[PrimitiveBackend, Counting]]:
    """(confusion, mitigation=(), shots=1000, seed=0) -> a backend without any other noise, and what counts its shots."""

    def make(
        confusion: NDArray[np.float64], mitigation: Sequence[Mitigation] = (), shots: int = 1000, seed: int = 0
    ) -> tuple[PrimitiveBackend, Counting]:
        sampler = Counting(Misread(confusion, seed))
        return PrimitiveBackend(sampler, shots=shots, mitigation=mitigation, seed=seed), sampler

    return make
