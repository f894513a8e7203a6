"""The two engines of the exact backend against each other and closed formulas; what chooses between them; what they refuse."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from torch import Tensor

from qmm.quantum import (
    Adjoint,
    Autograd,
    Backend,
    Circuit,
    CircuitError,
    CompiledCircuit,
    ExactBackend,
    Gradient,
    Probabilities,
    QuantumLayer,
    expectations,
)

KERNELS, TORCH = ExactBackend("kernels"), ExactBackend("torch")
BOTH = pytest.mark.parametrize("backend", [KERNELS, TORCH], ids=["kernels", "torch"])
EXAMPLES = settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def data() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (37, 3): more than two groups of either precision, the last not full; weights (3,); a mixture (37, 3)."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((37, 3), (3,), (37, 3)))  # type: ignore[return-value]


def gradients(circuit, inputs, weights, mixture, backend, gradient=None) -> tuple[Tensor, ...]:
    inputs, weights = (t.detach().clone().requires_grad_() for t in (inputs, weights))
    values = expectations(circuit, inputs, weights, backend, gradient)
    return torch.autograd.grad((values * mixture).sum(), [inputs, weights])


@EXAMPLES
@given(seed=st.integers(0, 10**6), n_qubits=st.integers(1, 7), per_sample=st.booleans())
def test_adjoint_of_both_engines_is_the_gradient_of_plain_autograd(seed, n_qubits, per_sample, circuits, data):
    circuit = CompiledCircuit(circuits(seed, n_qubits, 15))
    inputs, weights, mixture = data
    if per_sample:
        weights = weights + inputs.flip(0)
    expected = gradients(circuit, inputs, weights, mixture, TORCH, Autograd())
    for backend in (KERNELS, TORCH):
        torch.testing.assert_close(gradients(circuit, inputs, weights, mixture, backend), expected, atol=1e-9, rtol=1e-9)
        single = gradients(circuit, inputs.float(), weights.float(), mixture.float(), backend)
        for got, want in zip(single, expected, strict=True):
            # steep expressions of parameters rounded to float32 make larger differences than the gates do
            torch.testing.assert_close(got.double(), want, atol=1e-4 * max(1.0, want.abs().max().item()), rtol=0)


@BOTH
def test_gradients_are_those_of_the_parameter_shift_rule(backend):
    n = 4
    x, w = ParameterVector("x", n), ParameterVector("w", 3 * n)
    quantum_circuit = QuantumCircuit(n)
    for q in range(n):
        quantum_circuit.rx(x[q], q)
        quantum_circuit.rzz(w[q], q, (q + 1) % n)
        quantum_circuit.ry(w[n + q], q)
        quantum_circuit.rxx(w[2 * n + q], q, (q + 2) % n)
    circuit = CompiledCircuit(Circuit.of(quantum_circuit, x, w, ["ZZII", "IXYI", "IIIZ", "YIIX"]))
    inputs, weights = torch.randn(3, n, dtype=torch.float64), torch.randn(3 * n, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda t: expectations(circuit, inputs, t, backend), weights)
    steps = torch.eye(3 * n, dtype=torch.float64) * torch.pi / 2
    shifted = [
        (expectations(circuit, inputs, weights + step, backend) - expectations(circuit, inputs, weights - step, backend)) / 2
        for step in steps
    ]
    torch.testing.assert_close(jacobian, torch.stack(shifted, dim=-1), atol=1e-10, rtol=0)


@BOTH
@EXAMPLES
@given(seed=st.integers(0, 10**6), n_qubits=st.integers(1, 6), data_=st.data())
def test_probabilities_agree_with_statevector(seed, n_qubits, data_, backend, circuits, statevector):
    qubits = data_.draw(st.permutations(range(n_qubits)).flatmap(lambda p: st.integers(1, n_qubits).map(lambda k: p[:k])))
    outcomes = data_.draw(st.none() | st.lists(st.integers(0, 3), min_size=2 ** len(qubits), max_size=2 ** len(qubits)))
    drawn = circuits(seed, n_qubits, 10, expressions=False)
    read = Probabilities(tuple(qubits), None if outcomes is None else tuple(outcomes))
    circuit = Circuit.of(drawn.quantum_circuit, drawn.inputs, drawn.weights, read)
    values = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = expectations(circuit, values[:3], values[3], backend)
    for row, x in zip(found, values[:3].tolist(), strict=True):
        expected = torch.zeros(circuit.n_outputs, dtype=torch.float64)
        for outcome, probability in enumerate(statevector(circuit, x, values[3].tolist()).probabilities(qubits)):
            expected[outcome if outcomes is None else outcomes[outcome]] += probability
        torch.testing.assert_close(row, expected, atol=1e-10, rtol=0)
    mixture = torch.randn(3, circuit.n_outputs, dtype=torch.float64)
    torch.testing.assert_close(
        gradients(circuit, values[:3], values[3], mixture, backend),
        gradients(circuit, values[:3], values[3], mixture, TORCH, Autograd()),
        atol=1e-9,
        rtol=0,
    )


@pytest.mark.parametrize("states", [1, 3, 16, 1000])
def test_the_size_of_a_chunk_changes_nothing(states, circuits, data):
    circuit = CompiledCircuit(circuits(11, 5, 20))
    chunked = ExactBackend("torch", chunk_bytes=states * 16 * 2**5)
    inputs, weights, mixture = data
    torch.testing.assert_close(expectations(circuit, inputs, weights, chunked), expectations(circuit, inputs, weights, TORCH))
    torch.testing.assert_close(
        gradients(circuit, inputs, weights, mixture, chunked), gradients(circuit, inputs, weights, mixture, TORCH)
    )
    per_sample = weights + inputs
    torch.testing.assert_close(
        gradients(circuit, inputs, per_sample, mixture, chunked), gradients(circuit, inputs, per_sample, mixture, TORCH)
    )


def test_the_number_of_threads_changes_not_a_bit(circuits, monkeypatch):
    from qmm.quantum.kernels import execute

    monkeypatch.setattr(execute, "_THREADED", 1)  # so that small circuits are shared out as well
    circuit = CompiledCircuit(circuits(11, 6, 20))
    inputs, weights, mixture = torch.randn(100, 3), torch.randn(3), torch.randn(100, 3)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            values = expectations(circuit, inputs, weights, KERNELS)
            found.append((values, *gradients(circuit, inputs, weights, mixture, KERNELS)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_threads_of_its_own():
    code = """
