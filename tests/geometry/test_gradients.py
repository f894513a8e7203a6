"""Output gradients against differences; layers, spreads and cosines of known cases."""

import math

import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qmm.errors import InputError
from qmm.geometry import angle_spread, cosines, output_gradients, weight_blocks, weight_layers
from qmm.quantum import Circuit, Probabilities, expectations


@pytest.mark.parametrize("per_sample", [False, True])
def test_output_gradients_are_differences_of_outputs(per_sample, layered, angles):
    circuit = layered(3, 2)
    circuit = Circuit.of(circuit.quantum_circuit, circuit.inputs, circuit.weights, Probabilities((0, 1, 2)))
    inputs, weights = angles(circuit, 2, per_sample)
    found = output_gradients(circuit, inputs, weights)
    step = 1e-5
    for place in range(weights.shape[-1]):
        shift = step * torch.eye(weights.shape[-1], dtype=torch.float64)[place]
        more, less = (expectations(circuit, inputs, weights + sign * shift) for sign in (1, -1))
        assert torch.allclose(found[..., place].mT, (more - less) / (2 * step), rtol=0, atol=1e-9)
    few = output_gradients(circuit, inputs, weights, most=3)
    assert torch.equal(few, found[[0, 2, 5]])
    with pytest.raises(InputError, match="most=0"):
        output_gradients(circuit, inputs, weights, most=0)


def test_weight_layers(layered):
    assert list(weight_layers(layered(2, 3)).values()) == weight_blocks(layered(2, 3))
    names = ["0.vision.ry0", "10.ry0", "2.ry0", "0.audio.ry0"]
    weights = [Parameter(name) for name in names]
    circuit = QuantumCircuit(1)
    for weight in weights:
        circuit.ry(weight, 0)
    assert weight_layers(Circuit.of(circuit, [], weights, ["Z"])) == {"0": [0, 3], "2": [2], "10": [1]}


def test_angle_spread():
    generator = torch.Generator().manual_seed(0)
    narrow = 3.1 + 0.1 * torch.randn(20_000, 1, generator=generator, dtype=torch.float64)  # across the border of the circle
    turned = narrow + 2 * math.pi * torch.arange(20_000.0, dtype=torch.float64)[:, None]
    wide = 2 * math.pi * torch.arange(16, dtype=torch.float64)[:, None] / 16
    assert angle_spread(narrow).item() == pytest.approx(0.1, abs=0.003)
    assert angle_spread(turned).item() == pytest.approx(angle_spread(narrow).item(), abs=1e-9)
    assert angle_spread(wide).item() > 5
    assert angle_spread(torch.ones(3, 2)).tolist() == pytest.approx([0, 0], abs=1e-3)


def test_cosines_of_losses():
    x, y = torch.tensor([3.0, 4.0]), torch.tensor([[1.0]])
    found = cosines(
        {"a": [x, y, None], "b": [-2 * x, None, None], "c": [torch.tensor([-4.0, 3.0]), 7 * y, None], "d": [None] * 3}
    )
    assert found == pytest.approx({"a-b": -1, "a-c": 7 / math.sqrt(26 * 74), "b-c": 0}, abs=1e-6)
