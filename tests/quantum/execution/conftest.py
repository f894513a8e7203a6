"""Providers that write down what they are sent, and primitives that misbehave."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    SamplerPubResult,
)
from qiskit.quantum_info import SparsePauliOp, Statevector

from qmm.quantum import Circuit, ExactEstimator, ExactSampler
from qmm.quantum.execution import Limits, Provider, Request
from qmm.quantum.settings import parts

OBSERVABLES = (
    [SparsePauliOp("ZZ")],
    [SparsePauliOp(["XX", "YY"], [0.5, -2.0]), SparsePauliOp("ZI")],
    [SparsePauliOp(["XX", "IZ", "ZI"], [0.5, 1.0, -0.3])],
)


def circuit(depth: int) -> QuantumCircuit:
    """Two qubits, `depth` parameters; equal for equal depths, with parameters of its own each time."""
    made = QuantumCircuit(2)
    made.h(0)
    for i, angle in enumerate(ParameterVector("a", depth)):
        made.rx(angle, i % 2)
        made.ry(0.3 + 2 * angle, (i + 1) % 2)
        made.cx(0, 1)
    return made


def request_for(depth: int, rows: int, shots: int = 20, kind: int = 1, seed: int = 0) -> Request:
    made = circuit(depth)
    measurement = parts(Circuit.of(made, [], list(made.parameters), OBSERVABLES[kind])).measurement
    angles = np.random.default_rng([seed, depth, rows]).normal(size=(rows, depth))
    return Request(made, tuple(made.parameters), angles, measurement, shots)


def exact_values(request: Request) -> np.ndarray:
    """(N, P), from Qiskit's state vectors."""
    states = [Statevector(request.circuit.assign_parameters(row)) for row in request.bindings]
    found = [[s.expectation_value(o).real for o in request.measurement.observables] for s in states]
    return np.array(found).reshape(len(states), len(request.measurement.observables))


class Recording(Provider):
    """Exact values, or shots from exact probabilities; `jobs`: what it was sent, as (parameters, bindings, shots) of each PUB.

    Args:
        sampler: Or an estimator.
        limits: Of a job.
        seeded: Whether numbers follow from the seed given, or each binding has the same draws.
        before: What a job does first.
    """

    def __init__(
        self, sampler: bool = False, limits: Limits | None = None, seeded: bool = False, before: Callable[[], Any] | None = None
    ):
        self.limits = limits or Limits()
        self._sampler, self._seeded, self._before = sampler, seeded, before
        self.jobs: list[list[tuple[int, int, int | None]]] = []

    @property
    def name(self) -> str:
        return "recording"

    @property
    def device(self) -> None:
        return None

    @property
    def seeded(self) -> bool:
        return self._seeded

    @property
    def circuits(self) -> int:
        return sum(rows for job in self.jobs for _, rows, _ in job)

    def sampler(self, seed: int) -> BaseSamplerV2 | None:
        return _Sampler(self, np.random.default_rng(seed) if self._seeded else 7) if self._sampler else None

    def estimator(self, seed: int) -> BaseEstimatorV2 | None:
        return None if self._sampler else _Estimator(self)

    def started(self, pubs: Sequence[Any], job: PrimitiveJob) -> Any:
        """Called in the thread of the job."""
        self.jobs.append([(pub[0].num_parameters, len(_rows(pub)), pub[2] if self._sampler else None) for pub in pubs])
        if self._before is not None:
            self._before()
        return job.result()


def _rows(pub: Sequence[Any]) -> Any:
    return next(part for part in pub[1:] if isinstance(part, np.ndarray))


class _Sampler(BaseSamplerV2):
    def __init__(self, provider: Recording, seed: Generator | int):
        self._provider, self._exact = provider, ExactSampler(seed=seed)

    def run(self, pubs: Any, *, shots: int | None = None) -> PrimitiveJob:
        pubs = list(pubs)
        return _begun(lambda: self._provider.started(pubs, self._exact.run(pubs, shots=shots)))


class _Estimator(BaseEstimatorV2):
    def __init__(self, provider: Recording):
        self._provider, self._exact = provider, ExactEstimator()

    def run(self, pubs: Any, *, precision: float | None = None) -> PrimitiveJob:
        pubs = list(pubs)
        return _begun(lambda: self._provider.started(pubs, self._exact.run(pubs, precision=precision)))


