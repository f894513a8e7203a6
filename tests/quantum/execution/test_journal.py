"""Nothing is lost: runs that are killed find again what they had, and pay for nothing twice."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import PauliEvolutionGate, UnitaryGate
from qiskit.primitives import PrimitiveJob
from qiskit.quantum_info import Pauli, SparsePauliOp

from qmm.quantum import CircuitError
from qmm.quantum.execution import Estimates, Limits, Request
from qmm.quantum.execution.jobs.asks import Separator
from qmm.quantum.execution.jobs.dispatch import Dispatcher
from qmm.quantum.execution.jobs.keys import Repetitions, content_key
from qmm.quantum.execution.jobs.packing import packed
from qmm.quantum.execution.jobs.sending import Jobs

QUICK: dict[str, Any] = {"wait": 0.001, "longest_wait": 0.002}


def _dispatcher(provider, folder, seed=0, **settings) -> Dispatcher:
    return Dispatcher(provider, seed, Jobs(folder=str(folder), **QUICK, **settings))


def _again(provider):
    """A provider as another process would make it."""
    other = copy.copy(provider)
    other.jobs = []
    return other


@pytest.mark.parametrize("sampler", [True, False])
def test_a_run_begun_again_finds_everything(sampler, recording, make_request, tmp_path):
    requests = [make_request(2, 3), make_request(1, 4, kind=2), make_request(2, 3)]
    provider = recording(sampler, seeded=True)
    first = _dispatcher(provider, tmp_path)
    expected = [first.submit(requests).result(60), first.submit(requests).result(60)]
    again = _again(provider)
    second = _dispatcher(again, tmp_path)
    for submission in expected:
        for one, other in zip(second.submit(requests).result(60), submission, strict=True):
            np.testing.assert_array_equal(one, other)
    assert again.jobs == []
    figures = second.ledger.snapshot()
    assert (figures.found_circuits, figures.circuits, figures.jobs) == (first.ledger.snapshot().circuits, 0, 0)
    assert figures.found_shots == 20 * figures.found_circuits
    second.submit(requests[:1]).result(60)  # for the fifth time, which is a new one
    assert len(again.jobs) == 1


def test_repetitions_are_independent_and_other_seeds_too(recording, make_request, tmp_path):
    request = make_request(2, 3, 200)
    runs = []
    for seed in (0, 1):
        dispatcher = _dispatcher(recording(True, seeded=True), tmp_path, seed)
        runs += [estimates.values for estimates in dispatcher.submit([request, request]).result(60)]
    assert len({values.tobytes() for values in runs}) == 4


def test_what_came_before_an_error_is_found_by_the_next_run(recording, make_request, tmp_path, exact):
    class Failing(recording):  # type: ignore[misc, valid-type]
        def started(self, pubs, job):
            if len(self.jobs) >= 3:
                raise ConnectionError("gone")
            return super().started(pubs, job)

    request = make_request(1, 10, kind=0)
    with pytest.raises(CircuitError, match=f"what was returned before is in {tmp_path}: begin the run again"):
        _dispatcher(Failing(limits=Limits(circuits=2)), tmp_path).submit([request]).result(60)
    provider = recording(limits=Limits(circuits=3))  # limits may have changed meanwhile
    (got,) = _dispatcher(provider, tmp_path).submit([request]).result(60)
    np.testing.assert_allclose(got.values, exact(request), atol=1e-10)
    assert provider.circuits == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "values", "gone"])
def test_damaged_entries_are_made_again(damage, recording, make_request, tmp_path, exact):
    request = make_request(1, 4, kind=0)
    provider = recording(limits=Limits(circuits=2))
    _dispatcher(provider, tmp_path).submit([request]).result(60)
    path = min((tmp_path / "results").iterdir())
    content = path.read_bytes()
    values = bytearray(content)
    values[content.index(b"values.npy") + 160] ^= 255  # behind the header of the array
    wrong = {"cut": content[:-40], "empty": b"", "noise": b"PK" + bytes(200), "values": bytes(values)}
    path.unlink() if damage == "gone" else path.write_bytes(wrong[damage])
    for lines in (tmp_path / "jobs").iterdir():
        lines.write_bytes(lines.read_bytes() + b'{"step": "sent", "ma')
    (tmp_path / "jobs" / "x.jsonl").write_bytes(b"\xff\xfe\n[1]\n{}\nnull\n")
    (tmp_path / "results" / ".y.npz.partial").write_bytes(b"PK")
    again = _again(provider)
    (got,) = _dispatcher(again, tmp_path).submit([request]).result(60)
    np.testing.assert_allclose(got.values, exact(request), atol=1e-10)
    assert again.circuits == 2


def test_several_runs_may_use_a_folder(recording, make_request, tmp_path):
    provider = recording()
    one, other = _dispatcher(provider, tmp_path), _dispatcher(provider, tmp_path)
    futures = [d.submit([make_request(1 + i % 2, 2, seed=i)]) for i in range(10) for d in (one, other)]
    for future in futures:
        future.result(60)
    again = _again(provider)
    third = _dispatcher(again, tmp_path)
    for i in range(10):
        third.submit([make_request(1 + i % 2, 2, seed=i)]).result(60)
    assert again.jobs == []


def test_a_folder_that_cannot_be_made(recording, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CircuitError, match=r"no journal can be kept in .*file.*give another folder"):
        _dispatcher(recording(), tmp_path / "file")


def test_where_the_run_keeps_it_unless_the_user_says(recording, make_request, tmp_path):
    free, fixed = Dispatcher(recording()), _dispatcher(recording(), tmp_path / "mine")
    for dispatcher in (free, fixed):
        dispatcher.keep_in(tmp_path / "run")
        dispatcher.keep_in(tmp_path / "run")
    assert free.folder == tmp_path / "run"
    assert fixed.folder == tmp_path / "mine"
    free.submit([make_request(1, 1)]).result(60)
    assert len(list((tmp_path / "run" / "results").iterdir())) == 1


def test_a_disk_that_is_full_costs_the_journal_and_not_the_run(recording, make_request, tmp_path, exact):
    dispatcher = _dispatcher(recording(), tmp_path)
    request = make_request(1, 2, kind=0)
    for path in (tmp_path / "results", tmp_path / "jobs"):
        path.rmdir()
    with pytest.warns(UserWarning, match="not on disk|not written down"):
        (got,) = dispatcher.submit([request]).result(60)
    np.testing.assert_allclose(got.values, exact(request), atol=1e-10)


class _Kept(PrimitiveJob):
    """A job that another process can ask for."""

    def __init__(self, job_id, task):
        super().__init__(task)
        self._job_id = job_id
        self._submit()


@pytest.fixture
def remote(recording):
    class Remote(recording):  # type: ignore[misc, valid-type]
        """Its jobs are kept; the process that sends them may be `gone` before it hears of it."""

        kept: dict[str, tuple[str, object]] = {}  # noqa: RUF012 - of the service
        gone = unreachable = lost = False

        @property
        def remote(self) -> bool:
            return True

        @property
        def seeded(self) -> bool:
            return False

        def estimator(self, seed):
            made = super().estimator(seed)
            run = made.run

            def send(pubs, **options):
                job_id = f"job{len(self.kept)}"
                self.kept[job_id] = made.mark, run(pubs, **options).result()
                if self.gone == "before the id":
                    raise SystemExit
                return self.job(job_id)

            made.run = send
            return made

        def job(self, job_id):
            if self.gone:
                return _Kept(job_id, lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
            return _Kept(job_id, lambda: self.kept[job_id][1])

        def label(self, primitive, label):
            primitive.mark = label

        def labelled(self, label):
            return next((self.job(job_id) for job_id, (mark, _) in self.kept.items() if mark == label), None)

        def retrieve(self, job_id):
            if self.unreachable:
                raise ConnectionError("no route to host")
            if self.lost:
                raise _JobNotFoundError(job_id)
            return self.job(job_id)

    Remote.kept = {}
    return Remote


class _JobNotFoundError(Exception):
    pass


def _killed(remote, request, folder, when, **limits) -> None:
    """Sends the first job of a run that ends there. Its thread takes the exception for its end, as the process would a kill."""
    provider = remote(limits=Limits(**limits))
    provider.gone = when
    dispatcher = _dispatcher(provider, folder)
    with pytest.raises(BaseException) as caught:
        dispatcher._sender.attempt(_first_job(dispatcher, request), again=False)
    assert caught.type in (SystemExit, KeyboardInterrupt)


def _first_job(dispatcher, request):
    asks, _ = Separator((dispatcher.provider.name, dispatcher.seed), sampler=False)([request])
    return packed(asks, dispatcher.provider.limits)[0]


@pytest.mark.parametrize("when", ["before the id", "after the id"])
def test_jobs_that_were_sent_and_not_collected_are_fetched(when, remote, make_request, tmp_path, exact):
    request = make_request(1, 6, kind=0)
    _killed(remote, request, tmp_path, when, circuits=4)
    provider = remote(limits=Limits(circuits=4))
    dispatcher = _dispatcher(provider, tmp_path)
    (got,) = dispatcher.submit([request]).result(60)
    np.testing.assert_allclose(got.values, exact(request), atol=1e-10)
    figures = dispatcher.ledger.snapshot()
    assert (figures.found_circuits, figures.circuits, provider.circuits) == (4, 2, 2)
    third = remote()
    _dispatcher(third, tmp_path).submit([request]).result(60)
    assert third.jobs == []


def test_a_job_of_several_requests_is_fetched_as_they_are_asked_for(remote, make_request, tmp_path, exact):
    provider = remote()
    provider.gone = "after the id"
    requests = [make_request(1, 2, kind=0), make_request(1, 3, kind=0, seed=1), make_request(2, 1, kind=0)]
    dispatcher = _dispatcher(provider, tmp_path)
    asks, _ = Separator((provider.name, 0), sampler=False)(requests)
    with pytest.raises(KeyboardInterrupt):
        dispatcher._sender.attempt(packed(asks, provider.limits)[0], again=False)
    again = remote()
    second = _dispatcher(again, tmp_path)
    for request in reversed(requests):
        np.testing.assert_allclose(second.submit([request]).result(60)[0].values, exact(request), atol=1e-10)
    assert again.jobs == []
    assert second.ledger.snapshot().found_circuits == 6


def test_a_job_whose_result_cannot_be_had_now_is_not_paid_for_again(remote, make_request, tmp_path):
    request = make_request(1, 2, kind=0)
    _killed(remote, request, tmp_path, "after the id")
    provider = remote()
    provider.unreachable = True
    dispatcher = _dispatcher(provider, tmp_path)
    with pytest.raises(CircuitError, match=r"job job0 was sent to recording.*no route to host; begin again when it does"):
        dispatcher.submit([request]).result(60)
    assert provider.jobs == []
    provider.unreachable = False
    dispatcher.submit([request]).result(60)
    assert provider.jobs == []


def test_a_connection_that_is_lost_for_long_does_not_pay_twice_either(remote, make_request, exact):
    class Interrupted(PrimitiveJob):
        def result(self):
            raise ConnectionError("reset by peer")

    class Far(remote):  # type: ignore[misc, valid-type]
        cut = True

        def job(self, job_id):
            if not self.cut:
                return super().job(job_id)
            job = Interrupted(lambda: None)
            job._job_id = job_id
            job._submit()
            return job

    request, provider = make_request(1, 3, kind=0), Far()
    dispatcher = Dispatcher(provider, jobs=Jobs(**QUICK))  # without a folder
    with pytest.raises(
        CircuitError, match=r"job job0 was sent to recording, which does not hand over its result.*reset by peer"
    ):
        dispatcher.submit([request]).result(60)
    provider.cut = False
    np.testing.assert_allclose(dispatcher.submit([request]).result(60)[0].values, exact(request), atol=1e-10)
    assert len(provider.jobs) == 1


def test_a_job_that_the_provider_does_not_know_is_sent_again(remote, make_request, tmp_path, exact):
    request = make_request(1, 2, kind=0)
    _killed(remote, request, tmp_path, "after the id")
    provider = remote()
    provider.lost = True
    (got,) = _dispatcher(provider, tmp_path).submit([request]).result(60)
    np.testing.assert_allclose(got.values, exact(request), atol=1e-10)
    assert len(provider.jobs) == 1


def test_a_run_killed_at_any_moment(tmp_path):
    script, environment = Path(__file__).with_name("dying.py"), {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "5"}
    command = [sys.executable, str(script), str(tmp_path), "8", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    calm, remote, local = (found[name] for name in ("calm", "remote", "local"))
    assert calm["circuits"] == 48  # 4 turns of 2 requests of 3 rows and 2 bases
    assert remote["died"] == local["died"] == 8
    assert calm["found"] == remote["found"] == local["found"]
    assert remote["circuits"] == 48
    assert 48 <= local["circuits"] <= 48 + 8 * 4  # jobs end with their process: one of at most 4 circuits is lost with each
    assert found["key"] == content_key(*_keyed())


def _keyed() -> tuple:
    circuit = QuantumCircuit(3)
    for i, a in enumerate(ParameterVector("w", 12)):
        circuit.rx(a * a - 0.5 * a + 0.1, i % 3)
        circuit.cx(i % 3, (i + 1) % 3)
    return circuit, {"c", "b", "a"}, {"x": 1.5}, SparsePauliOp(["XX", "ZZ"])


def _circuit(gate=None, angle=None, names=("a", "b")) -> QuantumCircuit:
    made = QuantumCircuit(2)
    a, b = (Parameter(name) for name in names)
    made.rx(2 * a + b / 3, 0)
    made.barrier()
    made.ry(0.25 if angle is None else angle, 1)
    made.append(gate or PauliEvolutionGate(Pauli("XZ"), a), [0, 1])
    return made


def test_content_keys_depend_on_names_and_not_on_objects():
    assert content_key(_circuit()) == content_key(_circuit())
    assert len({content_key(c) for c in (_circuit(), _circuit(names=("a", "c")), _circuit(angle=0.25 + 1e-16 * 4))}) == 3
    one, other = (_circuit(UnitaryGate(np.diag([1, 1, 1, phase]))) for phase in (1, -1))
    assert content_key(one) != content_key(other)
    registers, named = QuantumCircuit(2), QuantumCircuit(QuantumRegister(1, "u"), QuantumRegister(1, "v"))
    registers.x(1)
    named.x(1)
    assert content_key(registers) == content_key(named)


class _Settings:
    def __init__(self, width: float, notes: object):
        self.width, self.notes = width, notes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, 2), [1, 2]),
        ((1, (2, 3)), (1, 2, 3)),
        (("ab", "c"), ("a", "bc")),
        (1, True),
        (np.zeros(2), np.zeros((2, 1))),
        (np.zeros(2), np.zeros(2, np.float32)),
        (Pauli("XZ"), Pauli("-XZ")),
        (SparsePauliOp("XZ"), SparsePauliOp("XZ", 2.0)),
        (_Settings(1.0, {"a"}), _Settings(1.0, {"b"})),
        ({"a": 1}, {"a": 2}),
        (lambda: 1, lambda: 2),
    ],
)
def test_content_keys_tell_apart(one, other):
    assert content_key(one) != content_key(other)


def test_content_keys_of_equal_content():
    pairs = [
        (_Settings(1.0, {"a", "b", "c"}), _Settings(1.0, {"c", "b", "a"})),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.float64(0.5), 0.5),
        (np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T.copy()),
    ]
    for one, other in pairs:
        assert content_key(one) == content_key(other)


def test_equal_circuits_with_other_parameters_share_a_pub(recording, make_request):
    provider = recording()
    one, other = make_request(2, 2, kind=0), make_request(2, 3, kind=0)
    assert one.circuit.parameters[0] != other.circuit.parameters[0]
    Dispatcher(provider).submit([one, other._replace(parameters=other.parameters[::-1])]).result(60)
    assert provider.jobs == [[(2, 5, None)]]


def test_a_number_that_was_given_back_is_taken_first():
    repetitions = Repetitions()
    assert [repetitions.take("a"), repetitions.take("a"), repetitions.take("b")] == [0, 1, 0]
    repetitions.give_back("a", 0)
    assert [repetitions.take("a"), repetitions.take("a")] == [0, 2]


def test_a_reader_is_a_part_of_what_is_asked(recording, make_request, tmp_path):
    class Reader:
        def __init__(self, scale: float):
            self.scale = scale

        def __reduce__(self):
            return _reader, (self.scale,)

        def read(self, bits, basis, observables):

            shape = len(bits), len(observables)
            return Estimates(np.full(shape, self.scale), np.zeros(shape))

    request: Request = make_request(1, 2)
    provider = recording(sampler=True)
    for scale in (1.0, 2.0, 1.0):
        dispatcher = _dispatcher(provider, tmp_path)
        (got,) = dispatcher.submit([request._replace(reader=Reader(scale))]).result(60)
        assert (got.values == scale).all()
    assert len(provider.jobs) == 2
    with pytest.raises(CircuitError, match="no sampler, and a mitigation needs bits"):
        Dispatcher(recording()).submit([request._replace(reader=Reader(1.0))]).result(60)


def _reader(scale: float) -> None: ...
