"""Requests taken apart into what one PUB can hold of them, and put together again."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from qiskit.primitives import DataBin, PubResult, SamplerPubResult

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.answers import estimates_of_samples, estimates_of_values, in_order_of_circuit
from qmm.quantum.execution.jobs.keys import content_key
from qmm.quantum.execution.requests import Estimates, Request
from qmm.quantum.settings import Measurement


class Ask:
    """What one PUB holds of a request: for a sampler one of its bases, for an estimator all; and what is known of it so far."""

    def __init__(self, request: Request, alike: str, key: str):
        """Args:
        request: Of one basis where it goes to a sampler, its bindings in the order of the circuit's parameters.
        alike: Equal for asks that one PUB can hold.
        key: What is asked, by content.
        """
        self.request, self.alike, self.key, self.repetition = request, alike, key, 0
        self.circuits = max(1, len(request.measurement.bases))  # of each binding
        size = len(request.bindings), len(request.measurement.observables)
        self.estimates = Estimates(np.full(size, np.nan), np.full(size, np.nan))
        self.known = np.zeros(len(request.bindings), bool)
        self.error: Exception | None = None
        self.owner: Any = None  # the submission that it is a part of

    @property
    def identity(self) -> tuple[str, int]:
        return self.key, self.repetition

    @property
    def settled(self) -> bool:
        return self.error is not None or bool(self.known.all())

    def learn(self, rows: slice, estimates: Estimates) -> None:
        for own, new in zip(self.estimates, estimates, strict=True):
            own[rows] = new
        self.known[rows] = True

    def read(self, rows: slice, result: PubResult, place: slice, sampler: bool) -> Estimates:
        """The estimates of some of its rows, from `place` in the result of a PUB."""
        request = self.request._replace(bindings=self.request.bindings[rows])
        shape = (len(request.bindings),)
        if sampler:
            data = DataBin(measured=result.data["measured"][place], shape=shape)
            return estimates_of_samples(request, [SamplerPubResult(data)])
        parts = {name: np.asarray(result.data[name], float)[place] for name in ("evs", "stds")}
        return estimates_of_values(request, PubResult(DataBin(**parts, shape=parts["evs"].shape)))


class _Share(NamedTuple):
    ask: Ask
    columns: list[int]
    weight: float


class Recipe(NamedTuple):
    """How asks make the estimates of a request."""

    shape: tuple[int, int]
    shares: list[_Share]

    def estimates(self) -> Estimates:
        found = Estimates(np.zeros(self.shape), np.zeros(self.shape))
        for ask, columns, weight in self.shares:
            found.values[:, columns] += weight * ask.estimates.values
            found.variances[:, columns] += weight**2 * ask.estimates.variances
        return found


class Separator:
    """Takes requests apart.

    Args:
        scope: What results depend on besides the request: the device, the seed.
        sampler: Whether they go to a sampler, or to an estimator.
        shots: As many as one circuit may have; a request of more is asked several times, and averaged.
    """

    def __init__(self, scope: Sequence[Any], sampler: bool, shots: int | None = None):
        self._scope, self._sampler, self._shots = content_key(*scope, sampler), sampler, shots

    def __call__(self, requests: Sequence[Request]) -> tuple[list[Ask], list[Recipe]]:
        """Raises CircuitError for a request that needs bits where there is no sampler."""
        digest = _remembering()
        asks: list[Ask] = []
        recipes: list[Recipe] = []
        for request in requests:
            if request.reader is not None and not self._sampler:
                raise CircuitError("there is no sampler, and a mitigation needs bits; take another provider")
            recipe = Recipe((len(request.bindings), len(request.measurement.observables)), [])
            if len(request.bindings):
                recipe.shares.extend(self._shares(request, digest))
            asks += [share.ask for share in recipe.shares]
            recipes.append(recipe)
        return asks, recipes

    def _shares(self, request: Request, digest: Callable[[Any], str]) -> list[_Share]:
        rows = in_order_of_circuit(request)
        ordered = request._replace(parameters=tuple(request.circuit.parameters), bindings=rows)
        bindings = content_key(rows)
        return [
            _Share(self._ask(part._replace(shots=shots), digest, bindings), columns, shots / request.shots)
            for part, columns in (
                _by_basis(ordered) if self._sampler else [(ordered, [*range(len(ordered.measurement.homes))])]
            )
            if columns
            for shots in _pieces(request.shots, self._shots)
        ]

    def _ask(self, request: Request, digest: Callable[[Any], str], bindings: str) -> Ask:
        observables, bases, _ = request.measurement
        circuit, read = digest(request.circuit), [digest(o) for o in observables]
        alike = content_key(circuit, bases[0] if self._sampler else read, request.shots)
        reader = None if request.reader is None else digest(request.reader)
        return Ask(request, alike, content_key(self._scope, alike, read, bindings, reader))


def _by_basis(request: Request) -> list[tuple[Request, list[int]]]:
    """One request for each basis, and the columns of its observables."""
    observables, bases, homes = request.measurement
    found = []
    for place, basis in enumerate(bases):
        columns = [i for i, home in enumerate(homes) if home == place]
        own = Measurement(tuple(observables[i] for i in columns), (basis,), (0,) * len(columns))
        found.append((request._replace(measurement=own), columns))
    return found


def _pieces(shots: int, most: int | None) -> list[int]:
    """Numbers of shots that sum to `shots`, none above `most`, as equal as can be."""
    count = 1 if not most else -(-shots // most)
    return [shots // count + (i < shots % count) for i in range(count)]


def _remembering() -> Callable[[Any], str]:
    """content_key that works out each object once; for as long as these objects live."""
    known: dict[int, tuple[Any, str]] = {}

    def digest(value: Any) -> str:
        if id(value) not in known:
            known[id(value)] = value, content_key(value)
        return known[id(value)][1]

    return digest
