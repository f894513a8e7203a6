"""Gate dropout: what is left out is left out whole, what writes features stays, and every draw can be repeated."""

import copy
import pickle

import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit

from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.quantum import Circuit, CompiledCircuit, Evaluation, expectations
from qmm.regularisation import GateDropout
from qmm.regularisation.gate_dropout import entanglers, trained_gates, without


@pytest.fixture
def circuit() -> Circuit:
    """A ZZ feature map's CX P(x) CX, then trained gates: one weight shared, one with an offset, one on a feature."""
    x = [Parameter(f"x{i}") for i in range(2)]
    a, b, c, d, e, f = w = [Parameter(name) for name in "abcdef"]
    made = QuantumCircuit(2)
    made.ry(x[0], 0)
    made.cx(0, 1)
    made.p(x[1], 1)
    made.cx(0, 1)
    made.ry(a, 0)
    made.cz(0, 1)
    made.rx(b, 0)
    made.rx(b, 1)  # together with the one before
    made.ry(c + 0.5, 1)  # does something at 0
    made.u(d, e, 0, 1)  # one gate, two weights
    made.cx(1, 0)
    made.ry(f * x[0], 1)  # nothing at 0, whatever the feature
    made.swap(0, 1)
    return Circuit.of(made, x, w, ["ZI", "IX"])


def test_what_can_be_left_out(circuit: Circuit) -> None:
    found = {"".join(sorted(p.name for p in group.weights)): group.gates for group in trained_gates(circuit)}
    assert found == {"a": 1, "b": 2, "de": 1, "f": 1}
    assert entanglers(circuit) == [5, 10]  # CZ and the last CX: not those that enclose P(x), not the SWAP


def test_rotations_are_left_out_whole(circuit: Circuit) -> None:
    """Against the circuit from which Qiskit's instructions are deleted, for every pattern that is drawn."""
    torch.manual_seed(0)
    compiled, dropout = CompiledCircuit(circuit), GateDropout(rotations=0.5)
    inputs, weights = torch.rand(3, 2, dtype=torch.float64), torch.rand(6, dtype=torch.float64) + 0.2
    places = {"a": [4], "b": [6, 7], "c": [8], "d": [9], "e": [9], "f": [11]}
    seen = set()
    for _ in range(40):
        perturbed = dropout.perturb(Evaluation(compiled, inputs, weights))
        gone = [p.name for p, value in zip(circuit.weights, perturbed.weights, strict=True) if value == 0]
        seen.add("".join(gone))
        assert "c" not in gone
        assert ("d" in gone) == ("e" in gone)
        left = without(circuit, [place for name in gone for place in places[name]])
        torch.testing.assert_close(expectations(*perturbed[:3]), expectations(left, inputs, weights), atol=1e-10, rtol=0)
    assert len(seen) > 8  # of 16


def test_gates_left_out_get_no_gradient(circuit: Circuit) -> None:
    torch.manual_seed(0)
    weights = torch.rand(6, dtype=torch.float64, requires_grad=True)
    inputs = torch.rand(3, 2, dtype=torch.float64)
    perturbed = GateDropout(rotations=0.5, per_sample=True).perturb(Evaluation(CompiledCircuit(circuit), inputs, weights))
    assert perturbed.weights.shape == (3, 6)
    gone = perturbed.weights == 0
    assert 0 < gone.sum() < gone.numel()
    (gradient,) = torch.autograd.grad(expectations(*perturbed[:3]).sum(), perturbed.weights, retain_graph=True)
    (own,) = torch.autograd.grad(expectations(*perturbed[:3]).sum(), weights)
    torch.testing.assert_close(own, gradient.masked_fill(gone, 0).sum(0))


def test_the_rate_is_that_asked_for() -> None:
    torch.manual_seed(0)
    made = QuantumCircuit(1)
    weights = [Parameter(f"w{i:02}") for i in range(50)]
    for weight in weights:
        made.rx(weight, 0)
    compiled = CompiledCircuit(Circuit.of(made, [], weights, ["Z"]))
    evaluation = Evaluation(compiled, torch.zeros(400, 0), torch.ones(50))
    share = GateDropout(rotations=0.2, per_sample=True).perturb(evaluation).weights.eq(0).double().mean()
    assert abs(float(share) - 0.2) < 5 * (0.2 * 0.8 / 20000) ** 0.5


def test_entanglers_are_left_out_by_circuits_of_a_bounded_pool(circuit: Circuit) -> None:
    dropout = GateDropout(rotations=0, entanglers=0.5, pool=6)
    evaluation = Evaluation(CompiledCircuit(circuit), torch.rand(2, 2, dtype=torch.float64), torch.rand(6, dtype=torch.float64))
    torch.manual_seed(0)
    found = [dropout.perturb(evaluation).circuit for _ in range(60)]
    assert len(set(map(id, found))) <= 6
    sizes = {len(compiled.circuit.quantum_circuit.data) for compiled in found}
    assert sizes <= {11, 12, 13}
    assert len(sizes) > 1
    again = GateDropout(rotations=0, entanglers=0.5, pool=6)  # the pool's content is that of its seed
    torch.manual_seed(0)
    for compiled in found:
        other = again.perturb(evaluation).circuit.circuit
        assert other.quantum_circuit == compiled.circuit.quantum_circuit
        assert (other.inputs, other.weights) == (circuit.inputs, circuit.weights)
    values = [expectations(compiled, evaluation.inputs, evaluation.weights) for compiled in set(found)]
    assert all(value.shape == (2, 2) for value in values)


def test_draws_are_torchs_and_copies_draw_alike(circuit: Circuit) -> None:
    dropout = GateDropout(rotations=0.5, entanglers=0.5)
    evaluation = Evaluation(CompiledCircuit(circuit), torch.rand(4, 2), torch.rand(6))
    dropout.perturb(evaluation)
    # a worker process gets it pickled; what is loaded was made in this line
    for other in (dropout, copy.deepcopy(dropout), pickle.loads(pickle.dumps(dropout))):
        torch.manual_seed(7)
        first = dropout.perturb(evaluation)
        torch.manual_seed(7)
        second = other.perturb(evaluation)
        torch.testing.assert_close(first.weights, second.weights, atol=0, rtol=0)
        assert first.circuit.circuit.quantum_circuit == second.circuit.circuit.quantum_circuit


def test_in_training_alone() -> None:
    """Of a fusion, with a modality missing in some rows."""
    torch.manual_seed(0)
    fusion = QuantumFusion(layers=2)
    fusion.build({"vision": 4, "audio": 4})
    fusion.perturbations = [GateDropout(rotations=0.5, entanglers=0.3, pool=3)]
    angles = {m: torch.rand(6, 4) for m in ("vision", "audio")}
    present = {"vision": torch.tensor([True] * 6), "audio": torch.tensor([True] * 4 + [False] * 2)}
    drawn = [fusion(angles, present) for _ in range(8)]
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])
    fusion.eval()
    still = [fusion(angles, present) for _ in range(3)]
    assert all(torch.equal(still[0], other) for other in still[1:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rotations": 1.0}, "rotations=1.0"),
        ({"entanglers": -0.1}, "entanglers=-0.1"),
        ({"rotations": 0.0}, "both 0"),
        ({"pool": 0}, "pool=0"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GateDropout(**arguments)  # type: ignore[arg-type]
