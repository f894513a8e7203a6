"""Aer: qiskit-aer's simulators as a provider, with the noise of a device or with noise that is written down."""

import difflib
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.providers import BackendV2

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.devices import device as snapshot
from qmm.quantum.execution.providers import Provider

if TYPE_CHECKING:
    pass

METHODS = ("automatic", "statevector", "density_matrix", "matrix_product_state", "stabilizer")


class Aer(Provider):
    """qiskit-aer's simulators.

    Args:
        method: "automatic", "statevector", "density_matrix", "matrix_product_state" or "stabilizer".
        device: A device to imitate, gates, couplings and noise: the name of a snapshot, "fake_torino" for instance, or a
            BackendV2. None: any gate between any qubits.
        noise: In place of the device's own.
        max_bond_dimension: Of matrix product states; None: no bound.
        truncation_threshold: Of matrix product states: the smallest Schmidt coefficients are dropped while their squares sum to
            less than this.
        gpu: Whether to simulate on a GPU.
        primitive: "sampler": bits, read-out errors among them; "estimator": expectation values, without read-out errors, and
            normal noise as from shots.
        threads: At most this many; None: as many as there are cores.
    """

    def __init__(
        self,
        method: str = "automatic",
        device: str | BackendV2 | None = None,
        noise: Any = None,
        max_bond_dimension: int | None = None,
        truncation_threshold: float | None = None,
        gpu: bool = False,
        primitive: Literal["sampler", "estimator"] = "sampler",
        threads: int | None = None,
    ):
        """Raises CircuitError for a method or a device that there is not."""
        if method not in METHODS:
            near = difflib.get_close_matches(str(method), METHODS, n=1)
            raise CircuitError(f"there is no method {method!r}; " + (f"did you mean {near[0]!r}?" if near else f"{METHODS}"))
        self.method, self._primitive = method, primitive
        self._device = snapshot(device) if isinstance(device, str) else device
        self._noise = noise
        self._options: dict[str, Any] = {"method": method, "fusion_threshold": 2}
        if max_bond_dimension is not None:
            self._options["matrix_product_state_max_bond_dimension"] = max_bond_dimension
        if truncation_threshold is not None:
            self._options["matrix_product_state_truncation_threshold"] = truncation_threshold
        if threads is not None:
            self._options["max_parallel_threads"] = threads

    @property
    def name(self) -> str:
        return f"aer {self.method}" + (f" of {self._device.name}" if self._device else "")

    @property
    def device(self) -> BackendV2 | None:
        return self._device

    @cached_property
    def noise_model(self) -> Any:
        from qiskit_aer.noise import NoiseModel

        if self._noise is None and self._device is not None:
            return NoiseModel.from_backend(self._device)
        return self._noise

    @cached_property
    def simulator(self) -> Any:
        """What runs circuits."""
        from qiskit_aer import AerSimulator

        from qmm.quantum.execution.region import RegionSimulator

        if self._device is None:
            return AerSimulator(noise_model=self._noise, **self._options)
        return RegionSimulator.of(self._device, self._noise, **self._options)

    def sampler(self, seed: int) -> BaseSamplerV2 | None:
        from qiskit_aer.primitives import SamplerV2

        return SamplerV2.from_backend(self.simulator, seed=seed) if self._primitive == "sampler" else None

    def estimator(self, seed: int) -> BaseEstimatorV2 | None:
        from qiskit_aer.primitives import EstimatorV2

        if self._primitive != "estimator":
            return None
        return EstimatorV2.from_backend(self.simulator, options={"run_options": {"seed_simulator": seed}})
