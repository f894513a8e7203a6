"""IBM's Runtime on snapshots, and with accounts that are missing, refused or not reached; never with a key in sight."""

import copy
import io
import json
import logging
import pickle
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.accounts import management
from qiskit_ibm_runtime.options_models import EstimatorOptions

from qmm.quantum import Circuit, CircuitError, CompiledCircuit, ExactBackend
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.devices import device
from qmm.quantum.execution.ibm import machine
from qmm.quantum.execution.ibm.runtime import LearningEstimator, NativeSampler, Runtime
from qmm.quantum.execution.simulators.aer import Aer

TOKEN = "planted-0123456789abcdefABCDEF0123456789xyz"
INPUTS, WEIGHTS = ParameterVector("x", 2), ParameterVector("w", 2)


@pytest.fixture
def compiled() -> CompiledCircuit:
    made = QuantumCircuit(3)
    made.ry(INPUTS[0], 0)
    made.rx(INPUTS[1], 1)
    for _ in range(2):
        made.cx(0, 1)
        made.rz(WEIGHTS[0], 1)
        made.cx(1, 2)
        made.ry(WEIGHTS[1], 2)
    return CompiledCircuit(Circuit.of(made, list(INPUTS), list(WEIGHTS), ["ZZI", "IXX", "ZIZ"]))


@pytest.fixture
def angles() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 2, dtype=torch.float64, generator=generator), torch.tensor([0.4, -0.7], dtype=torch.float64)


def error(backend: PrimitiveBackend, compiled: CompiledCircuit, angles: tuple[torch.Tensor, torch.Tensor]) -> float:
    exact = ExactBackend().submit(compiled, *angles).result()
    return float((backend.submit(compiled, *angles).result() - exact).abs().mean())


class TestSnapshots:
    @pytest.mark.parametrize("primitive", ["estimator", "sampler"])
    def test_without_mitigation_it_is_the_noisy_device(self, compiled, angles, primitive: str) -> None:
        shots = 20_000
        found = PrimitiveBackend(Runtime("fake_torino", primitive=primitive), shots=shots).submit(compiled, *angles)  # type: ignore[arg-type]
        noisy = PrimitiveBackend(Aer(device="fake_torino"), shots=shots).submit(compiled, *angles).result()
        torch.testing.assert_close(found.result(), noisy, atol=5 * (2 / shots) ** 0.5, rtol=0)
        assert found.variances().sqrt().mean() == pytest.approx(1 / shots**0.5, rel=0.3)

    def test_trex_takes_read_out_errors_out(self, compiled, angles) -> None:
        """The device reads 3 to 10 % of its bits wrongly, and errs a tenth of that in its few gates."""
        plain, mitigated = ({"resilience_level": level} for level in (0, 1))
        errors = [
            error(PrimitiveBackend(Runtime("fake_manila", options=o), shots=20_000), compiled, angles)
            for o in (plain, mitigated)
        ]
        print(errors)
        assert errors[1] < 0.75 * errors[0]  # chance: 0.006, give or take 0.001, of the mean of 12 errors

    def test_extrapolation_twirling_and_decoupling_run(self, compiled, angles) -> None:
        options = {
            "resilience_level": 2,
            "resilience": {"zne": {"noise_factors": [1, 1.5, 2], "extrapolator": "linear"}},
            "twirling": {"num_randomizations": 4},
            "dynamical_decoupling": {"enable": True},
        }
        found = error(PrimitiveBackend(Runtime("fake_manila", options=options), shots=400), compiled, angles)
        assert found < 0.5
        twirled = Runtime(
            "fake_manila", primitive="sampler", options={"twirling": {"enable_gates": True, "num_randomizations": 4}}
        )
        assert error(PrimitiveBackend(twirled, shots=400), compiled, angles) < 0.3

    def test_pubs_of_several_regions_and_shots(self) -> None:
        """Results come in the order of the PUBs, and in their shapes."""
        runtime = Runtime("fake_torino")
        pubs: list[Any] = []
        for qubit, precision in ((3, 0.1), (120, 0.02), (3, 0.02)):
            made = QuantumCircuit(133)
            if qubit == 120:
                made.x(qubit)
            made.rz(WEIGHTS[0], qubit)
            pauli = SparsePauliOp.from_sparse_list([("Z", [qubit], 1.0)], 133)
            pubs.append((made, [[pauli], [2 * pauli]], np.zeros((2, 3, 1)), precision))
        results = runtime.estimator(1).run(pubs).result()  # type: ignore[union-attr]
        signs = [np.sign(result.data.evs) for result in results]
        assert [sign.shape for sign in signs] == [(2, 3)] * 3
        assert [sign.mean() for sign in signs] == [1, -1, 1]

    def test_circuits_that_have_lost_their_parameters(self) -> None:
        made = QuantumCircuit(5)
        made.x(2)
        made.rz(WEIGHTS[0], 4)
        values = Runtime("fake_manila").estimator(1).run([(made, ["IIZII", "IIIIZ"], np.zeros((3, 1, 1)), 0.1)]).result()  # type: ignore[union-attr]
        assert values[0].data.evs.shape == (3, 2)
        assert (values[0].data.evs[:, 0] < -0.5).all()

    def test_seeds_decide(self, compiled, angles) -> None:
        first, again, other = (
            PrimitiveBackend(Runtime("fake_manila", options={"resilience_level": 1}), shots=100, seed=seed)
            for seed in (1, 1, 2)
        )
        values = [backend.submit(compiled, *angles).result() for backend in (first, again, other)]
        assert torch.equal(values[0], values[1])
        assert not torch.equal(values[0], values[2])

    def test_noise_of_layers_is_learnt_once_and_cancelled(self, compiled, angles) -> None:
        pytest.importorskip("qiskit_noise_learning")
        options = {"resilience_level": 1, "resilience": {"pec_mitigation": True}}
        learning = {"num_randomizations": 16, "shots_per_randomization": 64, "layer_pair_depths": [0, 2, 8]}
        runtime = Runtime("fake_manila", options=options, learning=learning)
        backend = PrimitiveBackend(runtime, shots=4000)
        assert error(backend, compiled, angles) < 0.1
        assert len(runtime._learnt._kept) == 1
        error(backend, compiled, angles)
        assert len(runtime._learnt._kept) == 1

    def test_what_is_missing_to_learn_noise_is_named(self, compiled, angles, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "qiskit_noise_learning", None)
        runtime = Runtime("fake_manila", options={"resilience": {"zne_mitigation": True, "zne": {"amplifier": "pea"}}})
        with pytest.raises(CircuitError, match=r'learning the noise of layers \(PEC, PEA\) need.*pip install "qmm\[ibm\]"'):
            PrimitiveBackend(runtime, shots=10).submit(compiled, *angles).result()


