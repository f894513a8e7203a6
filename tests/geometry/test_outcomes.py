"""The classical Fisher information against differences of Qiskit's probabilities; the effective dimension against QML's."""

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Statevector
from qiskit_machine_learning.neural_networks import EffectiveDimension

from qmm.circuits.expressibility import _network
from qmm.errors import InputError
from qmm.geometry import classical_fisher, fubini_study, local_effective_dimension
from qmm.quantum import Circuit, Probabilities

_STEP = 1e-5


def by_differences(circuit: Circuit, x: np.ndarray, w: np.ndarray, qubits: list[int]) -> np.ndarray:
    """(W, W), right to about 1e-8 where no outcome is unlikely."""

    def likely(weights: np.ndarray) -> np.ndarray:
        bound = dict(zip((*circuit.inputs, *circuit.weights), [*x, *weights], strict=True))
        return Statevector(circuit.quantum_circuit.assign_parameters(bound)).probabilities(qubits)

    steps = _STEP * np.eye(len(w))
    changes = np.array([(likely(w + step) - likely(w - step)) / (2 * _STEP) for step in steps])
    return (changes / likely(w)) @ changes.T


@pytest.mark.parametrize("per_sample", [False, True])
def test_agrees_with_differences_of_qiskits_probabilities(per_sample, layered, angles):
    circuit = layered(3, 2, upload=True)
    inputs, weights = angles(circuit, 2, per_sample)
    for read, qubits in ((Probabilities((2, 0)), [2, 0]), (("ZZZ", "IIZ"), [0, 1, 2]), (("IZI",), [1])):
        own = Circuit.of(circuit.quantum_circuit, circuit.inputs, circuit.weights, read)
        for x, w, found in zip(inputs, weights.expand(2, -1), classical_fisher(own, inputs, weights), strict=True):
            assert np.allclose(found, by_differences(own, x.numpy(), w.numpy(), qubits), rtol=0, atol=1e-7)


def test_settings_take_turns():
    """RY(t)|0>: of Z's outcomes 1 = all there is, of X's too, of Y's nothing: the mean of the three is 2/3."""
    t = Parameter("t")
    circuit = QuantumCircuit(1)
    circuit.ry(t, 0)
    inputs, weights = torch.zeros(1, 0, dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64)
    for read, expected in ((["Z"], 1.0), (["X"], 1.0), (["Y"], 0.0), (["X", "Y", "Z"], 2 / 3)):
        found = classical_fisher(Circuit.of(circuit, [], [t], read), inputs, weights)
        assert found.item() == pytest.approx(expected, abs=1e-12)


def test_an_outcome_that_cannot_be_does_not_count():
    t = Parameter("t")
    circuit = QuantumCircuit(2)
    circuit.ry(t, 0)
    own = Circuit.of(circuit, [], [t], ["ZZ"])
    found = classical_fisher(own, torch.zeros(1, 0), torch.tensor([0.7], dtype=torch.float64))
    assert found.item() == pytest.approx(1.0, abs=1e-12)


def test_is_never_more_than_the_quantum_one(circuit, angles):
    inputs, weights = angles(circuit, 3)
    difference = 4 * fubini_study(circuit, inputs, weights) - classical_fisher(circuit, inputs, weights)
    assert torch.linalg.eigvalsh(difference).min() > -1e-10


def test_effective_dimension_is_that_of_qiskit_machine_learning(layered, angles):
    circuit = layered(3, 2)
    circuit = Circuit.of(circuit.quantum_circuit, circuit.inputs, circuit.weights, Probabilities((0, 1, 2)))
    inputs, weights = angles(circuit, 4)
    found = local_effective_dimension(classical_fisher(circuit, inputs, weights).mean(0), 5000)
    expected = EffectiveDimension(_network(circuit), weights[None].numpy(), inputs.numpy()).get_effective_dimension(5000)
    assert found == pytest.approx(float(np.squeeze(expected)), rel=1e-6)


def test_effective_dimension_lies_between_none_and_all():
    assert local_effective_dimension(torch.zeros(3, 3)) == 0
    one, all_ = torch.diag(torch.tensor([1.0, 0, 0])), torch.eye(3)
    large = 10**9
    assert 1 < local_effective_dimension(one, large) < 1.2
    assert 3 < local_effective_dimension(all_, large) < 3.2
    with pytest.raises(InputError, match="19 or more"):
        local_effective_dimension(all_, 10)
    with pytest.raises(InputError, match="mean over samples"):
        local_effective_dimension(torch.zeros(2, 3, 3))
