"""Runtime: IBM Quantum's devices, and snapshots of them, with the mitigation that IBM's primitives bring."""

import atexit
import copy
import json
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers import BackendV2

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.devices import device as snapshot
from qmm.quantum.execution.ibm import machine
from qmm.quantum.execution.ibm.native import NativeSampler
from qmm.quantum.execution.providers import Limits, Provider
from qmm.quantum.execution.simulators.noise import unknown
from qmm.quantum.extras import require
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.pubs import Cache

if TYPE_CHECKING:
    from qmm.quantum.execution.ibm.local_runtime import Places

_KINDS = {"sampler": "Sampler", "estimator": "Estimator"}


class Runtime(Provider):
    """IBM Quantum, by qiskit-ibm-runtime's own Estimator and Sampler.

    They mitigate, also on a snapshot of a device ("fake_torino", ...), which is simulated here with its noise.

    Args:
        device: The name of a snapshot, or of a real device: "ibm_torino" for instance.
        mode: How a real device is reached: "job": each job queues by itself; "session": after the first, jobs need not queue;
            "batch": jobs run together. Sessions and batches open with the first job, and close by `close` or with the process.
        account: The name of an account in IBM's own store; None: the default one, or that of the environment.
        instance: Of the service; None: as the account says.
        options: Of the primitive, as qiskit_ibm_runtime.options_models.EstimatorOptions or SamplerOptions has them:
            {resilience_level: 1, twirling: {enable_gates: true}, ...}. The estimator's `resilience_level` is 0 unless given:
            nothing is mitigated that nobody asked for.
        primitive: "estimator", which has TREX, zero-noise extrapolation and probabilistic error cancellation, or "sampler".
        learning: Options of qiskit_ibm_runtime's NoiseLearnerV3, which learns the noise of layers for probabilistic error
            cancellation and amplification, once for each circuit.
        threads: Of the simulation of a snapshot, at most; None: as many as torch uses.
    """

    def __init__(
        self,
        device: str = "fake_torino",
        mode: Literal["job", "session", "batch"] = "job",
        account: str | None = None,
        instance: str | None = None,
        options: dict[str, Any] | None = None,
        primitive: Literal["sampler", "estimator"] = "estimator",
        learning: dict[str, Any] | None = None,
        threads: int | None = None,
    ):
        """Raises CircuitError for a snapshot, a mode or an option that there is not. IBM is asked when something is needed."""
        for what, value, known in (("primitive", primitive, _KINDS), ("mode", mode, ("job", "session", "batch"))):
            if value not in known:
                raise CircuitError(unknown(what, str(value), known))
        self._primitive, self._mode, self._options = primitive, mode, copy.deepcopy(options or {})
        if primitive == "estimator":
            self._options.setdefault("resilience_level", 0)
        self._learning = dict(learning or {})
        self._threads = threads or torch.get_num_threads()
        self._account = account, instance
        self._local = device.startswith("fake_")
        self._device = snapshot(device) if self._local else machine.RemoteDevice(device, account, instance)
        self._session: Any = None
        self._learnt: Cache[Any] = Cache()
        models = require("qiskit_ibm_runtime.options_models", "ibm", "IBM's primitives")
        self._check(getattr(models, f"{_KINDS[primitive]}Options"), self._options)
        self._check(models.NoiseLearnerV3Options, self._learning)
        _check_extrapolation(self._options.get("resilience", {}).get("zne", {}))

    @cached_property
    def name(self) -> str:
        said = {name: value for name, value in self._options.items() if name != "environment"}
        learning = f", learning {json.dumps(self._learning, sort_keys=True, default=str)}" if self._learning else ""
        return f"{self._primitive} of {self._device.name} {json.dumps(said, sort_keys=True, default=str)}{learning}"

    @property
    def device(self) -> BackendV2 | None:
        return self._device

    @property
    def remote(self) -> bool:
        return not self._local

    @cached_property
    def noise_model(self) -> Any:
        if not self._local:
            return None
        from qiskit_aer.noise import NoiseModel

        return NoiseModel.from_backend(self._device)

    @property
    def limits(self) -> Limits:  # type: ignore[override]
        told: Any = self._device if self._local else self._device.real
        return Limits(circuits=told.max_circuits, shots=getattr(told, "max_shots", None), uniform=True)

    def sampler(self, seed: int) -> BaseSamplerV2 | None:
        if self._primitive != "sampler":
            return None
        if not self._local:
            return NativeSampler(self._make(self._where(), None), self._device)
        from qmm.quantum.execution.ibm.local_runtime import LocalSampler

        return LocalSampler(self._places, self._make, seed)

    def estimator(self, seed: int) -> BaseEstimatorV2 | None:
        if self._primitive != "estimator":
            return None
        if not self._local:
            return self._make(self._where(), None)
        from qmm.quantum.execution.ibm.local_runtime import LocalEstimator

        return LocalEstimator(self._places, self._make, seed)

    def retrieve(self, job_id: str) -> Any:
        if self._local:
            return None
        return machine.service(*self._account).job(job_id)

    def label(self, primitive: BaseEstimatorV2 | BaseSamplerV2, label: str) -> None:
        options = getattr(primitive, "options", None)
        if not self._local and options is not None:
            options.environment.job_tags = [*options.environment.job_tags, label]

    def labelled(self, label: str) -> Any:
        if self._local:
            return None
        return next(iter(machine.service(*self._account).jobs(limit=1, job_tags=[label])), None)

    def close(self) -> None:
        """Closes the session or the batch, if there is one; another is opened when it is needed."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_session": None}  # a copy opens its own
        state.pop("_places", None)
        return state

    @cached_property
    def _places(self) -> "Places":
        from qmm.quantum.execution.ibm.local_runtime import Places

        return Places(self._device, self._threads)

    def _where(self) -> Any:
        """The device, or a session on it."""
        assert isinstance(self._device, machine.RemoteDevice)
        if self._mode == "job":
            return self._device.real
        if self._session is None:
            runtime = require("qiskit_ibm_runtime", "ibm", "IBM's devices")
            kind = runtime.Session if self._mode == "session" else runtime.Batch
            self._session = kind(backend=self._device.real)
            atexit.register(_close, weakref.ref(self))
        return self._session

    def _make(self, where: Any, seed: int | None) -> Any:
        """The Runtime's primitive, on a device, a session or a simulator."""
        module = require(f"qiskit_ibm_runtime.executor_{self._primitive}", "ibm", "IBM's primitives")
        options = copy.deepcopy(self._options)
        if seed is not None:
            options["simulator"] = {"seed_simulator": seed, **options.get("simulator", {})}
            options["simulator"].setdefault("layer_noise_model", [])  # else what was learnt is added to the noise there is
        made = getattr(module, _KINDS[self._primitive])(mode=where, options=options)
        return LearningEstimator(made, where, self._learning, self._learnt) if self._learns else made

    @property
    def _learns(self) -> bool:
        resilience = self._options.get("resilience", {})
        amplified = resilience.get("zne_mitigation") and resilience.get("zne", {}).get("amplifier") == "pea"
        wanted = resilience.get("pec_mitigation") or amplified
        return bool(wanted) and self._primitive == "estimator" and resilience.get("layer_noise_model") is None

    @staticmethod
    def _check(model: Any, options: dict[str, Any]) -> None:
        from pydantic import ValidationError

        try:
            model(**options)
        except ValidationError as error:
            raise CircuitError("; ".join(_complaint(model, found) for found in error.errors())) from None


