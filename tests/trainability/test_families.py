"""Ensembles: the gradients of every circuit against the parameter shift of Qiskit's own states; what theory says of them."""

import math

import numpy as np
import pytest
import torch
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Operator, Statevector

from qmm.errors import InputError
from qmm.initialisers import IdentityBlocks, SmallAngle, Uniform
from qmm.quantum import Circuit
from qmm.trainability import AnsatzLayers, RandomAxes, observable, resampled_variances, slope, two_design_variance
from qmm.trainability.starts import FirstLayers


def value(circuit: Circuit, weights: np.ndarray) -> float:
    bound = circuit.quantum_circuit.assign_parameters(dict(zip(circuit.weights, weights, strict=True)))
    return float(Statevector(bound).expectation_value(circuit.observables[0]).real)


def shifted(circuit: Circuit, weights: np.ndarray) -> np.ndarray:
    """By the parameter shift, exact for rotations."""
    steps = np.eye(len(weights)) * math.pi / 2
    return np.array([(value(circuit, weights + step) - value(circuit, weights - step)) / 2 for step in steps])


@pytest.mark.parametrize("read", ["z", "zz", "mean-z", "parity", "projector"])
@pytest.mark.parametrize("block", [None, 4])
def test_random_circuits_are_differentiated_each_by_its_own_axes(read: str, block: int | None) -> None:
    ensemble = RandomAxes(block).ensemble(3, 4, read, 3, seed=1)
    weights = ensemble.draw(Uniform(), seed=2)
    found = ensemble.gradients(weights)
    assert found.shape == (3, 12)
    expected = [shifted(c, w.numpy()) for c, w in zip(ensemble.circuits, weights, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


def test_random_circuits_have_their_axes_at_random_and_by_their_seed() -> None:
    ensemble = RandomAxes().ensemble(2, 50, "zz", 40, seed=0)
    names = [item.operation.name for c in ensemble.circuits for item in c.quantum_circuit.data if item.operation.name != "cz"]
    turns = 40 * 100
    for axis, extra in (("rx", 0), ("ry", 40 * 2), ("rz", 0)):  # RY(pi/4) comes first on each qubit
        assert abs(names.count(axis) - extra - turns / 3) < 5 * math.sqrt(turns * 2 / 9)
    again = RandomAxes().ensemble(2, 50, "parity", 40, seed=0)
    assert [c.quantum_circuit for c in again.circuits] == [c.quantum_circuit for c in ensemble.circuits]
    other = RandomAxes().ensemble(2, 50, "zz", 40, seed=1)
    assert [c.quantum_circuit for c in other.circuits] != [c.quantum_circuit for c in ensemble.circuits]


def test_blocks_undo_themselves() -> None:
    ensemble = RandomAxes(block=4).ensemble(3, 8, "zz", 2, seed=0)
    start = QuantumCircuit(3)
    start.ry(math.pi / 4, range(3))
    for circuit, weights in zip(ensemble.circuits, ensemble.draw(IdentityBlocks(least=1.0), seed=0), strict=True):
        bound = circuit.quantum_circuit.assign_parameters(dict(zip(circuit.weights, weights.numpy(), strict=True)))
        assert Operator(bound).equiv(start)


def test_deep_random_circuits_fall_as_two_designs_do() -> None:
    measured, theory = {}, {}
    for n in (2, 3, 4, 5):
        ensemble = RandomAxes().ensemble(n, 12 * n, "zz", 200, seed=n)
        measured[n] = resampled_variances(ensemble.gradients(ensemble.draw(Uniform(), seed=0))[:, :1].numpy(), seed=n)
        theory[n] = two_design_variance(n)
        assert abs(measured[n][0] - theory[n]) < 5 * measured[n][1:].std(), n
    found = slope(measured)
    assert found is not None
    expected = np.polyfit(list(theory), np.log(list(theory.values())), 1)[0]
    assert abs(found.value - expected) < 5 * (found.high - found.low) / (2 * 1.96)


def test_small_angles_keep_the_gradient_of_a_local_observable() -> None:
    """The first gradient of N(0, 0.05): -0.01 per qubit was measured once, uniform -0.58."""
    measured = {}
    for n in (2, 4, 6):
        ensemble = RandomAxes().ensemble(n, 50, "zz", 100, seed=n)
        gradients = ensemble.gradients(ensemble.draw(SmallAngle(spread=0.05), seed=0))
        measured[n] = resampled_variances(gradients[:, :1].numpy(), seed=n)
    found = slope(measured)
    assert found is not None
    assert abs(found.value) < 5 * (found.high - found.low) / (2 * 1.96) < 0.4


def test_layers_of_an_ansatz() -> None:
    ensemble = AnsatzLayers().ensemble(3, 2, "mean-z", 4, seed=0)
    (circuit,) = ensemble.circuits
    weights = ensemble.draw(Uniform(), seed=0)
    expected = [shifted(circuit, row.numpy()) for row in weights]
    np.testing.assert_allclose(ensemble.gradients(weights).numpy(), expected, atol=1e-10)
    assert (np.abs(expected).max(axis=0) > 1e-6).all()  # what is not felt has been left out
    used = [angle for item in circuit.quantum_circuit.data for angle in item.operation.params if angle in circuit.weights]
    assert list(circuit.weights) == used


def test_the_first_circuits_of_many_are_the_same_ones() -> None:
    whole = RandomAxes().ensemble(2, 3, "zz", 5, seed=0)
    few, weights = whole.first(2), whole.draw(Uniform(), seed=0)
    torch.testing.assert_close(few.gradients(weights[:2]), whole.gradients(weights)[:2], rtol=0, atol=1e-14)
    assert whole.first(9) is whole


def test_a_layerwise_start_draws_the_first_layers_alone() -> None:
    ensemble = AnsatzLayers().ensemble(3, 4, "parity", 2, seed=0)
    weights = ensemble.draw(FirstLayers(2, Uniform()), seed=0)
    names = [weight.name for weight in ensemble.circuits[0].weights]
    begun = torch.tensor([name.startswith(("0.", "1.")) for name in names])
    assert 0 < begun.sum() < len(names)
    assert weights[:, begun].all()
    assert not weights[:, ~begun].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomAxes(block=3), "block=3"),
        (lambda: RandomAxes(block=4).ensemble(2, 6, "zz", 2, 0), "multiple"),
        (lambda: RandomAxes().ensemble(2, 2, "own", 2, 0), "read-out of their own"),
        (lambda: RandomAxes().ensemble(1, 2, "zz", 2, 0), "it takes 2"),
        (lambda: AnsatzLayers().ensemble(2, 1, "own", 2, 0), "read-out of its own"),
        (lambda: RandomAxes().ensemble(2, 2, "zz", 2, 0).draw(None, 0), "name an initialiser"),
        (lambda: RandomAxes().ensemble(2, 2, "zz", 2, 0).draw(IdentityBlocks(), 0), "undo each other"),
        (lambda: observable("projector", 20), "2\\*\\*20"),
        (lambda: FirstLayers(0), "at least one layer"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_observables_are_what_they_say() -> None:
    z, one = np.diag([1.0, -1.0]), np.eye(2)
    expected = {
        "z": np.kron(np.kron(one, one), z),  # qubit 0 is the last factor
        "zz": np.kron(np.kron(one, z), z),
        "mean-z": (np.kron(np.kron(one, one), z) + np.kron(np.kron(one, z), one) + np.kron(np.kron(z, one), one)) / 3,
        "parity": np.kron(np.kron(z, z), z),
        "projector": np.diag([1.0] + [0.0] * 7),
    }
    for name, matrix in expected.items():
        np.testing.assert_allclose(observable(name, 3).to_matrix(), matrix, atol=1e-15)
