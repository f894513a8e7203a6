"""The metric from overlaps: equal to the exact one without shots, around it with shots."""

import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qmm.errors import InputError
from qmm.geometry import fubini_study, sampled_fubini_study
from qmm.quantum import Circuit
from qmm.quantum.execution import Ideal, PrimitiveBackend


def shared() -> Circuit:
    """A weight in two gates, one in a controlled gate, one that is multiplied by an input."""
    x, (a, b, c) = Parameter("x"), (Parameter(name) for name in "abc")
    circuit = QuantumCircuit(3)
    circuit.ry(a, 0)
    circuit.rx(a + x, 1)
    circuit.crx(b, 0, 2)
    circuit.cx(1, 2)
    circuit.rz(c * x, 2)
    circuit.ry(b, 1)
    return Circuit.of(circuit, [x], [a, b, c], ["ZZZ"])


@pytest.mark.parametrize("kind", ["full", "block", "diagonal"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_is_exact_without_shots(kind, per_sample, layered, angles):
    for circuit in (layered(3, 2, upload=True), shared()):
        inputs, weights = angles(circuit, 2, per_sample)
        found = sampled_fubini_study(circuit, inputs, weights, kind=kind)
        assert torch.allclose(found, fubini_study(circuit, inputs, weights, kind), rtol=0, atol=1e-12)


def test_blocks_of_ones_own(layered, angles):
    circuit = layered(3, 2)
    inputs, weights = angles(circuit, 2)
    blocks = [[0, 5, 3], [1, 2]]
    found = sampled_fubini_study(circuit, inputs, weights, kind="block", blocks=blocks)
    assert torch.allclose(found, fubini_study(circuit, inputs, weights, "block", blocks), rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="choose one of"):
        sampled_fubini_study(circuit, inputs, weights, kind="half")  # type: ignore[arg-type]


def test_shots_scatter_around_the_exact_metric():
    """One entry is a sum of 4 frequencies over 8, or of one over 4, so that its standard deviation is at most
    sqrt(4 / 4 / shots) / 8 = 1 / (8 sqrt(shots)); with a shared weight a sum of up to 4 of them. 5 deviations are allowed."""
    circuit = shared()
    inputs, weights = torch.tensor([[0.4], [1.1]]), torch.tensor([0.3, -0.8, 1.2])
    shots = 20_000
    found = sampled_fubini_study(circuit, inputs, weights, PrimitiveBackend(Ideal(), shots=shots, seed=3))
    expected = fubini_study(circuit, inputs, weights)
    assert (found - expected).abs().max() < 5 * 4 / 8 / shots**0.5
    assert (found - expected).abs().max() > 1e-5