import os, sys, torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qmm.quantum import Circuit, ExactBackend, QuantumLayer
from qmm.quantum.kernels import execute
torch.set_num_threads(2)
execute._THREADED = 1
angles = ParameterVector("x", 3)
circuit = QuantumCircuit(3)
[circuit.ry(angle, q) for q, angle in enumerate(angles)]
circuit.cx(0, 2)
layer = QuantumLayer(Circuit.of(circuit, angles, observables=["ZZZ"]), backend=ExactBackend("kernels"))
inputs = torch.randn(64, 3)
expected = layer(inputs)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(layer(inputs), expected) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")  # torch's own jacfwd
@BOTH
def test_derivatives_of_any_order_and_torch_func(backend, circuits):
    circuit = CompiledCircuit(circuits(5, 3, 8, expressions=False))
    inputs = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, w: Tensor) -> Tensor:
        return expectations(circuit, x, w, backend)

    assert torch.autograd.gradcheck(run, [inputs, weights])
    assert torch.autograd.gradgradcheck(run, [inputs, weights])
    jacobian = torch.autograd.functional.jacobian(lambda w: run(inputs, w), weights)
    x, w = inputs.detach(), weights.detach()
    torch.testing.assert_close(torch.func.jacrev(run, argnums=1)(x, w), jacobian)
    torch.testing.assert_close(torch.func.jacfwd(run, argnums=1)(x, w), jacobian)
    rows = torch.func.vmap(lambda row: run(row[None], w)[0])(x)
    torch.testing.assert_close(rows, run(x, w))
    per_sample = torch.func.vmap(torch.func.jacrev(lambda w, row: run(row[None], w)[0]), in_dims=(None, 0))(w, x)
    torch.testing.assert_close(per_sample, jacobian)
    with torch.autograd.forward_ad.dual_level():
        tangent = torch.randn_like(w)
        dual = run(x, torch.autograd.forward_ad.make_dual(w, tangent))
        moved = torch.autograd.forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(moved, jacobian @ tangent)


