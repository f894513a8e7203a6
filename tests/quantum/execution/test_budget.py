"""What a run takes, what it costs, and what it may."""

import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.providers.fake_provider import GenericBackendV2

from qmm.quantum import CircuitError
from qmm.quantum.execution import Limits
from qmm.quantum.execution.jobs.budget import Budget, BudgetError, Plan, Prices
from qmm.quantum.execution.jobs.dispatch import Dispatcher
from qmm.quantum.execution.jobs.gauge import Gauge
from qmm.quantum.execution.jobs.sending import Jobs
from qmm.quantum.settings import measured

BRAKET = Prices(per_circuit=0.3, per_shot=0.00145)


def test_plans_add_up():
    one, other = Plan(2, 200, 1.5, 3.0, "EUR"), Plan(1, 50, 0.5, 1.0, "EUR")
    assert one + other == Plan(3, 250, 2.0, 4.0, "EUR")
    assert 3 * one == one * 3 == one + one + one == Plan(6, 600, 4.5, 9.0, "EUR")
    assert sum([one, other], Plan()) == one + other
    assert (one + Plan(1, 1, None, None)).seconds is None
    assert (one + Plan(1, 1, None, None)).price is None
    with pytest.raises(CircuitError, match="prices in EUR and USD do not add up"):
        one + Plan(1, 1, 1.0, 2.0)


def test_a_plan_in_words():
    assert str(Plan(1200, 1_200_000, 312.4, 501.7, "EUR")) == "1,200 circuits, 1,200,000 shots, 312 s of the device, 501.70 EUR"
    assert str(Plan(1, 10, None, None)) == "1 circuits, 10 shots"


@pytest.mark.parametrize(
    ("bounds", "over"),
    [
        ({"circuits": 10, "shots": 999}, "1,000 shots where the budget is 999"),
        (
            {"circuits": 9, "seconds": 0.5},
            r"10 circuits where the budget is 9 and 2.5 s of the device where the budget is 0\.5",
        ),
        ({"price": 4.4}, r"4\.45 USD where the budget is 4\.4"),
        ({"circuits": 10, "shots": 1000, "seconds": 2.5, "price": 4.46}, None),
    ],
)
def test_each_figure_over_a_budget_is_named(bounds, over):
    budget = Budget(prices=BRAKET, **bounds)
    plan = budget.priced(10, 1000, 2.5)
    assert plan.price == pytest.approx(10 * 0.3 + 1000 * 0.00145)
    if over is None:
        budget.check(plan)
    else:
        with pytest.raises(BudgetError, match=over):
            budget.check(plan)


def test_a_bound_on_what_is_not_known_is_not_kept_silently():
    with pytest.raises(BudgetError, match="an unknown number of s of the device where the budget is 60"):
        Budget(seconds=60).check(Plan(1, 1, None))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(shots=-1), "budget: shots=-1"),
        (lambda: Budget(price=3), "price=3 without a price table"),
        (lambda: Prices(per_shot=float("nan")), "per_shot=nan"),
    ],
)
def test_budgets_that_are_none(make, message):
    with pytest.raises(CircuitError, match=message):
        make()


def test_nothing_is_sent_over_the_budget(recording, make_request, tmp_path):
    provider = recording(sampler=True, limits=Limits(circuits=4))
    budget = Budget(shots=200, prices=BRAKET)
    dispatcher = Dispatcher(provider, jobs=Jobs(folder=str(tmp_path)), budget=budget)
    request = make_request(1, 4, 20, kind=0)
    plan = dispatcher.plan([request])
    assert (plan.circuits, plan.shots, plan.seconds) == (4, 80, None)
    for _ in range(2):
        dispatcher.submit([request]).result(60)
    with pytest.raises(
        BudgetError, match=r"240 shots where the budget is 200, of which 8 circuits, 160 shots, 2.63 USD were sent"
    ):
        dispatcher.submit([request]).result(60)
    assert len(provider.jobs) == 2
    dispatcher.submit([request._replace(shots=10)]).result(60)  # which is within it
    assert provider.circuits == 12
    again = Dispatcher(provider, jobs=Jobs(folder=str(tmp_path)), budget=budget)
    for _ in range(2):
        again.submit([request]).result(60)  # found
    with pytest.raises(BudgetError, match="280 shots"):  # what the first run spent counts, and what it found is free
        again.submit([request]).result(60)
    assert len(provider.jobs) == 3


