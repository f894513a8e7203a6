"""PrimitiveBackend: plans, budgets, ledgers and journals of circuits with mitigations."""

from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import Pauli, SparsePauliOp

from qmm.quantum import Circuit, CompiledCircuit
from qmm.quantum.backends import Backend
from qmm.quantum.execution import Mitigation, PrimitiveBackend
from qmm.quantum.execution.jobs.budget import Budget, BudgetError, Prices
from qmm.quantum.execution.jobs.pretending import pretended
from qmm.quantum.execution.jobs.sending import Jobs
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.mitigation import M3, DynamicalDecoupling, PauliTwirling, Trex, ZeroNoiseExtrapolation
from qmm.quantum.settings import Measurement

QUICK: dict[str, Any] = {"shots": 64, "seed": 1}
MITIGATIONS: dict[str, list[Mitigation]] = {
    "none": [],
    "trex": [Trex(randomizations=4, shots=64)],
    "m3": [M3(shots=640)],
    "all": [Trex(4, 64), PauliTwirling(4), ZeroNoiseExtrapolation([1, 3]), DynamicalDecoupling()],
}


@pytest.fixture(scope="module")
def compiled() -> CompiledCircuit:
    circuit, inputs, weights = QuantumCircuit(2), ParameterVector("x", 2), ParameterVector("w", 2)
    for i in range(2):
        circuit.ry(inputs[i], i)
    circuit.cx(0, 1)
    for i in range(2):
        circuit.rx(weights[i], i)
    return CompiledCircuit(Circuit.of(circuit, list(inputs), list(weights), [SparsePauliOp("ZZ"), SparsePauliOp("XI")]))


def _angles(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 2, generator=generator, dtype=torch.float64), torch.rand(2, generator=generator, dtype=torch.float64)


def _backend(name: str, **settings) -> PrimitiveBackend:
    return PrimitiveBackend(Aer(device="fake_manila", threads=1), mitigation=MITIGATIONS[name], **QUICK, **settings)


@pytest.mark.parametrize("name", MITIGATIONS)
def test_a_plan_is_what_is_then_taken(name, compiled):
    backend = _backend(name)
    for shots in (None, 128):  # calibrations are made with the first
        before = backend.ledger.snapshot()
        plan = backend.plan(compiled, 3, shots)
        assert backend.ledger.snapshot() == before
        backend.submit(compiled, *_angles(3), shots=shots).result()
        taken = backend.ledger.snapshot() - before
        assert (plan.circuits, plan.shots) == (taken.circuits, taken.shots)
        assert plan.circuits >= 6
        device: Any = backend.provider.device
        delays = plan.shots * device.default_rep_delay
        assert plan.seconds == pytest.approx(taken.qct_seconds + delays, rel=1e-3)  # other twirls are some gates longer


@pytest.mark.parametrize("begin", [0, 1])
@pytest.mark.parametrize("name", ["none", "m3", "all"])
def test_a_run_begun_again_sends_nothing_wherever_it_begins(name, begin, compiled, tmp_path):
    batches = [_angles(2, seed) for seed in range(3)]
    first = _backend(name, jobs=Jobs(folder=str(tmp_path)))
    expected = [first.submit(compiled, *batch).result() for batch in batches]
    again = _backend(name)
    again.keep_in(tmp_path)
    for batch, values in list(zip(batches, expected, strict=True))[begin:]:
        torch.testing.assert_close(again.submit(compiled, *batch).result(), values, rtol=0, atol=0)
    assert again.ledger.snapshot().jobs == 0
    if not begin:
        assert again.ledger.snapshot().found_circuits == first.ledger.snapshot().circuits
    text = "".join(path.read_text() for path in (tmp_path / "jobs").iterdir())
    assert "aer" in text
    assert "token" not in text


def test_twirls_follow_from_the_request_and_not_from_what_came_before(compiled):
    one, other = (PrimitiveBackend(Aer(threads=1), mitigation=[PauliTwirling(4)], **QUICK) for _ in range(2))
    first, second = _angles(2, 0), _angles(2, 1)
    expected = [one.submit(compiled, *batch).result() for batch in (first, second, second)]
    torch.testing.assert_close(other.submit(compiled, *second).result(), expected[1], rtol=0, atol=0)
    assert not torch.equal(expected[1], expected[2])


def test_a_budget_stops_a_run_before_it_begins(compiled):
    budget = Budget(shots=500, prices=Prices(per_shot=0.01, currency="EUR"))
    backend = PrimitiveBackend(Aer(threads=1), budget=budget, **QUICK)
    plan = backend.plan(compiled, 2) * 3
    assert (plan.circuits, plan.shots, plan.price, plan.currency) == (12, 768, pytest.approx(7.68), "EUR")
    with pytest.raises(BudgetError, match="768 shots where the budget is 500"):
        budget.check(plan)
    job = backend.submit(compiled, *_angles(4))
    with pytest.raises(BudgetError, match="this takes 512 shots where the budget is 500"):
        job.result()
    assert backend.ledger.snapshot().jobs == 0
    assert backend.submit(compiled, *_angles(2)).result().isfinite().all()


def test_from_yaml():
    text = """
    class_path: qmm.quantum.execution.PrimitiveBackend
    init_args:
      primitive: {class_path: qmm.quantum.execution.Aer}
      jobs: {attempts: 3, timeout: 60, folder: kept}
      budget: {shots: 1000, price: 5, prices: {per_shot: 0.00145, per_circuit: 0.3}}
    """
    parser = ArgumentParser()
    parser.add_subclass_arguments(Backend, "backend")
    parsed = parser.parse_object({"backend": yaml.safe_load(text.replace("folder: kept", "folder: null"))})
    backend = parser.instantiate_classes(parsed).backend
    assert backend.dispatcher.settings == Jobs(attempts=3, timeout=60)
    assert backend.budget == Budget(shots=1000, price=5, prices=Prices(0.3, 0.00145))


def test_what_calibrations_find_in_plans(make_request, exact):
    request = make_request(2, 3, shots=50)
    values, variances = pretended(request)
    assert values == pytest.approx(exact(request), abs=1e-10)
    assert (variances == 1 / 50).all()
    wide = QuantumCircuit(20)
    wide.x(range(20))
    measurement = Measurement((SparsePauliOp("Z" * 20),), (Pauli("Z" * 20),), (0,))
    many = request._replace(circuit=wide, parameters=(), bindings=request.bindings[:, :0], measurement=measurement)
    assert pretended(many).values.tolist() == [[0.9]] * 3
