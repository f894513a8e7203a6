"""Providers: where circuits run. A provider names a device and makes Qiskit's primitives for it."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.providers import BackendV2

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.ibm.native import NativeSampler


class Limits(NamedTuple):
    """What one job may hold; None: as much as one likes."""

    pubs: int | None = None
    circuits: int | None = None
    """Bindings times bases, of all PUBs together."""
    shots: int | None = None
    """Of one circuit."""
    uniform: bool = False
    """Whether all PUBs of a job must have the same shots."""


class Provider(ABC):
    """Makes the primitives of a device. It holds no credentials: those stay in the store of whoever issued them."""

    limits: Limits = Limits()

    @property
    @abstractmethod
    def name(self) -> str:
        """What the device is called in reports and in the journal: equal names mean equal results, up to chance."""

    @property
    @abstractmethod
    def device(self) -> BackendV2 | None:
        """What circuits are transpiled for; None where any gate can stand between any qubits."""

    @abstractmethod
    def sampler(self, seed: int) -> BaseSamplerV2 | None:
        """A sampler, whose random numbers follow from `seed` where it is a simulator; None where there is only an estimator."""

    def estimator(self, seed: int) -> BaseEstimatorV2 | None:
        """An estimator; None where there is only a sampler."""
        return None

    @property
    def noise_model(self) -> Any:
        """The `qiskit_aer.noise.NoiseModel` of a simulated device on its physical qubits; None where it is not known."""
        return None

    def retrieve(self, job_id: str) -> Any:
        """A job that was submitted before, by another process perhaps; None where jobs end with their process."""
        return None

    def label(self, primitive: BaseEstimatorV2 | BaseSamplerV2, label: str) -> None:
        """Gives the jobs that a primitive sends from now on a label, for `labelled`; does nothing where jobs have none."""
        return

    def labelled(self, label: str) -> Any:
        """The job of that label: its process may have ended before it knew the id. None where there is none."""
        return None

    @property
    def remote(self) -> bool:
        """Whether jobs outlive their process, so that `retrieve` finds them."""
        return type(self).retrieve is not Provider.retrieve

    @property
    def seeded(self) -> bool:
        """Whether numbers follow from the seed, as in simulators. Then the requests of one submission share no job with others:
        what came while a job was under way depends on timing, and with it the numbers would."""
        return not self.remote


class Given(Provider):
    """A primitive that the user made."""

    def __init__(self, primitive: BaseEstimatorV2 | BaseSamplerV2, device: BackendV2 | None = None):
        if not isinstance(primitive, BaseEstimatorV2 | BaseSamplerV2):
            raise CircuitError(
                f"a {type(primitive).__name__} came as primitive; give a Provider, or one of Qiskit's V2 primitives "
                "(a subclass of BaseEstimatorV2 or BaseSamplerV2)"
            )
        self._primitive = primitive
        own = getattr(primitive, "backend", None)
        own = own() if callable(own) else own
        self._device = device or (own if isinstance(own, BackendV2) else None)

    @property
    def name(self) -> str:
        kind = type(self._primitive)
        return f"{kind.__module__}.{kind.__qualname__}" + (f" on {self._device.name}" if self._device else "")

    @property
    def device(self) -> BackendV2 | None:
        return self._device

    def sampler(self, seed: int) -> BaseSamplerV2 | None:
        if not isinstance(self._primitive, BaseSamplerV2):
            return None
        return self._primitive if self._device is None else NativeSampler(self._primitive, self._device)

    def estimator(self, seed: int) -> BaseEstimatorV2 | None:
        return self._primitive if isinstance(self._primitive, BaseEstimatorV2) else None

    @property
    def seeded(self) -> bool:
        """Whether the user gave it a seed, where simulators have it."""
        options = getattr(self._primitive, "options", None)
        run_options = getattr(options, "run_options", None)
        return any(
            seed is not None
            for seed in (
                getattr(self._primitive, "seed", None),
                getattr(options, "seed_simulator", None),
                run_options.get("seed_simulator") if isinstance(run_options, dict) else None,
            )
        )