def test_jobs_that_fail_are_not_charged_for(hostile, make_request):
    from qmm.quantum.execution import Given

    primitive = hostile({"fail": 0.5}, seed=1)
    request = make_request(1, 5, kind=0)
    dispatcher = Dispatcher(Given(primitive), jobs=Jobs(wait=0.0), budget=Budget(circuits=25))
    for _ in range(5):
        dispatcher.submit([request]).result(60)
    assert "fail" in primitive.sent
    with pytest.raises(BudgetError, match="30 circuits where the budget is 25"):
        dispatcher.submit([request]).result(60)


def test_gates_and_durations(make_request):
    device = GenericBackendV2(2, coupling_map=[[0, 1], [1, 0]], seed=1)
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.barrier()
    circuit.cx(0, 1)
    circuit.rz(0.3, 1)
    request = make_request(1, 3, 50, 1)._replace(circuit=circuit)  # bases XX, YY, ZI
    taken = Gauge(device).taken(request)
    target = device.target

    def seconds(name: str, *qubits: int) -> float:
        return target[name][qubits].duration

    gates = seconds("sx", 0) + seconds("cx", 0, 1)
    ends = [max(gates + seconds("measure", 0), gates + seconds("measure", 1)), gates + seconds("measure", 1)]
    assert (taken.circuits, taken.shots) == (9, 450)
    assert taken.instructions == 150 * ((3 + 2) + (3 + 4) + 3)  # H turns X; Sdg and H turn Y
    assert taken.seconds == pytest.approx(150 * (2 * ends[0] + ends[1]))
    assert Gauge(None).taken(request).seconds is None
    assert Gauge(None).taken(request, bindings=1).instructions == 50 * 15


def test_ledgers(recording, make_request):
    provider = recording(sampler=True)
    dispatcher = Dispatcher(provider)
    request = make_request(2, 3, 50, 1)
    dispatcher.submit([request]).result(60)
    before = dispatcher.ledger.snapshot()
    dispatcher.submit([request, request]).result(60)
    later = dispatcher.ledger.snapshot() - before
    assert (before.jobs, before.pubs, before.circuits, before.shots) == (1, 3, 9, 450)
    assert (later.jobs, later.pubs, later.circuits, later.shots) == (1, 3, 18, 900)
    own = {basis.to_label(): measured(request.circuit, basis).size() for basis in request.measurement.bases}
    measurements = sum(2 if "I" not in label else 1 for label in own)
    assert before.qin == 150 * (sum(own.values()) - measurements)
    assert (later.qct_seconds, later.queue_seconds, later.retries) == (None, None, 0)
    assert later.wall_seconds > 0
    assert later.to_dict()["shots"] == 900
    assert before.wall_seconds + later.wall_seconds == pytest.approx(dispatcher.ledger.to_dict()["wall_seconds"])


def test_times_that_jobs_tell(recording, make_request):
    class Telling(recording):  # type: ignore[misc, valid-type]
        def estimator(self, seed):
            made = super().estimator(seed)
            run = made.run

            def told(pubs, **options):
                job = run(pubs, **options)
                stamps = {"created": "2026-01-01T10:00:00.5Z", "running": "2026-01-01T10:02:00Z", "finished": None}
                job.metrics = lambda: {"timestamps": stamps, "usage": {"quantum_seconds": 2}}
                return job

            made.run = told
            return made

    dispatcher = Dispatcher(Telling())
    for _ in range(2):
        dispatcher.submit([make_request(1, 1)]).result(60)
    figures = dispatcher.ledger.snapshot()
    assert (figures.queue_seconds, figures.qpu_seconds) == (239.0, 4.0)
