"""QuantumLayer as a torch module: copies, pickles, devices and dtypes, odd batches, and what it refuses."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import Initialize
from qiskit.quantum_info import SparsePauliOp

from qmm.quantum import Circuit, CircuitError, QuantumLayer, expectations


@pytest.fixture
def layer(circuits):
    torch.manual_seed(0)
    return QuantumLayer(circuits(3, 4, 15), dtype=torch.complex128)


@pytest.fixture
def inputs():
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_state_dict_holds_the_weights_alone_in_the_circuit_order(layer):
    assert list(layer.state_dict()) == ["weights"]
    assert layer.weights.shape == (len(layer.circuit.weights),)


def test_copies_and_pickles_compute_the_same(layer, inputs):
    expected = layer(inputs)
    # spawned data workers and DDP pickle layers; what is read here was written in this line
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(inputs), expected, rtol=0, atol=0)
        other.weights.data.add_(1)
        assert not torch.allclose(other(inputs), expected)
    torch.testing.assert_close(layer(inputs), expected, rtol=0, atol=0)


def test_precision_follows_the_module(layer, inputs):
    exact = layer(inputs)
    assert exact.dtype == torch.float64
    single = layer.float()(inputs)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, atol=1e-5, rtol=0)
    assert layer.double()(inputs).dtype == torch.float64


def test_autocast_does_not_touch_the_angles(layer, inputs):
    layer.float()
    expected = layer(inputs.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(inputs.float()), expected, rtol=0, atol=0)


def test_odd_batches(layer, inputs):
    assert layer(inputs[:0]).shape == (0, 3)
    layer(inputs[:0]).sum().backward()
    assert layer.weights.grad is not None
    assert not layer.weights.grad.any()
    wide = torch.stack([inputs, inputs], dim=-1)[..., 0]
    assert not wide.is_contiguous()
    torch.testing.assert_close(layer(wide), layer(inputs), rtol=0, atol=0)
    rows = torch.cat([layer(row[None]) for row in inputs])
    torch.testing.assert_close(layer(inputs), rows)


def test_two_forwards_before_a_backward(layer, inputs):
    def gradient(*batches: torch.Tensor) -> torch.Tensor:
        outputs = [layer(batch) for batch in batches]
        return torch.autograd.grad(sum(output.sum() for output in outputs), layer.weights)[0]

    torch.testing.assert_close(gradient(inputs, 2 * inputs), gradient(inputs) + gradient(2 * inputs))


def test_gradients_only_where_they_are_asked_for(layer, inputs):
    assert not expectations(layer.compiled, inputs, layer.weights.detach()).requires_grad
    asking = inputs.clone().requires_grad_()
    expectations(layer.compiled, asking, layer.weights.detach()).sum().backward()
    assert asking.grad is not None


def test_without_inputs_or_weights():
    circuit = QuantumCircuit(1)
    circuit.ry(0.3, 0)
    fixed = QuantumLayer(Circuit.of(circuit, observables=["Z", "X"]))
    angle = torch.tensor(0.3)
    torch.testing.assert_close(fixed(torch.zeros(4, 0)), torch.stack([angle.cos(), angle.sin()]).expand(4, 2))
    weight = Parameter("w")
    circuit.ry(weight, 0)
    trained = QuantumLayer(Circuit.of(circuit, observables=["Z"]), init=torch.tensor([0.5]))
    torch.testing.assert_close(trained(torch.zeros(2, 0)), torch.tensor([[0.8], [0.8]]).cos())
    encoded = QuantumLayer(Circuit.of(circuit, inputs=[weight], observables=["Z"]))
    torch.testing.assert_close(encoded(torch.tensor([[0.1], [0.2]])), torch.tensor([[0.4], [0.5]]).cos())


def test_initial_weights():
    angles = ParameterVector("w", 200)
    circuit = QuantumCircuit(1)
    for angle in angles:
        circuit.rx(angle, 0)
    checked = Circuit.of(circuit, observables=["Z"])
    assert torch.equal(QuantumLayer(checked, init=torch.nn.init.ones_).weights, torch.ones(200))
    uniform = QuantumLayer(checked).weights.detach()
    assert uniform.abs().max() <= torch.pi
    assert uniform.std() == pytest.approx(2 * torch.pi / 12**0.5, rel=0.15)
    with pytest.raises(CircuitError, match=r"init has shape \(3,\); the circuit has 200 weights"):
        QuantumLayer(checked, init=torch.zeros(3))


def test_a_fresh_qubit_may_be_initialised(reference):
    circuit = QuantumCircuit(3)
    circuit.ry(0.3, 0)
    circuit.append(Initialize([0.6, 0, 0, 0.8j]), [1, 2])
    circuit.cx(2, 0)
    checked = Circuit.of(circuit, observables=["ZZZ", "XYI", "IIX"])
    nothing = torch.zeros(1, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
    torch.testing.assert_close(expectations(checked, *nothing), reference(checked, *nothing), atol=1e-10, rtol=0)


def _measured(circuit):
    circuit.measure(1, 0)


def _reset(circuit):
    circuit.reset(0)


def _conditioned(circuit):
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_measured, r"instruction 1 \('measure' on qubits \[1\]\).*remove_final_measurements"),
        (_reset, r"instruction 1 \('reset' on qubits \[0\]\).*fresh qubit"),
        (_conditioned, r"instruction 1 \('if_else' on qubits \[1\]\).*unitary"),
    ],
)
def test_what_is_not_unitary_is_refused_by_name_and_place(spoil, message):
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    spoil(circuit)
    with pytest.raises(CircuitError, match=message):
        QuantumLayer(Circuit.of(circuit, observables=["ZZ"]))


def test_what_does_not_fit_together_is_refused():
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.rx(a, 0)
    circuit.ry(b, 1)
    with pytest.raises(CircuitError, match="neither input nor weight: b"):
        QuantumLayer(Circuit(circuit, (a,), (), (SparsePauliOp("ZZ"),)))
    with pytest.raises(CircuitError, match="named twice among inputs and weights: a"):
        Circuit.of(circuit, [a], [a, b], ["ZZ"])
    with pytest.raises(CircuitError, match="observable 1 acts on 3 qubits, the circuit has 2"):
        Circuit.of(circuit, [a], [b], ["ZZ", "ZZZ"])
    with pytest.raises(CircuitError, match="observable 0 has complex coefficients"):
        Circuit.of(circuit, [a], [b], [SparsePauliOp("ZZ", 1j)])
    with pytest.raises(CircuitError, match="at least one observable"):
        Circuit.of(circuit, [a], [b])
    layer = QuantumLayer(Circuit.of(circuit, [a], [b], ["ZZ"]))
    with pytest.raises(CircuitError, match=r"inputs have shape \(4, 2\); the circuit takes \(B, 1\)"):
        layer(torch.zeros(4, 2))
    with pytest.raises(CircuitError, match=r"weights have shape \(3, 1\); the circuit takes \(1,\), or \(4, 1\)"):
        expectations(layer.compiled, torch.zeros(4, 1), torch.zeros(3, 1))
    with pytest.raises(CircuitError, match="dtype is"):
        QuantumLayer(layer.circuit, dtype=torch.float32)


def test_importing_it_loads_neither_lightning_nor_transformers():
    code = "import sys, qmm.quantum; print(sorted({m.split('.')[0] for m in sys.modules}))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'torch'" in modules
    assert not {"lightning", "transformers", "pytorch_lightning"} & set(modules.replace("'", "").strip("[]\n").split(", "))
