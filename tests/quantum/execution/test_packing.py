"""Requests share PUBs and jobs within any limits, and come apart again."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qmm.quantum.execution import Limits
from qmm.quantum.execution.jobs.dispatch import Dispatcher

EXAMPLES = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SIZES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.sampled_from([10, 16]), st.integers(0, 2), st.integers(0, 1)), max_size=6
)
BOUND = st.none() | st.integers(1, 6)


@EXAMPLES
@given(sizes=SIZES, pubs=BOUND, circuits=BOUND)
def test_any_limits_give_the_same_estimates_as_none(sizes, pubs, circuits, recording, make_request):
    requests = [make_request(depth, rows, shots, kind, seed) for depth, rows, shots, kind, seed in sizes]
    limited, free = recording(sampler=True, limits=Limits(pubs=pubs, circuits=circuits)), recording(sampler=True)
    got = Dispatcher(limited).submit(requests).result(60)
    for request, estimates in zip(requests, got, strict=True):
        (alone,) = Dispatcher(free).submit([request]).result(60)
        np.testing.assert_allclose(estimates, alone, atol=1e-12)  # of equal bits
    assert limited.circuits == free.circuits == sum(len(r.bindings) * len(r.measurement.bases) for r in requests)
    assert all(len(job) <= (pubs or np.inf) and sum(rows for _, rows, _ in job) <= (circuits or np.inf) for job in limited.jobs)
    if pubs is None and circuits is not None:
        assert len(limited.jobs) == -(-limited.circuits // circuits)


@EXAMPLES
@given(sizes=SIZES, pubs=BOUND, circuits=BOUND, shots=BOUND)
@example(sizes=[(0, 1, 10, 1, 0), (1, 1, 10, 0, 0)], pubs=None, circuits=2, shots=None)  # a binding of three bases
def test_any_limits_give_an_exact_estimators_values(sizes, pubs, circuits, shots, recording, make_request, exact):
    requests = [make_request(depth, rows, wanted, kind, seed) for depth, rows, wanted, kind, seed in sizes]
    provider = recording(limits=Limits(pubs, circuits, shots))
    for request, estimates in zip(requests, Dispatcher(provider).submit(requests).result(60), strict=True):
        np.testing.assert_allclose(estimates.values, exact(request), atol=1e-10)
        assert not estimates.variances.any()


def test_requests_of_one_circuit_basis_and_shots_share_a_pub(recording, make_request):
    provider = recording(sampler=True)
    requests = [make_request(1, 3, 20, 1), make_request(1, 2, 20, 1), make_request(1, 4, 20, 0), make_request(1, 1, 30, 1)]
    Dispatcher(provider).submit(requests).result(60)
    (job,) = provider.jobs  # kind 1 has three bases, XX, YY and ZI; kind 0 has ZZ
    assert sorted(job) == sorted([(1, 5, 20)] * 3 + [(1, 4, 20)] + [(1, 1, 30)] * 3)


def test_more_shots_than_a_circuit_may_have_are_several_averaged(recording, make_request):
    request = make_request(1, 2, 25, 0)
    provider = recording(sampler=True, seeded=True, limits=Limits(shots=10))
    (got,) = Dispatcher(provider).submit([request]).result(60)
    assert provider.jobs == [[(1, 2, 9), (1, 4, 8)]]  # of each binding 9, 8 and 8
    counts = got.values * 25 / 2 + 25 / 2  # of +1 among all 25
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)


@pytest.mark.parametrize("sampler", [True, False])
def test_a_circuit_without_parameters_is_run_for_each_of_its_bindings(sampler, recording, make_request):
    provider = recording(sampler=sampler)  # simulators run such a PUB once, and answer with zeros for the other bindings
    Dispatcher(provider).submit([make_request(0, 3, 20, 0)]).result(60)
    assert provider.jobs == [[(0, 1, 20 if sampler else None)] * 3]


def test_parameterless_bindings_on_aer_are_each_sampled(make_request, exact):
    from qmm.quantum.execution.simulators.aer import Aer

    request = make_request(0, 3, 400, 1)
    (got,) = Dispatcher(Aer(threads=1)).submit([request]).result(60)
    assert (np.abs(got.values - exact(request)) < 5 * np.sqrt(got.variances) + 1e-12).all()
    assert len({tuple(row) for row in got.values}) > 1


def test_nothing_to_run(recording, make_request):
    provider = recording()
    got = Dispatcher(provider).submit([make_request(2, 0)]).result(60)
    assert got[0].values.shape == (0, 3)
    assert Dispatcher(provider).submit([]).result(60) == []
    assert provider.jobs == []