@BOTH
def test_backward_twice_and_functional_call(backend, circuits, data):
    layer = QuantumLayer(circuits(5, 4, 12), backend=backend, dtype=torch.complex128)
    values = layer(data[0])
    once = torch.autograd.grad(values.sum(), layer.weights, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(values.sum(), layer.weights), once, rtol=0, atol=0)
    other = {"weights": layer.weights.detach() + 1}
    expected = expectations(layer.compiled, data[0], other["weights"], backend)
    torch.testing.assert_close(torch.func.functional_call(layer, other, data[0]), expected)


def test_the_engine_is_chosen_by_itself_and_can_be_forced():
    n = 15
    angles = ParameterVector("x", n)
    quantum_circuit = QuantumCircuit(n)
    for q in range(n):
        quantum_circuit.ry(angles[q], q)
    circuit = CompiledCircuit(Circuit.of(quantum_circuit, angles, observables=["Z" * n]))
    auto = ExactBackend()
    assert auto.choose(circuit, torch.zeros(32, n)) == "kernels"
    assert auto.choose(circuit, torch.zeros(1, n)) == "torch"
    assert auto.choose(circuit, torch.zeros(32, n, device="meta")) == "torch"
    assert KERNELS.choose(circuit, torch.zeros(1, n)) == "kernels"
    assert TORCH.choose(circuit, torch.zeros(32, n)) == "torch"
    with pytest.raises(CircuitError, match="runs on the CPU, the weights are on meta"):
        KERNELS.choose(circuit, torch.zeros(32, n, device="meta"))
    with pytest.raises(CircuitError, match="engine='fast'; choose one of auto, kernels, torch"):
        ExactBackend("fast")
    inputs = torch.rand(1, n, dtype=torch.float64)
    nothing = torch.zeros(0, dtype=torch.float64)
    closed = inputs.cos().prod(dim=1, keepdim=True)
    for backend in (auto, KERNELS, TORCH):
        torch.testing.assert_close(expectations(circuit, inputs, nothing, backend), closed)


class _Differences(Gradient):
    """A user's own way to differentiate, for any backend: central differences, to weights only."""

    def __init__(self, step: float):
        self.step = step

    def values(self, backend, circuit, inputs, weights):
        result = backend.submit(circuit, inputs, weights).result()
        moves = torch.eye(len(weights), dtype=weights.dtype) * self.step
        ends = [[backend.submit(circuit, inputs, weights + s * m).result() for s in (1, -1)] for m in moves]
        slopes = torch.stack([(a - b) / (2 * self.step) for a, b in ends], dim=-1)
        return result + slopes @ (weights - weights.detach())


class _OneByOne(Backend):
    """A user's own backend: Qiskit's state vector, one sample at a time."""

    gradient = _Differences(1e-5)

    def __init__(self, reference):
        self.reference = reference

    def submit(self, circuit, inputs, weights):
        self.values = self.reference(circuit.circuit, inputs, weights)
        return self

    def result(self):
        return self.values


def test_another_backend_and_another_gradient_take_their_places(circuits, reference, data):
    circuit = circuits(4, 3, 10, expressions=False)
    inputs = data[0][:3]
    exact = QuantumLayer(circuit, init=data[1], dtype=torch.complex128)
    other = QuantumLayer(circuit, backend=_OneByOne(reference), init=data[1], dtype=torch.complex128)
    assert list(other.state_dict()) == ["weights"]
    torch.testing.assert_close(other(inputs), exact(inputs), atol=1e-10, rtol=0)
    slopes = [torch.autograd.grad(layer(inputs).square().sum(), layer.weights)[0] for layer in (exact, other)]
    torch.testing.assert_close(*slopes, atol=1e-6, rtol=1e-6)
    mixed = QuantumLayer(circuit, gradient=_Differences(1e-5), init=data[1], dtype=torch.complex128)
    torch.testing.assert_close(torch.autograd.grad(mixed(inputs).square().sum(), mixed.weights)[0], slopes[0])
    with pytest.raises(CircuitError, match="Adjoint needs the ExactBackend, got _OneByOne"):
        QuantumLayer(circuit, backend=_OneByOne(reference), gradient=Adjoint())(inputs)


