"""Aer: qiskit-aer's simulators as a provider, with the noise of a device or with noise that is written down."""

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.providers import BackendV2

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.devices import device as snapshot
from qmm.quantum.execution.ibm.machine import RemoteDevice
from qmm.quantum.execution.providers import Provider
from qmm.quantum.execution.simulators.noise import Noise, clifford_device, unknown

if TYPE_CHECKING:
    from qmm.quantum.execution.simulators.simulation import Simulation

_HOW = ("max_parallel_threads", "device", "fusion_threshold", "runtime_parameter_bind_enable")  # what decides about speed alone
METHODS = ("automatic", "statevector", "density_matrix", "matrix_product_state", "stabilizer")


class Aer(Provider):
    """Simulated devices, noise and all.

    Of a device, only the qubits that a circuit touches are simulated. Where all measurements are final, the probabilities of
    the outcomes are computed once for each binding, and shots are drawn from them.

    Args:
        method: "statevector" (with noise: a trajectory for each shot), "density_matrix", "matrix_product_state" or "stabilizer"
            of qiskit-aer; "automatic": what is fastest, for noisy circuits of up to 12 qubits our own density matrices, which
            give what qiskit-aer's give.
        device: A device to imitate, gates, couplings and errors: the name of a snapshot, "fake_torino", or of a real device,
            "ibm_torino", whose latest properties are fetched with a saved account; or a BackendV2. None: any gate between any
            qubits, or the device of `noise`.
        noise: In place of the device's errors; in Python also a `qiskit_aer.noise.NoiseModel`.
        max_bond_dimension: Of matrix product states; None: no bound.
        truncation_threshold: Of matrix product states: the smallest Schmidt coefficients are dropped as long as their squares
            sum to less than this.
        gpu: Whether to simulate on a GPU.
        primitive: "sampler": bits, with read-out errors. "estimator": expectation values, without read-out errors, with normal
            noise of the size that shots would bring.
        threads: At most this many; None: as many as torch uses.
        options: More options of qiskit_aer.AerSimulator.
        account: In IBM's own store, for the properties of a real device; None: the default one, or that of the environment.
    """

    def __init__(
        self,
        method: str = "automatic",
        device: str | BackendV2 | None = None,
        noise: Noise | None = None,
        max_bond_dimension: int | None = None,
        truncation_threshold: float | None = None,
        gpu: bool = False,
        primitive: Literal["sampler", "estimator"] = "sampler",
        threads: int | None = None,
        options: dict[str, Any] | None = None,
        account: str | None = None,
    ):
        """Raises CircuitError for a method, a device or an option that there is not, and for a GPU that there is not."""
        _one_of("method", method, METHODS)
        _one_of("primitive", primitive, ("sampler", "estimator"))
        self.method, self._primitive, self._noise = method, primitive, noise
        self._threads = threads or torch.get_num_threads()
        self._device = self._choose_device(device, account)
        ideal = self._device is None and noise is None
        wanted = {
            "matrix_product_state_max_bond_dimension": max_bond_dimension,
            "matrix_product_state_truncation_threshold": truncation_threshold,
            "max_parallel_threads": self._threads,
            # Halves the time of density matrices; states without noise take four times as long to fuse as to compute.
            "fusion_threshold": 2 if not ideal and method in ("automatic", "density_matrix") else None,
            "runtime_parameter_bind_enable": True if ideal else None,  # one circuit, whatever its angles; slower with noise
            "device": "GPU" if gpu else None,
            **(options or {}),
        }
        self._options = {name: value for name, value in wanted.items() if value is not None}
        self._check_options(gpu)

    @cached_property
    def name(self) -> str:
        parts = [self.method, *(f"{name}={value}" for name, value in sorted(self._options.items()) if name not in _HOW)]
        if self._device is not None:
            parts.append(self._device.name)
        if isinstance(self._noise, Noise):
            parts.append(repr(self._noise))
        elif self._noise is not None:
            model = repr(self._noise.to_dict(serializable=True)).encode()
            parts.append(f"noise model {hashlib.sha256(model).hexdigest()[:12]}")
        return f"aer {self._primitive} ({', '.join(parts)})"

    @property
    def device(self) -> BackendV2 | None:
        return self._device

    @cached_property
    def noise_model(self) -> Any:
        if self._noise is None:
            if self._device is None or self._device is clifford_device():
                return None
            from qiskit_aer.noise import NoiseModel

            return NoiseModel.from_backend(self._device)  # seconds, for a large device: made when it is asked for
        return self._model

    @cached_property
    def simulation(self) -> "Simulation":
        """What all jobs share."""
        from qmm.quantum.execution.simulators.region import Regions
        from qmm.quantum.execution.simulators.simulation import Simulation

        device = (
            None if self._device is clifford_device() else self._device
        )  # which is there to transpile for, and has no noise
        return Simulation(Regions(device, self._model, method=self.method, **self._options), self.method, self._threads)

    def sampler(self, seed: int) -> BaseSamplerV2 | None:
        from qmm.quantum.execution.simulators.simulated import SimulatedSampler

        return SimulatedSampler(self.simulation, seed) if self._primitive == "sampler" else None

    def estimator(self, seed: int) -> BaseEstimatorV2 | None:
        from qmm.quantum.execution.simulators.simulated import SimulatedEstimator

        return SimulatedEstimator(self.simulation, seed) if self._primitive == "estimator" else None

    @cached_property
    def _model(self) -> Any:
        """The noise that was given, as a NoiseModel."""
        if not isinstance(self._noise, Noise):
            return self._noise
        return self._noise.model()

    def _choose_device(self, device: str | BackendV2 | None, account: str | None) -> BackendV2 | None:
        from qiskit_aer.noise import NoiseModel

        if not isinstance(self._noise, Noise | NoiseModel | None):
            raise CircuitError(f"a {type(self._noise).__name__} came as noise; give a Noise, or a qiskit_aer NoiseModel")
        if isinstance(device, str):
            return RemoteDevice(device, account) if device.startswith("ibm_") else snapshot(device)
        if device is not None and not isinstance(device, BackendV2):
            raise CircuitError(
                f"a {type(device).__name__} came as device; give a name, 'fake_torino' for instance, or a BackendV2"
            )
        if device is None and isinstance(self._noise, Noise):
            return self._noise.device()
        if device is None and self.method == "stabilizer":
            return clifford_device()
        return device

    def _check_options(self, gpu: bool) -> None:
        from qiskit_aer import AerError, AerSimulator

        plain = AerSimulator()
        if gpu and "GPU" not in plain.available_devices():
            raise CircuitError(
                "qiskit-aer finds no GPU here; leave gpu out, or install qiskit-aer-gpu in the place of qiskit-aer, on Linux "
                "with an NVIDIA GPU and its driver"
            )
        known = vars(plain.options)
        for name in self._options:
            if name not in known:
                raise CircuitError(unknown("option of AerSimulator", name, known))
        try:
            AerSimulator(method=self.method, **self._options)
        except AerError as error:
            raise CircuitError(f"qiskit-aer refuses these options: {error.message}") from error


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise CircuitError(unknown(what, str(value), known))
