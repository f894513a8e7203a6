"""What is sent and what is not; what is refused."""

import copy
import io

import pytest
import torch
from jsonargparse import ArgumentParser
from qiskit.circuit import Gate, Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.quantum_info import SparsePauliOp

from qmm.quantum import Circuit, CircuitError, CompiledCircuit, ExactBackend, Gradient, QuantumLayer, expectations
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.gradients import SPSA, Allotment, EstimatedGradient, FiniteDifference, LinearCombination, ParameterShift


@pytest.fixture
def circuit() -> CompiledCircuit:
    """Two inputs, three weights, one of which is felt by no observable; x[0] and w[0] turn about one axis."""
    x, w, qc = ParameterVector("x", 2), ParameterVector("w", 3), QuantumCircuit(2)
    qc.ry(x[0], 0)
    qc.ry(w[0], 0)
    qc.rx(x[1], 1)
    qc.crx(w[1], 0, 1)
    qc.rz(w[2], 1)
    return CompiledCircuit(Circuit.of(qc, x, w, ["ZI", "IZ"]))


def run(circuit, backend, rule, inputs=True, weights=True, mixture=None) -> None:
    at = torch.ones(3, 2, requires_grad=inputs), torch.ones(3, requires_grad=weights)
    values = expectations(circuit, *at, backend, rule)
    (values * (1.0 if mixture is None else mixture)).sum().backward()


@pytest.mark.parametrize(
    ("rule", "points"),
    [
        # Angles: x0 + w0 on one axis, x1 and the first half of w1 on another, the second half of w1
        (ParameterShift(), [3 * 6]),
        (LinearCombination(), [3, 3, 3]),
        # Parameters: x0, x1, w0, w1
        (FiniteDifference(), [3 * 8]),
        (FiniteDifference(kind="forward"), [3 * 5]),
        (SPSA(3), [3 * 6]),
    ],
)
def test_one_submission_holds_all_points_and_nothing_that_is_not_felt(rule, points, circuit, counting) -> None:
    run(circuit, counting, rule)
    assert counting.submissions == [[3], points]


