"""What holds for every member of the family: it trains, Aer agrees, the absent have no influence, YAML and checkpoints name it.

Members are found, not listed: all that `qmm.circuits` and `qmm.fusion` export.
"""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2
from torch import Tensor

import qmm.circuits
import qmm.fusion
from qmm.circuit_weights import circuit_parameters, weighted_circuits
from qmm.circuits import Ansatz, FeatureMap, Readout
from qmm.config import to_config
from qmm.contracts import Fusion
from qmm.fusion import Entangler, QuantumFusion
from qmm.loading import build
from qmm.quantum import Circuit, ExactEstimator, Probabilities, expectations, recording
from qmm.quantum.execution import PrimitiveBackend

WIDTHS = {"vision": 3, "audio": 2, "text": 2}


def exported(module: Any, base: type) -> list[type]:
    found = (getattr(module, name) for name in module.__all__)
    return [c for c in found if isinstance(c, type) and issubclass(c, base) and not getattr(c, "__abstractmethods__", None)]


def inside(**parts: Any) -> Callable[[], Fusion]:
    """A QuantumFusion of two layers with one part other than the default; `reupload` where it is a feature map."""
    return lambda: QuantumFusion(2, reupload="feature_map" in parts, **{kind: part() for kind, part in parts.items()})


PARTS = {
    f"{kind}-{part.__name__}": inside(**{kind: part})
    for kind, module, base in (
        ("feature_map", qmm.circuits, FeatureMap),
        ("ansatz", qmm.circuits, Ansatz),
        ("readout", qmm.circuits, Readout),
        ("entangler", qmm.fusion, Entangler),
    )
    for part in exported(module, base)
}
MEMBERS: dict[str, Callable[[], Fusion]] = {**PARTS, **{c.__name__: c for c in exported(qmm.fusion, Fusion)}}


def make(name: str, widths: dict[str, int] = WIDTHS) -> Fusion:
    torch.manual_seed(0)
    fusion = MEMBERS[name]()
    fusion.build(widths)
    return fusion