class LearningEstimator(BaseEstimatorV2):
    """An estimator that has the noise of its circuits' layers learnt before it runs them for the first time.

    Args:
        estimator: The Runtime's.
        where: The device, a session on it, or a simulator.
        learning: Options of the NoiseLearnerV3.
        learnt: What was learnt before, by circuits.
    """

    def __init__(self, estimator: Any, where: Any, learning: dict[str, Any], learnt: Cache[Any]):
        self._estimator, self._where, self._learning, self._learnt = estimator, where, learning, learnt

    @property
    def options(self) -> Any:
        return self._estimator.options

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> Any:
        """Starts the job; before it, where circuits are new, one that learns, and is waited for."""
        listed = [EstimatorPub.coerce(pub, precision) for pub in pubs]
        layers = self._estimator.find_unique_layers(listed)
        key = self._estimator.backend().name, *(Fingerprint(pub.circuit) for pub in listed)
        maps = self._learnt.get(key, lambda: self._learn(layers))
        self.options.resilience.layer_noise_model = list(zip(layers, maps, strict=True))
        return self._estimator.run(listed)

    def _learn(self, layers: Sequence[Any]) -> Any:
        require("qiskit_noise_learning", "ibm", "learning the noise of layers (PEC, PEA)")
        runtime = require("qiskit_ibm_runtime.executor_noise_learner", "ibm", "IBM's primitives")
        options = dict(self._learning)
        seed = self.options.simulator.seed_simulator
        if seed is not None:
            options["simulator"] = {"seed_simulator": seed, **self._learning.get("simulator", {})}
        return runtime.NoiseLearnerV3(self._where, options).run(layers).result().to_pauli_lindblad_maps()


def _check_extrapolation(zne: dict[str, Any]) -> None:
    """Raises CircuitError where a fit through all points leaves nothing to tell errors by, which then are infinite."""
    factors, wanted = zne.get("noise_factors"), zne.get("extrapolator", ())
    if factors is None or isinstance(factors, str):
        return
    for name in [wanted] if isinstance(wanted, str) else wanted:
        unknowns = {"exponential": 2, "linear": 2, "double_exponential": 4, "fallback": 0}.get(name)
        unknowns = int(name.rsplit("_", 1)[1]) + 1 if unknowns is None else unknowns
        if len(factors) <= unknowns:
            raise CircuitError(
                f"options: extrapolator {name!r} has {unknowns} unknowns, and there are {len(factors)} noise_factors, "
                f"{list(factors)}: nothing is left to tell its error by; give {unknowns + 1} or more"
            )


def _complaint(model: Any, found: Any) -> str:
    """One thing that is wrong with options, with near names where one is unknown."""
    path = [str(part) for part in found["loc"]]
    where = ".".join(path)
    if found["type"] != "extra_forbidden":
        return f"options: {where}={found['input']!r}: {found['msg']}"
    for part in path[:-1]:
        inner = model.model_fields[part].annotation
        model = inner if hasattr(inner, "model_fields") else model
    within = f" in {'.'.join(path[:-1])}" if len(path) > 1 else ""
    return unknown(f"option{within}", path[-1], model.model_fields)


def _close(provider: "weakref.ref[Runtime]") -> None:
    found = provider()
    if found is not None:
        with suppress(Exception):  # the process ends, and the service closes sessions that nobody uses
            found.close()