@pytest.mark.parametrize("wanted", [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("rule", [ParameterShift(), LinearCombination(), FiniteDifference(), SPSA(3)])
def test_plans_say_what_will_be_submitted(rule, wanted, circuit, sent) -> None:
    backend = PrimitiveBackend(Ideal(), shots=10)
    seen, planned = sent(backend), rule.planned(circuit, 3, wanted)
    run(circuit, backend, rule, *wanted)
    for e, p in zip(seen[1], planned, strict=True):
        assert (e.circuit, e.inputs.shape, e.shots) == (p.circuit, p.inputs.shape, p.shots)


@pytest.mark.parametrize(("rule", "points"), [(ParameterShift(ahead=True), 3 * 6), (SPSA(3, ahead=True), 3 * 6)])
def test_ahead_is_one_job_with_the_values(rule, points, circuit, counting) -> None:
    run(circuit, counting, rule)
    assert counting.submissions == [[3, points]]


@pytest.mark.parametrize(
    ("rule", "for_inputs", "for_weights"),
    [
        (ParameterShift(), 4, 6),
        (ParameterShift(ahead=True), 4, 6),
        (FiniteDifference(), 4, 4),
        (FiniteDifference(kind="forward"), 3, 3),
    ],
)
def test_what_needs_no_gradient_is_not_moved(rule, for_inputs, for_weights, circuit, counting) -> None:
    run(circuit, counting, rule, weights=False)
    run(circuit, counting, rule, inputs=False)
    found = [n for submission in counting.submissions for n in submission]
    assert found == [3, 3 * for_inputs, 3, 3 * for_weights]
    assert rule.input_variance is None
    assert rule.weight_variance == 0


def test_spsa_moves_only_what_is_wanted_and_felt(circuit) -> None:
    inputs, weights = torch.zeros(300, 2).double(), torch.zeros(300, 3).double()
    for wanted, moved in (((True, False), [0, 1]), ((False, True), [2, 3]), ((True, True), [0, 1, 2, 3])):
        stencil = SPSA(2, step=0.1).stencil(circuit, inputs, weights, wanted)
        points = torch.cat([stencil.pieces[0].inputs, stencil.pieces[0].weights], dim=-1)
        assert points.flatten(0, 1).any(dim=0).nonzero().flatten().tolist() == moved
        torch.testing.assert_close(points[..., moved].abs(), torch.full_like(points[..., moved], 0.1))
        torch.testing.assert_close(points[:, 0::2], -points[:, 1::2])
        assert len(points[:, 0].unique(dim=0)) == 2 ** len(moved)  # each sample draws its own


def test_samples_without_upstream_gradient_are_left_out(circuit, counting, gradients) -> None:
    mixture = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    run(circuit, counting, ParameterShift(), mixture=mixture)
    run(circuit, counting, ParameterShift(), mixture=0 * mixture)
    assert counting.submissions == [[3], [6], [3]]
    at = torch.rand(3, 2), torch.rand(3, 3)
    torch.testing.assert_close(
        gradients(circuit, *at, ParameterShift(), mixture=mixture), gradients(circuit, *at, mixture=mixture)
    )


def test_without_gradients_only_the_values_are_computed(circuit, counting) -> None:
    with torch.no_grad():
        expectations(circuit, torch.ones(3, 2, requires_grad=True), torch.ones(3), counting, ParameterShift(ahead=True))
    expectations(circuit, torch.ones(3, 2), torch.ones(3), counting, ParameterShift(ahead=True))
    assert counting.submissions == [[3], [3]]


def test_spsa_repeats_itself_from_its_seed(circuit, gradients) -> None:
    at = torch.rand(4, 2), torch.rand(3)
    rule = SPSA(2, seed=5)
    rule.planned(circuit, 4)
    first, second = gradients(circuit, *at, rule)[0], gradients(circuit, *at, rule)[0]
    assert not torch.equal(first, second)
    assert torch.equal(gradients(circuit, *at, SPSA(2, seed=5))[0], first)
    assert torch.equal(gradients(circuit, *at, copy.deepcopy(rule))[0], gradients(circuit, *at, rule)[0])
    later = torch.rand(4, 2), at[1]  # where a run that was ended goes on
    assert torch.equal(gradients(circuit, *later, rule)[0], gradients(circuit, *later, SPSA(2, seed=5))[0])
    assert not torch.equal(gradients(circuit, *at, SPSA(2, seed=6))[0], first)


@pytest.mark.parametrize("rule", [ParameterShift(), SPSA(), FiniteDifference(), LinearCombination()])
def test_transforms_and_gradients_of_gradients_are_refused(rule, circuit) -> None:
    inputs, weights = torch.ones(3, 2), torch.ones(3, requires_grad=True)
    with pytest.raises(CircuitError, match=r"torch\.func.*ExactBackend"):
        torch.func.grad(lambda w: expectations(circuit, inputs, w, gradient=rule).sum())(weights)
    values = expectations(circuit, inputs, weights, gradient=rule)
    with pytest.raises(CircuitError, match=r"gradients of gradients.*ExactBackend"):
        torch.autograd.grad(values.sum(), weights, create_graph=True)


class Opaque(Gate):
    def __init__(self, angle: Parameter):
        super().__init__("opaque", 1, [angle])


def test_gates_without_a_rule_are_named() -> None:
    w, x = Parameter("w"), Parameter("x")
    evolved = QuantumCircuit(2)
    evolved.h(0)
    evolved.append(PauliEvolutionGate(SparsePauliOp(["XX", "ZI"]), time=w), [0, 1])
    opaque = QuantumCircuit(1)
    opaque.append(Opaque(x), [0])
    for rule in (ParameterShift(), LinearCombination()):
        with pytest.raises(CircuitError, match=r"instruction 1 \('PauliEvolution'\).*do not commute.*product formula.*SPSA"):
            rule.jacobian(ExactBackend(), Circuit.of(evolved, [], [w], ["ZI"]), torch.zeros(1, 0), torch.ones(1))
        with pytest.raises(CircuitError, match=r"instruction 0 \('opaque'\).*definition"):
            rule.jacobian(ExactBackend(), Circuit.of(opaque, [x], [], ["Z"]), torch.ones(1, 1), torch.ones(0))


def test_time_evolutions_that_do_not_commute_have_finite_differences(gradients) -> None:
    w, evolved = Parameter("w"), QuantumCircuit(2)
    evolved.h(0)
    evolved.append(PauliEvolutionGate(SparsePauliOp(["XX", "ZI"]), time=w), [0, 1])
    circuit, at = Circuit.of(evolved, [], [w], ["ZI", "XX"]), (torch.zeros(2, 0).double(), torch.ones(1).double())
    torch.testing.assert_close(gradients(circuit, *at, FiniteDifference(1e-4)), gradients(circuit, *at), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (lambda: ParameterShift(shots=0), "shots=0"),
        (lambda: ParameterShift(shots=True), "shots=True"),
        (lambda: ParameterShift(shots=2.5), "shots=2.5"),  # type: ignore[arg-type]
        (lambda: ParameterShift(allotment=Allotment(), ahead=True), "leave out one"),
        (lambda: FiniteDifference(step=0.0), "step=0.0"),
        (lambda: FiniteDifference(kind="backward"), "choose central or forward"),  # type: ignore[arg-type]
        (lambda: SPSA(repetitions=0), "repetitions=0"),
        (lambda: SPSA(step=-1.0), "step=-1.0"),
        (lambda: SPSA(step=float("nan")), "step=nan"),
        (lambda: SPSA(step=float("inf")), "step=inf"),
        (lambda: SPSA(seed=-1), "seed=-1"),
        (lambda: Allotment(pilot=1.0), "pilot=1.0"),
        (lambda: Allotment(classes=0), "classes=0"),
    ],
)
def test_bad_arguments(arguments, words: str) -> None:
    with pytest.raises(CircuitError, match=words):
        arguments()


@pytest.mark.parametrize("rule", [ParameterShift(shots=100), ParameterShift(allotment=Allotment())])
def test_exact_values_have_no_shots(rule, circuit) -> None:
    with pytest.raises(CircuitError, match=r"ExactBackend.*leave"):
        run(circuit, ExactBackend(), rule)


def test_shapes_and_angles_are_checked(circuit) -> None:
    for inputs, words in ((torch.ones(3, 1), "shape"), (torch.full((3, 2), torch.nan), "row 0")):
        with pytest.raises(CircuitError, match=words):
            ParameterShift().jacobian(ExactBackend(), circuit, inputs, torch.ones(3))


def test_shots_of_the_gradient_are_its_own(circuit, sent) -> None:
    backend = PrimitiveBackend(Ideal(), shots=50)
    seen = sent(backend)
    run(circuit, backend, ParameterShift(shots=20))
    run(circuit, backend, ParameterShift(shots=20, ahead=True))
    found = [[(len(e.inputs), e.shots) for e in evaluations] for evaluations in seen]
    assert found == [[(3, None)], [(18, 20)], [(3, None), (18, 20)]]


@pytest.mark.parametrize(
    "given",
    [
        {"class_path": "qmm.quantum.gradients.ParameterShift"},
        {"class_path": "qmm.quantum.gradients.SPSA", "init_args": {"repetitions": 4, "step": 0.1, "shots": 100}},
        {"class_path": "qmm.quantum.gradients.FiniteDifference", "init_args": {"kind": "forward"}},
        {
            "class_path": "qmm.quantum.gradients.LinearCombination",
            "init_args": {"allotment": {"class_path": "qmm.quantum.gradients.Allotment", "init_args": {"pilot": 0.3}}},
        },
    ],
)
def test_configurations_name_them(given: dict) -> None:
    parser = ArgumentParser()
    parser.add_argument("--gradient", type=Gradient | None)
    made = parser.instantiate_classes(parser.parse_object({"gradient": given})).gradient
    assert isinstance(made, EstimatedGradient)
    assert type(made).__name__ == given["class_path"].rsplit(".", 1)[1]
    assert made.allotment is None or made.allotment.pilot == 0.3


def test_layers_with_a_gradient_are_saved_without_it(circuit) -> None:
    layer, buffer = QuantumLayer(circuit.circuit, gradient=SPSA()), io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    assert list(layer.state_dict()) == ["weights"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_compiled_models_run_it_as_it_is(circuit) -> None:
    torch.manual_seed(0)
    layer = QuantumLayer(circuit.circuit, gradient=ParameterShift(ahead=True))
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), layer, torch.nn.Linear(2, 1))
    found = []
    for run in (model, torch.compile(model, backend="eager")):
        model.zero_grad()
        run(torch.ones(3, 2)).sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(found[1], found[0])
    assert len(found[0]) == 5