def features(rows: int, widths: dict[str, int] = WIDTHS, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {m: 0.1 + 2.9 * torch.rand(rows, k, generator=generator) for m, k in widths.items()}


def flags(present: tuple[str, ...], rows: int) -> dict[str, Tensor]:
    return {m: torch.full((rows,), m in present) for m in WIDTHS}


def patterns() -> list[tuple[str, ...]]:
    return [p for size in range(1, len(WIDTHS) + 1) for p in itertools.combinations(WIDTHS, size)]


def on_aer(circuit: Circuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """One row's expectation values (n_outputs,) from Aer; probabilities from its density of outcomes."""
    values = dict(zip((*circuit.inputs, *circuit.weights), [*inputs.tolist(), *weights.tolist()], strict=True))
    used = {p: values[p] for p in circuit.quantum_circuit.parameters}
    bound = circuit.quantum_circuit.assign_parameters(used).decompose(reps=6)
    if isinstance(circuit.observables, Probabilities):
        bound.save_probabilities(list(circuit.observables.qubits))
        found = torch.as_tensor(AerSimulator(method="statevector").run(bound).result().data()["probabilities"])
        outcomes = torch.tensor(circuit.observables.outcomes or range(len(found)))
        return torch.zeros(circuit.n_outputs, dtype=torch.float64).index_add(0, outcomes, found)
    estimator = EstimatorV2(options={"default_precision": 0.0})
    return torch.as_tensor(estimator.run([(bound, [[o] for o in circuit.observables])]).result()[0].data.evs).reshape(-1)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_step_lowers_the_loss(name: str) -> None:
    fusion = make(name)
    x, present = features(16), flags(tuple(WIDTHS), 16)
    goal = torch.linspace(-1, 1, 16)
    head = torch.nn.Linear(fusion.out_features, 1)
    parameters = [p for p in fusion.parameters() if p.requires_grad]

    def loss() -> Tensor:
        return (head(fusion(x, present)).squeeze(1) - goal).square().mean()

    before = loss()
    gradients = torch.autograd.grad(before, [*parameters, *head.parameters()])
    assert all(g.isfinite().all() for g in gradients)
    with torch.no_grad():
        for parameter, gradient in zip([*parameters, *head.parameters()], gradients, strict=True):
            parameter.sub_(1e-3 * gradient)
    assert loss() < before


@pytest.mark.parametrize("name", MEMBERS)
def test_every_parameter_is_felt(name: str) -> None:
    fusion = make(name).double()
    trained = {n: p for n, p in fusion.named_parameters() if p.requires_grad}
    felt = {n: torch.zeros_like(p) for n, p in trained.items()}
    for seed in range(3):
        fused = fusion({m: x.double() for m, x in features(16, seed=seed).items()}, flags(tuple(WIDTHS), 16))
        weighed = fused * torch.randn(fused.shape, generator=torch.Generator().manual_seed(seed))
        for total, g in zip(felt.values(), torch.autograd.grad(weighed.sum(), list(trained.values())), strict=True):
            total += g.abs()
    if name == "feature_map-BasisEncoding":  # whose first RZ meet basis states, as its docstring says
        idle = [w.name.startswith("0.") and ".rz" in w.name for w in fusion.circuits()["fusion"].weights]
        assert (felt["weights"][idle] < 1e-12).all()
        felt["weights"] = felt["weights"][[not i for i in idle]]
    for label, total in felt.items():
        assert (total > 1e-9).all(), f"{label}: {(total <= 1e-9).nonzero().tolist()} change nothing"


@pytest.mark.parametrize("name", MEMBERS)
def test_aer_gives_the_same_expectation_values(name: str) -> None:
    fusion = make(name)
    for present in (tuple(WIDTHS), ("vision", "text")):
        for circuit in fusion.circuits(present).values():
            generator = torch.Generator().manual_seed(2)
            inputs = 3 * torch.rand(2, len(circuit.inputs), generator=generator, dtype=torch.float64)
            weights = 3 * torch.rand(len(circuit.weights), generator=generator, dtype=torch.float64)
            ours = expectations(circuit, inputs, weights)
            theirs = torch.stack([on_aer(circuit, row, weights) for row in inputs])
            torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", MEMBERS)
def test_what_stands_in_place_of_the_absent_has_no_influence(name: str) -> None:
    fusion = make(name).eval()
    for present in patterns():
        x = features(4)
        expected = fusion(x, flags(present, 4))
        assert expected.shape == (4, fusion.out_features)
        assert expected.isfinite().all()
        for placeholder in (0.0, 1e6, torch.nan, torch.inf):
            other = {m: (a.clone() if m in present else torch.full_like(a, placeholder)).requires_grad_() for m, a in x.items()}
            fused = fusion(other, flags(present, 4))
            torch.testing.assert_close(fused, expected, atol=0, rtol=0)
            fused.square().sum().backward()
            for m, a in other.items():
                assert a.grad is None or (a.grad.isfinite().all() if m in present else not a.grad.any())
        assert all(p.grad is None or p.grad.isfinite().all() for p in fusion.parameters())
        fusion.zero_grad()


@pytest.mark.parametrize("name", MEMBERS)
def test_a_mixed_batch_equals_its_rows(name: str) -> None:
    fusion = make(name).eval()
    mixture = [*patterns(), *reversed(patterns())]
    x = features(len(mixture))
    fused = fusion(x, {m: torch.tensor([m in p for p in mixture]) for m in WIDTHS})
    rows = [fusion({m: a[i : i + 1] for m, a in x.items()}, flags(p, 1)) for i, p in enumerate(mixture)]
    torch.testing.assert_close(fused, torch.cat(rows), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MEMBERS)
def test_yaml_and_checkpoints_name_it(name: str) -> None:
    fusion = make(name)
    parser = ArgumentParser()
    parser.add_subclass_arguments(Fusion, "fusion")
    parsed = parser.instantiate_classes(parser.parse_object({"fusion": to_config(fusion)})).fusion
    x, present = features(3), flags(tuple(WIDTHS), 3)
    described = build(to_config(fusion))
    for fresh in (parsed, described):
        fresh.build(WIDTHS)
    for other in (parsed, described, copy.deepcopy(fusion)):
        assert type(other) is type(fusion)
        other.load_state_dict(fusion.state_dict())
        torch.testing.assert_close(other.eval()(x, present), fusion.eval()(x, present))


@pytest.mark.parametrize("name", MEMBERS)
def test_one_modality_and_four(name: str) -> None:
    for widths in ({"audio": 2}, {"a": 1, "b": 2, "c": 1, "d": 1}):
        fusion = make(name, widths).eval()
        fused = fusion(features(2, widths), {m: torch.ones(2, dtype=torch.bool) for m in widths})
        assert fused.shape == (2, fusion.out_features)
        assert fused.isfinite().all()


@pytest.mark.parametrize("name", MEMBERS)
def test_it_runs_on_any_primitive_and_is_differentiated_by_shifts(name: str) -> None:
    """Where it has circuits; in float32, as it trains."""
    fusion = make(name).eval()
    if not fusion.circuits():
        return
    mixture = [("vision", "audio", "text"), ("vision", "text")]
    present = {m: torch.tensor([m in p for p in mixture]) for m in WIDTHS}
    upstream = torch.rand(2, fusion.out_features, generator=torch.Generator().manual_seed(3))
    outputs, gradients = [], []
    for backend in (None, PrimitiveBackend(ExactEstimator())):
        fusion.run_on(backend)
        x = {m: values.requires_grad_() for m, values in features(2).items()}
        wanted = [*x.values(), *(p for p in fusion.parameters() if p.requires_grad)]
        outputs.append(fusion(x, present))
        gradients.append(torch.autograd.grad(outputs[-1], wanted, upstream, allow_unused=True))
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=0)
    for shifted, adjoint in zip(gradients[1], gradients[0], strict=True):
        assert (shifted is None) == (adjoint is None)
        if adjoint is not None and shifted is not None:
            torch.testing.assert_close(shifted, adjoint, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_pass_runs_the_weighted_circuits_that_a_member_tells_of(name: str) -> None:
    fusion = make(name)
    with recording() as tape:
        fusion(features(2), flags(tuple(WIDTHS), 2))
    run = [e for e in tape if e.weights.numel()]
    known = weighted_circuits(fusion)
    assert {id(e.circuit) for e in run} == {id(w.circuit) for w in known.values()}
    assert all(any(torch.equal(e.weights, w.weights) for w in known.values() if w.circuit is e.circuit) for e in run)
    trained = dict(fusion.named_parameters())
    felt = set[str]()
    for evaluation in run:
        found = torch.autograd.grad(evaluation.weights.sum(), list(trained.values()), allow_unused=True, retain_graph=True)
        felt |= {n for n, g in zip(trained, found, strict=True) if g is not None}
    assert set(circuit_parameters(fusion)) == felt