def test_a_job_has_plain_values(circuits, data):
    circuit = CompiledCircuit(circuits(4, 3, 10))
    weights = data[1].clone().requires_grad_()
    values = ExactBackend().submit(circuit, data[0], weights).result()
    assert not values.requires_grad
    torch.testing.assert_close(values, expectations(circuit, data[0], weights).detach())


def test_angles_that_are_not_finite_are_named():
    x, w = ParameterVector("x", 2), Parameter("speed")
    circuit = QuantumCircuit(2)
    circuit.ry(x[0], 0)
    circuit.ry(x[1] * w, 1)
    layer = QuantumLayer(Circuit.of(circuit, x, [w], ["ZZ"]))
    inputs = torch.zeros(5, 2)
    inputs[3, 1] = torch.nan
    with pytest.raises(CircuitError, match=r"input 'x\[1\]' is nan in row 3"):
        layer(inputs)
    layer.weights.data.fill_(torch.inf)
    with pytest.raises(CircuitError, match="weight 'speed' is inf; angles are finite"):
        layer(torch.zeros(5, 2))
    layer.weights.data.fill_(1.0)
    layer(torch.full((5, 2), 1e38))  # finite, although their sum is not


def test_states_that_memory_cannot_hold_are_refused_before_anything_is_allocated():
    message = r"1 state\(s\) of 50 qubits in complex64 take 8,388,608.0 GiB, .* GiB are free on cpu"
    with pytest.raises(CircuitError, match=message):
        QuantumLayer(Circuit.of(QuantumCircuit(50), observables=["Z" * 50]))
    angle = Parameter("x")
    circuit = QuantumCircuit(20)
    circuit.ry(angle, 0)
    layer = QuantumLayer(Circuit.of(circuit, [angle], observables=["Z" * 20]))
    with pytest.raises(CircuitError, match="smaller batch"):
        layer(torch.zeros(10**6, 1, requires_grad=True))


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (Probabilities((0, 2)), r"probabilities of qubits \[0, 2\]; the circuit has 0 to 1, each once"),
        (Probabilities((0, 0)), "each once"),
        (Probabilities((0,), (0, 1, 2)), "3 outcomes of 1 qubits; give 2 of 0 or more"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(read, message):
    with pytest.raises(CircuitError, match=message):
        Circuit.of(QuantumCircuit(2), observables=read)


def test_a_circuit_survives_as_text(circuits, reference):
    circuit = circuits(9, 4, 20)
    again = Circuit.from_json(circuit.to_json())
    inputs, weights = torch.randn(2, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    torch.testing.assert_close(expectations(again, inputs, weights), reference(circuit, inputs, weights), atol=1e-10, rtol=0)
    read = Circuit.of(circuit.quantum_circuit, circuit.inputs, circuit.weights, Probabilities((2, 0), (0, 1, 1, 0)))
    assert Circuit.from_json(read.to_json()).observables == read.observables


def test_what_a_circuit_is_compiled_into_can_be_read():
    x, w = ParameterVector("x", 3), ParameterVector("w", 6)
    circuit = QuantumCircuit(3)
    for layer in range(2):
        for q in range(3):
            circuit.ry(x[q] + w[3 * layer + q], q)
        circuit.cx(0, 1)
        circuit.cz(1, 2)
    text = CompiledCircuit(Circuit.of(circuit, x, w, ["ZZZ", "IIZ"])).describe().splitlines()
    assert text[0] == "3 qubits, 3 inputs, 6 weights"
    names = ["product state", "permutation", "phases", "one-qubit gates", "read-out"]
    assert [line[5:21].strip() for line in text[1:]] == names
    assert "3 per sample" in text[4]
    assert text[5].endswith("2 observables of 2 diagonal and 0 other Pauli strings, the last permutation folded in")
