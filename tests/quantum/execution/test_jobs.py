"""Jobs that fail, hang, or answer nonsense; jobs that wait for each other."""

import copy
import gc
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qiskit.primitives import PrimitiveJob, StatevectorSampler
from qiskit_aer.primitives import EstimatorV2, SamplerV2

from qmm.quantum import CircuitError, ExactEstimator, ExactSampler
from qmm.quantum.execution import Given, Limits
from qmm.quantum.execution.jobs.dispatch import Dispatcher
from qmm.quantum.execution.jobs.failures import Failure, JobError, described, job_error, lasting
from qmm.quantum.execution.jobs.sending import Jobs

QUICK = Jobs(wait=0.001, longest_wait=0.002)
MOODS = {"refuse": 0.06, "fail": 0.06, "few": 0.06, "short": 0.06, "nan": 0.06}


@pytest.mark.parametrize("sampler", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_hostile_primitive_loses_nothing(sampler, seed, hostile, make_request):
    requests = [make_request(1 + i % 3, 1 + i % 4, 16, i % 3, i) for i in range(6)]
    calm, wild = hostile(sampler=sampler), hostile({**MOODS, "hang": 0.02}, sampler, seed=seed, largest=3)
    expected = Dispatcher(Given(calm)).submit(requests).result(60)
    dispatcher = Dispatcher(_limited(wild, circuits=4), seed, Jobs(12, wait=0.001, longest_wait=0.002, timeout=0.2))
    for turn in range(40):
        futures = [dispatcher.submit(requests[:3]), dispatcher.submit(requests[3:])]
        for one, other in zip([e for future in futures for e in future.result(60)], expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)
        if turn > 2 and {*MOODS, "large", "well"} <= set(wild.sent):
            break
    else:
        pytest.fail(f"only {set(wild.sent)} in 40 turns")
    assert dispatcher.ledger.snapshot().jobs == len(wild.sent)


def test_jobs_that_are_too_large_are_halved_until_they_are_not(hostile, make_request):
    primitive = hostile(largest=5)
    dispatcher = Dispatcher(Given(primitive), jobs=QUICK)
    request = make_request(2, 32, kind=0)
    dispatcher.submit([request]).result(60)
    assert primitive.sent == ["large"] * (5 + 2 + 2) + ["well"] * 8  # 32, 16, 8, then the halves of 8, and no larger one again
    primitive.sent.clear()
    dispatcher.submit([request]).result(60)
    assert primitive.sent == ["well"] * 8


def test_what_fails_for_good_takes_nothing_else_with_it(recording, make_request, exact):
    class Poisoned(recording):  # type: ignore[misc, valid-type]
        def started(self, pubs, job):
            if any(np.isclose(pub[2], 7.0).any() for pub in pubs):
                raise RuntimeError("qubit 3 is warm")
            return super().started(pubs, job)

    gate = threading.Event()
    provider = Poisoned(before=gate.wait)
    dispatcher = Dispatcher(provider, jobs=QUICK)
    good, bad = make_request(1, 4, kind=0), make_request(1, 4, kind=0, seed=1)
    bad.bindings[2, 0] = 7.0
    first = dispatcher.submit([make_request(3, 1)])
    others = [dispatcher.submit([request]) for request in (good, bad, good)]
    gate.set()
    first.result(60)
    np.testing.assert_allclose(others[0].result(60)[0].values, exact(good), atol=1e-10)
    np.testing.assert_allclose(others[2].result(60)[0].values, exact(good), atol=1e-10)
    with pytest.raises(
        JobError, match=r"recording failed \d+ times \(jobs .*\), with smaller jobs too.*RuntimeError: qubit 3 is warm"
    ):
        others[1].result(60)
    assert provider.circuits == 1 + 4 + 2 + 4  # of the bad one, what came before the binding that nobody can run


def test_a_dead_provider_is_not_asked_for_each_binding(hostile, make_request):
    primitive = hostile({"refuse": 1.0})
    dispatcher = Dispatcher(Given(primitive), jobs=QUICK)
    with pytest.raises(JobError, match="the line is busy"):
        dispatcher.submit([make_request(1, 64, kind=0)]).result(60)
    assert len(primitive.sent) == 5 + 5 * 2 + 5  # 64, then 32 to 2, then 1
    assert dispatcher.ledger.snapshot().jobs == 20


def test_what_a_failed_submission_got_back_is_not_run_again(hostile, make_request, exact):
    class Later(type(hostile())):  # type: ignore[misc]
        def run(self, pubs: Any, **options: Any) -> PrimitiveJob:
            self._moods = {"fail": 1.0} if self.broken and len(self.sent) else {}
            return super().run(pubs, **options)

    primitive = hostile()
    primitive.__class__, primitive.broken = Later, True
    dispatcher = Dispatcher(_limited(primitive, circuits=2), jobs=QUICK)
    request = make_request(1, 6, kind=0)
    with pytest.raises(JobError):
        dispatcher.submit([request]).result(60)
    primitive.broken = False
    (got,) = dispatcher.submit([request]).result(60)
    np.testing.assert_allclose(got.values, exact(request), atol=1e-10)
    assert primitive.returned == 6
    dispatcher.submit([request]).result(60)  # a repetition of its own, as the first was answered
    assert primitive.returned == 12


def _holding(begun: threading.Event, gate: threading.Event) -> Callable[[], None]:
    """Says that a job has begun, and holds it until the gate opens."""

    def hold() -> None:
        begun.set()
        gate.wait()

    return hold


def _limited(primitive: Any, **limits: Any) -> Given:
    provider = Given(primitive)
    provider.limits = Limits(**limits)
    return provider


@pytest.mark.parametrize("error", [CircuitError("no such gate"), TypeError("a bug"), RuntimeError("Unauthorized: log in")])
def test_errors_that_no_retry_mends_are_not_retried(error, recording, make_request):
    def refuse() -> None:
        raise error

    provider = recording(before=refuse)
    with pytest.raises(CircuitError, match=str(error)):
        Dispatcher(provider).submit([make_request(1, 4)]).result(60)
    assert len(provider.jobs) == 1


def test_one_submissions_mistake_is_not_anothers(recording, make_request):
    gate = threading.Event()

    class Refusing(recording):  # type: ignore[misc, valid-type]
        def started(self, pubs, job):
            if any(pub[0].num_parameters == 2 for pub in pubs):
                raise RuntimeError("instruction not supported by the target")
            return super().started(pubs, job)

    dispatcher = Dispatcher(Refusing(before=gate.wait), jobs=QUICK)
    futures = [dispatcher.submit([make_request(depth, 2)]) for depth in (1, 2, 3)]
    gate.set()
    futures[0].result(60), futures[2].result(60)
    with pytest.raises(JobError, match=r"refused a job.*another attempt would not"):
        futures[1].result(60)


def test_a_hanging_job_is_cancelled_and_sent_again(hostile, make_request, exact):
    primitive = hostile({"hang": 0.5}, seed=3)
    dispatcher = Dispatcher(Given(primitive), jobs=Jobs(wait=0.001, timeout=0.1))
    request = make_request(1, 3)
    for _ in range(4):
        np.testing.assert_allclose(dispatcher.submit([request]).result(60)[0].values, exact(request), atol=1e-10)
    assert "hang" in primitive.sent
    waiting = [thread for thread in threading.enumerate() if thread.name == "qmm-quantum-job"]
    assert waiting
    assert all(thread.daemon for thread in waiting)  # the process need not wait for them
    assert dispatcher.ledger.snapshot().retries == primitive.sent.count("hang")


def test_a_call_that_hangs_while_it_sends_is_given_up_too(recording, make_request):
    gate, cancelled = threading.Event(), threading.Event()

    class Stuck(recording):  # type: ignore[misc, valid-type]
        def estimator(self, seed):
            made = super().estimator(seed)
            run, calls = made.run, len(self.jobs)

            def late(pubs, **options):
                job = run(pubs, **options)
                if not calls:
                    job.result()
                    job.cancel = cancelled.set
                    gate.wait()
                return job

            made.run = late
            return made

    provider = Stuck()
    Dispatcher(provider, jobs=Jobs(wait=0.001, timeout=0.1)).submit([make_request(1, 2)]).result(60)
    gate.set()
    assert cancelled.wait(10)
    assert len(provider.jobs) == 2


def test_a_connection_that_fails_is_not_a_job_that_fails(recording, make_request):
    class Interrupted(PrimitiveJob):
        asked = 0

        def result(self):
            self.asked += 1
            found = super().result()
            if self.asked < 3:
                raise ConnectionError("reset by peer")
            return found

    class Far(recording):  # type: ignore[misc, valid-type]
        def estimator(self, seed):
            made = super().estimator(seed)
            run = made.run

            def remote(pubs, **options):
                job = Interrupted(run(pubs, **options).result)
                job._submit()
                return job

            made.run = remote
            return made

    provider = Far()
    Dispatcher(provider, jobs=QUICK).submit([make_request(1, 2)]).result(60)
    assert len(provider.jobs) == 1


def test_what_comes_during_a_job_travels_together_afterwards(recording, make_request, exact):
    gate, begun = threading.Event(), threading.Event()
    provider = recording(before=_holding(begun, gate))
    dispatcher = Dispatcher(provider)
    requests = [make_request(1 + i % 2, 2, kind=0, seed=i) for i in range(7)]
    futures = [dispatcher.submit(requests[:1])]
    assert begun.wait(10)
    futures += [dispatcher.submit([request]) for request in requests[1:]]
    gate.set()
    for request, future in zip(requests, futures, strict=True):
        np.testing.assert_allclose(future.result(60)[0].values, exact(request), atol=1e-10)
    assert [sorted(job) for job in provider.jobs] == [[(1, 2, None)], [(1, 6, None), (2, 6, None)]]


def test_numbers_of_a_seeded_simulator_do_not_depend_on_timing(recording, make_request):
    def run(hurried: bool, seed: int = 5) -> list[np.ndarray]:
        dispatcher = Dispatcher(recording(sampler=True, seeded=True), seed)
        requests = [make_request(2, 3, 50), make_request(2, 3, 50), make_request(1, 2, 50)]
        futures = []
        for request in requests:
            futures.append(dispatcher.submit([request]))
            if not hurried:
                futures[-1].result(60)
        return [future.result(60)[0].values for future in futures]

    patient, hurried, other = run(False), run(True), run(True, 6)
    for one, two, three in zip(patient, hurried, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one != three).any()
    assert (patient[0] != patient[1]).any()  # a repetition is independent


@pytest.mark.parametrize(
    ("primitive", "seeded"),
    [
        (ExactSampler(seed=1), True),
        (ExactEstimator(), False),
        (StatevectorSampler(seed=1), True),
        (SamplerV2(seed=1), True),
        (SamplerV2(), False),
        (EstimatorV2(options={"run_options": {"seed_simulator": 4}}), True),
    ],
)
def test_a_users_primitive_is_seeded_where_it_has_a_seed(primitive, seeded):
    assert Given(primitive).seeded == seeded


def test_several_jobs_under_way_at_once(recording, make_request, exact):
    meeting = threading.Barrier(3, timeout=30)
    provider = recording(limits=Limits(circuits=1), before=meeting.wait)
    dispatcher = Dispatcher(provider, jobs=Jobs(at_once=3))
    request = make_request(1, 6, kind=0)
    (got,) = dispatcher.submit([request]).result(60)
    np.testing.assert_allclose(got.values, exact(request), atol=1e-10)
    assert len(provider.jobs) == 6


def test_a_thread_ends_with_its_work(recording, make_request):
    dispatcher = Dispatcher(recording())
    dispatcher.submit([make_request(1, 1)]).result(60)
    deadline = time.monotonic() + 10
    while any(t.name == "qmm-quantum" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    dispatcher.submit([make_request(1, 1)]).result(60)


def test_a_future_that_was_cancelled_is_not_run(recording, make_request):
    gate, begun = threading.Event(), threading.Event()
    provider = recording(before=_holding(begun, gate))
    dispatcher = Dispatcher(provider, jobs=Jobs(merge=False))
    first = dispatcher.submit([make_request(1, 1)])
    assert begun.wait(10)
    second, third = dispatcher.submit([make_request(2, 1)]), dispatcher.submit([make_request(3, 1)])
    assert second.cancel()
    gate.set()
    first.result(60), third.result(60)
    assert [job[0][0] for job in provider.jobs] == [1, 3]


def test_copies_share_a_dispatcher_and_pickles_begin_anew(make_request):
    dispatcher = Dispatcher(Given(ExactEstimator()), 3, QUICK)
    assert copy.deepcopy(dispatcher) is dispatcher
    again = pickle.loads(pickle.dumps(dispatcher))  # what is read here was written in the same line
    assert (again.seed, again.settings) == (3, QUICK)
    gc.collect()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attempts": 0}, "attempts=0; give a whole number, 1 or more"),
        ({"at_once": True}, "at_once=True"),
        ({"wait": -1.0}, "wait=-1.0; give seconds"),
        ({"timeout": 0.0}, "timeout=0.0; give seconds, or leave it out"),
    ],
)
def test_settings_out_of_range(arguments, message):
    with pytest.raises(CircuitError, match=message):
        Jobs(**arguments)


class IBMNotAuthorizedError(Exception):
    pass


class _AnsweredError(Exception):
    def __init__(self, status: int):
        super().__init__(f"answered {status}")
        self.status_code = status


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (IBMNotAuthorizedError("x"), True),
        (_AnsweredError(401), True),
        (_AnsweredError(429), False),
        (_AnsweredError(503), False),
        (RuntimeError("the token has expired"), True),
        (RuntimeError("Simulation failed: unknown instruction: cx7"), True),
        (TimeoutError("no result within 5 s"), False),
        (MemoryError("2 GB"), False),
        (RuntimeError("internal error 1305"), False),
    ],
)
def test_which_errors_last(error, expected):
    assert lasting(error) == expected


def test_credentials_are_left_out_of_what_is_said():
    error = RuntimeError(
        "POST failed, headers {'Authorization': 'Bearer abcdef0123456789', \"apikey\": 'Zx81-Zx81-Zx81'}, token=0123456789"
    )
    text = str(job_error("far away", [Failure("j1", error), Failure("j2", error)], None))
    assert not any(secret in text for secret in ("abcdef0123456789", "Zx81", "0123456789"))
    assert "far away failed 2 times (jobs j1, j2)" in text
    assert described(ValueError()) == "ValueError"