class TestOptions:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"device": "fake_torinno"}, "did you mean fake_torino"),
            ({"mode": "sesion"}, "there is no mode 'sesion'; did you mean session"),
            ({"primitive": "estimate"}, "did you mean estimator"),
            ({"options": {"resilience_lvel": 1}}, "no option 'resilience_lvel'; did you mean resilience_level or resilience"),
            (
                {"options": {"twirling": {"enable_gate": True}}},
                "no option in twirling 'enable_gate'; did you mean enable_gates",
            ),
            (
                {"options": {"resilience": {"zne": {"noise_factor": [1]}}}},
                "in resilience.zne 'noise_factor'; did you mean noise_f",
            ),
            ({"options": {"resilience_level": 7}}, "options: resilience_level=7: Input should be 0, 1 or 2"),
            ({"options": {"resilience": {"zne": {"noise_factors": [1, 3], "extrapolator": "linear"}}}}, "give 3 or more"),
            ({"options": {"resilience_level": 1}, "primitive": "sampler"}, "no option 'resilience_level'"),
            ({"learning": {"layer_depths": [1]}}, "no option 'layer_depths'; did you mean layer_pair_depths"),
        ],
    )
    def test_what_there_is_not(self, arguments: dict, message: str) -> None:
        with pytest.raises(CircuitError, match=message):
            Runtime(**arguments)

    def test_nothing_is_mitigated_unasked(self) -> None:
        assert Runtime("fake_manila")._options["resilience_level"] == 0
        assert EstimatorOptions().resilience_level == 1

    def test_names_tell_apart_what_gives_other_results(self) -> None:
        made = [
            Runtime("fake_manila"),
            Runtime("fake_torino"),
            Runtime("fake_manila", primitive="sampler"),
            Runtime("fake_manila", options={"resilience_level": 1}),
            Runtime("ibm_torino"),
        ]
        assert len({runtime.name for runtime in made}) == len(made)
        tagged = Runtime("fake_manila", options={"environment": {"job_tags": ["mine"]}})
        assert tagged.name == made[0].name

    def test_a_missing_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [n for n in sys.modules if n.split(".")[0] == "qiskit_ibm_runtime"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime", None)
        with pytest.raises(CircuitError, match=r'pip install "qmm\[ibm\]"'):
            Runtime("ibm_torino")
        with pytest.raises(CircuitError, match=r'pip install "qmm\[ibm\]"'):
            machine.service()

    def test_one_number_of_shots_a_job(self) -> None:
        assert Runtime("fake_manila").limits.uniform

    def test_copies(self) -> None:
        runtime = Runtime("ibm_torino", options={"resilience_level": 1}, mode="session")
        runtime._session = object()
        for clone in (copy.deepcopy(runtime), pickle.loads(pickle.dumps(runtime))):
            assert clone.name == runtime.name
            assert clone._session is None


class _Service:
    """What QiskitRuntimeService offers of a device that is none."""

    def __init__(self, **arguments: Any):
        self.arguments = arguments

    def backend(self, name: str) -> Any:
        if name != "ibm_small":
            raise QiskitBackendNotFoundError("No backend matches the criteria.")
        return device("fake_manila")

    def backends(self) -> list[Any]:
        return [device("fake_manila"), device("fake_guadalupe")]

    def job(self, job_id: str) -> str:
        return f"job {job_id}"

    def jobs(self, limit: int, job_tags: list[str]) -> list[str]:
        return [f"job tagged {job_tags[0]}"] if job_tags != ["nothing"] else []


class TestService:
    @pytest.fixture(autouse=True)
    def service(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("qiskit_ibm_runtime.QiskitRuntimeService", _Service)

    def test_nothing_is_asked_before_it_is_needed(self) -> None:
        runtime = Runtime("ibm_none")
        assert runtime.device is not None
        assert (runtime.device.name, runtime.remote) == ("ibm_none", True)
        with pytest.raises(CircuitError, match="no device 'ibm_none'; it has fake_manila, fake_guadalupe"):
            _ = runtime.device.target

    def test_a_device_is_itself(self) -> None:
        runtime = Runtime("ibm_small")
        assert runtime.device is not None
        assert runtime.device.num_qubits == 5
        assert runtime.device.configuration().n_qubits == 5  # what only the real device has
        assert runtime.limits.uniform
        with pytest.raises(CircuitError, match="primitives only"):
            runtime.device.run(QuantumCircuit(1))
        assert runtime.noise_model is None

    def test_the_noise_of_a_real_device_simulated(self, compiled, angles) -> None:
        aer = Aer(device="ibm_small", account="mine")
        found = PrimitiveBackend(aer, shots=4000).submit(compiled, *angles).result()
        snapshot = PrimitiveBackend(Aer(device="fake_manila"), shots=4000).submit(compiled, *angles).result()
        torch.testing.assert_close(found, snapshot, atol=5 * (2 / 4000) ** 0.5, rtol=0)
        assert "ibm_small" in aer.name

    def test_jobs_are_found_again(self) -> None:
        runtime = Runtime("ibm_small")
        assert runtime.retrieve("abc") == "job abc"
        assert runtime.labelled("mark") == "job tagged mark"
        assert runtime.labelled("nothing") is None
        estimator = Runtime("ibm_small", options={"environment": {"job_tags": ["mine"]}}).estimator(0)
        assert estimator is not None
        runtime.label(estimator, "mark")
        assert estimator.options.environment.job_tags == ["mine", "mark"]
        local = Runtime("fake_manila")
        assert (local.retrieve("abc"), local.labelled("mark"), local.remote) == (None, None, False)

    def test_measurements_in_any_basis_in_the_devices_gates(self, compiled) -> None:
        """The device refuses any other gate."""
        runtime = Runtime("ibm_small", primitive="sampler")
        sampler = runtime.sampler(0)
        assert isinstance(sampler, NativeSampler)
        runtime.label(sampler, "mark")
        assert sampler.options.environment.job_tags == ["mark"]
        sent: list[Any] = []
        sampler._sampler.run = lambda pubs, shots: sent.append((pubs[0], shots))
        made = QuantumCircuit(5, 1)
        made.h(0)
        made.measure(0, 0)
        sampler.run([made], shots=10)
        ((circuit, shots),) = sent
        assert set(circuit.count_ops()) <= set(device("fake_manila").target.operation_names)
        assert shots == 10

    def test_noise_is_learnt_on_the_device_before_circuits_run(self) -> None:
        runtime = Runtime("ibm_small", options={"resilience": {"pec_mitigation": True}})
        assert isinstance(runtime.estimator(0), LearningEstimator)
        known = Runtime("ibm_small", options={"resilience": {"pec_mitigation": True, "layer_noise_model": []}})
        assert not isinstance(known.estimator(0), LearningEstimator)

    @pytest.mark.parametrize(("mode", "kind"), [("session", "Session"), ("batch", "Batch")])
    def test_sessions_open_once_and_close(self, monkeypatch: pytest.MonkeyPatch, mode: Any, kind: str) -> None:
        opened: list[Any] = []

        class Fake:
            def __init__(self, backend: Any):
                self.backend, self.closed = backend, False
                opened.append(self)

            def close(self) -> None:
                self.closed = True

        monkeypatch.setattr(f"qiskit_ibm_runtime.{kind}", Fake)
        runtime = Runtime("ibm_small", mode=mode)
        assert runtime.device is not None
        assert not opened
        assert runtime._where() is runtime._where() is opened[0]
        runtime.close()
        assert opened[0].closed
        runtime.close()
        assert runtime._where() is opened[1]
        runtime.close()


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged, by all libraries, however little it matters."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    levels = {logger: logger.level for logger in (root, logging.getLogger("qiskit_ibm_runtime"))}
    root.addHandler(handler)
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)


class TestCredentials:
    @pytest.fixture(autouse=True)
    def store(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """IBM's own store, with one account; no request leaves this process."""
        for name in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_CHANNEL", "QISKIT_IBM_INSTANCE", "QISKIT_IBM_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(management, "_DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(tmp_path / "accounts.json"))
        QiskitRuntimeService.save_account(token=TOKEN, name="mine", channel="ibm_quantum_platform")
        self.answer: Any = requests.ConnectionError(f"no route, with {TOKEN}")
        monkeypatch.setattr(requests.Session, "request", lambda session, method, url, **options: self._respond(url))

    def _respond(self, url: str) -> requests.Response:
        if isinstance(self.answer, Exception):
            raise self.answer
        response = requests.Response()
        response.status_code, response.url, response.reason = self.answer, url, "Unauthorized"
        message = f"API key {TOKEN} has expired"
        response._content = json.dumps({"errorCode": "BXNIM0415E", "errorMessage": message}).encode()
        response.headers["content-type"] = "application/json"
        response.request = requests.Request("GET", url).prepare()
        return response

    @pytest.mark.parametrize(
        ("account", "answer", "message"),
        [
            ("yours", 401, r"account 'yours' of IBM Quantum is not saved here; save it once.*name=\"yours\""),
            (None, 401, r"the default account of IBM Quantum is not saved here; .*save_account\(token"),
            ("mine", 401, r"refuses account 'mine': its API key is wrong, has expired.*https://quantum.cloud.ibm.com"),
            ("mine", requests.ConnectionError(f"no route, with {TOKEN}"), "cannot be reached; check the network"),
        ],
    )
    def test_what_to_do_and_no_key(self, account, answer, message: str, logged: io.StringIO, compiled, angles) -> None:
        self.answer = answer
        if account is None:
            QiskitRuntimeService.delete_account(name="mine")
        runtime = Runtime("ibm_torino", account=account)
        with pytest.raises(CircuitError, match=message) as caught:
            PrimitiveBackend(runtime).submit(compiled, *angles).result()
        shown = "".join(traceback.format_exception(caught.value))
        kept = repr(runtime) + runtime.name + repr(vars(runtime)) + repr(pickle.dumps(runtime)) + repr(runtime.device)
        for text in (shown, kept, logged.getvalue()):
            assert TOKEN not in text

    def test_unknown_troubles_lose_what_is_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Broken:
            def __init__(self, **arguments: Any):
                raise RuntimeError(f"out of order: {TOKEN}")

        monkeypatch.setattr("qiskit_ibm_runtime.QiskitRuntimeService", Broken)
        with pytest.raises(CircuitError, match=r"does not open account 'mine': RuntimeError: out of order: \.\.\.$"):
            machine.service("mine")