def _begun(task: Callable[[], Any]) -> PrimitiveJob:
    job = PrimitiveJob(task)
    job._submit()
    return job


class Hostile:
    """What a primitive does in place of its work, drawn at random: raise when it is sent a job, or when it is asked for its
    result, never answer, answer too little, or nonsense.

    Args:
        moods: Those it has, by their probability.
        largest: Circuits that a job may have.
    """

    def __init__(self, primitive: Any, moods: dict[str, float], seed: int = 0, largest: int | None = None):
        self._primitive, self._moods, self._largest = primitive, moods, largest
        self._rng, self.released = np.random.default_rng(seed), threading.Event()
        self.sent: list[str] = []
        """The mood in which each job was received."""
        self.returned = 0
        """Circuits of the jobs that were answered well."""

    def run(self, pubs: Any, **options: Any) -> PrimitiveJob:
        pubs = list(pubs)
        circuits = sum(len(_rows(pub)) for pub in pubs)
        mood = str(self._rng.choice([*self._moods, "well"], p=[*self._moods.values(), 1 - sum(self._moods.values())]))
        mood = "large" if self._largest is not None and circuits > self._largest else mood
        self.sent.append(mood)
        if mood == "refuse":
            raise ConnectionError("the line is busy")
        self.returned += circuits if mood == "well" else 0
        return _begun(lambda: self._answer(mood, pubs, options))

    def _answer(self, mood: str, pubs: list[Any], options: dict[str, Any]) -> Any:
        if mood == "hang":
            self.released.wait()
        if mood in ("fail", "large", "hang"):
            raise RuntimeError(f"calibration lost ({mood})")
        result = self._primitive.run(pubs, **options).result()
        listed = list(result)
        if mood == "few":
            return PrimitiveResult(listed[:-1])
        if mood == "short":
            return PrimitiveResult([_short(one) for one in listed])
        if mood == "nan":
            return PrimitiveResult([_nan(one) for one in listed])
        return result


def _short(result: Any) -> Any:
    """Half of the shots; of an estimator, all values but the first row."""
    if isinstance(result, SamplerPubResult):
        bits = result.data["measured"]
        half = BitArray(bits.array[..., : bits.num_shots // 2, :], bits.num_bits)
        return SamplerPubResult(DataBin(measured=half, shape=half.shape))
    evs, stds = result.data.evs[1:], result.data.stds[1:]
    return PubResult(DataBin(evs=evs, stds=stds, shape=evs.shape))


def _nan(result: Any) -> Any:
    """One value is not a number; of a sampler, there are no bits."""
    if isinstance(result, SamplerPubResult):
        return SamplerPubResult(DataBin())
    evs = result.data.evs.copy()
    evs.flat[-1] = np.nan
    return PubResult(DataBin(evs=evs, stds=result.data.stds, shape=evs.shape))


class HostileSampler(Hostile, BaseSamplerV2):
    pass


class HostileEstimator(Hostile, BaseEstimatorV2):
    pass


@pytest.fixture
def recording() -> type[Recording]:
    return Recording


@pytest.fixture
def make_request() -> Callable[..., Request]:
    """(depth, rows, shots=20, kind=1, seed=0) -> a request on two qubits; of one basis, of three, of two, by kind."""
    return request_for


@pytest.fixture
def exact() -> Callable[[Request], np.ndarray]:
    return exact_values


@pytest.fixture
def hostile() -> Iterator[Callable[..., Hostile]]:
    """(moods, sampler=False, seed=0, largest=None) -> a primitive. Those that hang are let go in the end."""
    made: list[Hostile] = []

    def make(moods: dict[str, float] | None = None, sampler: bool = False, **options: Any) -> Hostile:
        inner: Any = ExactSampler(seed=7) if sampler else ExactEstimator()
        made.append((HostileSampler if sampler else HostileEstimator)(inner, moods or {}, **options))
        return made[-1]

    yield make
    for primitive in made:
        primitive.released.set()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for thread in [t for t in threading.enumerate() if t.name.startswith("qmm-quantum")]:
        thread.join(5)
        assert not thread.is_alive(), f"{thread.name} goes on"
