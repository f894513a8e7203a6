"""Initialisers that draw from distributions: against the distributions, and against depths and weights counted by hand."""

import math

import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from scipy import stats

from qmm.errors import InputError
from qmm.fusion import QuantumFusion
from qmm.initialisers import (
    Beta,
    Initialiser,
    OrthogonalLike,
    SmallAngle,
    Uniform,
    Xavier,
    locality,
    trained_depth,
    trained_layers,
)
from qmm.initialisers.distributions import _by_moments
from qmm.quantum import Circuit, Probabilities


def staircase() -> Circuit:
    """RY a, RX x, RZ b on one qubit, CX, RY c on the other, then `a` again: 4 trained gates one behind another."""
    a, b, c, x = map(Parameter, "abcx")
    circuit = QuantumCircuit(3)
    circuit.ry(a, 0)
    circuit.rx(x, 0)
    circuit.rz(b, 0)
    circuit.barrier()
    circuit.cx(0, 1)
    circuit.ry(c, 1)
    circuit.ry(a, 1)
    return Circuit.of(circuit, [x], [a, b, c], ["IZZ", "ZII"])


def fusion() -> Circuit:
    made = QuantumFusion(layers=4)
    made.build({"vision": 4, "audio": 4})
    return made.circuit()


def drawn(initialiser: Initialiser, circuit: Circuit, count: int = 1) -> torch.Tensor:
    weights = initialiser.draw(circuit, torch.Generator().manual_seed(0), count)
    assert weights.shape == (count, len(circuit.weights))
    assert weights.dtype == torch.float64
    return weights


def test_structure_counted_by_hand() -> None:
    circuit = staircase()
    assert locality(circuit) == 2
    assert trained_depth(circuit) == 4
    assert trained_layers(circuit) == [[0], [1], [2], []]
    assert locality(circuit._replace(observables=Probabilities((0, 1, 2)))) == 3
    assert [len(layer) for layer in trained_layers(fusion())] == [4] * 8  # RZ, then RY, on each of four qubits
    with pytest.raises(InputError, match="no weights"):
        trained_layers(Circuit.of(QuantumCircuit(1), observables=["Z"]))


def test_small_angles_are_normal_with_the_variance_of_the_paper() -> None:
    weights = drawn(SmallAngle(), fusion(), 2000)
    deviation = 1 / math.sqrt(4 * 2 * 8)  # S = 2 of ZZ, L + 2 = 8
    assert stats.kstest(weights.flatten().numpy() / deviation, "norm").pvalue > 1e-5
    assert SmallAngle().deviation(staircase()) == pytest.approx(1 / math.sqrt(4 * 2 * 4))
    assert SmallAngle(scale=2, spread=0.05).deviation(fusion()) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("initialiser", "expected"),
    [
        (Beta(2, 5, high=3.0), stats.beta(2, 5, scale=3.0)),
        (Uniform(), stats.uniform(-math.pi, 2 * math.pi)),
        (Xavier(), stats.norm(0, 0.5)),
        (Xavier("uniform", gain=math.sqrt(2)), stats.uniform(-math.sqrt(1.5), 2 * math.sqrt(1.5))),
    ],
)
def test_distributions(initialiser, expected) -> None:
    assert stats.kstest(drawn(initialiser, fusion(), 1000).flatten().numpy(), expected.cdf).pvalue > 1e-5


def test_beta_is_estimated_from_data() -> None:
    """Scaled data are those of a beta distribution: its parameters come out again."""
    data = torch.from_numpy(stats.beta(2.0, 3.0).rvs(4000, random_state=0)) * 5 - 1
    seen = Beta(fit=True).see(fusion(), data.reshape(-1, 4))
    assert (seen.alpha, seen.beta) == pytest.approx((2.0, 3.0), rel=0.1)
    assert not seen.fit
    clustered = torch.tensor([[0.0, 0.1, 0.9, 1.0]] * 3 + [[0.5, 0.5, 0.5, 0.5]], dtype=torch.float64)
    moments = _by_moments(clustered.numpy().ravel())
    again = stats.beta(*moments)
    assert (again.mean(), again.var()) == pytest.approx((0.5, float(clustered.var(correction=0))))
    with pytest.raises(InputError, match="has seen no data"):
        drawn(Beta(fit=True), fusion())
    with pytest.raises(InputError, match="all the same"):
        Beta(fit=True).see(fusion(), torch.ones(3, 4))


def test_layers_are_rows_of_an_orthogonal_matrix() -> None:
    circuit = fusion()
    for weights in drawn(OrthogonalLike(gain=0.5), circuit, 3):
        rows = torch.stack([weights[layer] for layer in trained_layers(circuit)])  # (8, 4)
        torch.testing.assert_close(rows.T @ rows, 0.25 * torch.eye(4, dtype=torch.float64))
    first, second, _ = drawn(OrthogonalLike(), circuit, 3)
    assert not torch.allclose(first, second)
    ragged = drawn(OrthogonalLike(), staircase(), 5)  # (4, 1): a column of length 1, of which three entries are used
    assert (ragged.norm(dim=1) < 1).all()


@pytest.mark.parametrize(
    "make",
    [lambda: SmallAngle(0), lambda: SmallAngle(spread=-1), lambda: Beta(0), lambda: OrthogonalLike(0), lambda: Xavier("round")],
)
def test_what_makes_no_sense_is_refused(make) -> None:
    with pytest.raises(InputError):
        make()


def test_the_same_seed_draws_the_same() -> None:
    for initialiser in (SmallAngle(), Beta(), OrthogonalLike(), Xavier()):
        assert torch.equal(drawn(initialiser, fusion()), drawn(initialiser, fusion()))
