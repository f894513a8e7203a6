"""Noise: on average, what the channels are that it stands for."""

import math

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Kraus, SparsePauliOp

from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, Evaluation, expectations
from qmm.quantum.background import in_background
from qmm.regularisation import AngleNoise, PauliNoise
from qmm.regularisation.noise import with_paulis


@pytest.fixture
def circuit() -> Circuit:
    x, w = [Parameter(f"x{i}") for i in range(2)], [Parameter(f"w{i}") for i in range(3)]
    made = QuantumCircuit(2)
    made.rx(x[0], 0)
    made.ry(x[1], 1)
    made.cx(0, 1)
    made.ry(w[0], 0)
    made.barrier()
    made.rzz(w[1], 0, 1)
    made.rx(w[2], 1)
    return Circuit.of(made, x, w, ["ZI", "XZ", "YY"])


VALUES = {"x0": 0.4, "x1": 1.1, "w0": -0.7, "w1": 0.9, "w2": 2.0}


def repeated(circuit: Circuit, rows: int) -> Evaluation:
    inputs = torch.tensor([[VALUES[p.name] for p in circuit.inputs]], dtype=torch.float64).expand(rows, -1)
    weights = torch.tensor([VALUES[p.name] for p in circuit.weights], dtype=torch.float64)
    return Evaluation(CompiledCircuit(circuit), inputs, weights)


def close(values: torch.Tensor, expected: list[float]) -> None:
    """Within five standard errors of the mean over draws."""
    error = values.std(0) / len(values) ** 0.5
    assert ((values.mean(0) - torch.tensor(expected)).abs() < 5 * error + 1e-9).all(), (values.mean(0), expected, error)


def test_trembling_angles_dephase(circuit: Circuit) -> None:
    """On average, RX with an angle that trembles is RX and a channel of the closed form; the same for a feature's angle."""
    torch.manual_seed(0)
    made = QuantumCircuit(1)
    x, w = Parameter("x"), Parameter("w")
    made.ry(x, 0)
    made.rx(w, 0)
    small = Circuit.of(made, [x], [w], ["Z", "Y"])
    rows, s, t = 40_000, 0.6, 0.3
    evaluation = Evaluation(
        CompiledCircuit(small), torch.full((rows, 1), 0.5, dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64)
    )
    perturbed = AngleNoise(weights=s, inputs=t).perturb(evaluation)
    assert perturbed.weights.shape == (rows, 1)
    z = math.cos(0.5) * math.exp(-(t**2) / 2)
    faded = math.exp(-(s**2) / 2)
    close(expectations(*perturbed[:3]), [z * math.cos(0.8) * faded, -z * math.sin(0.8) * faded])


def test_a_batch_may_have_one_noise(circuit: Circuit) -> None:
    torch.manual_seed(0)
    noise, evaluation = AngleNoise(weights=0.3, per_sample=False), repeated(circuit, 5)
    perturbed = noise.perturb(evaluation)
    assert perturbed.weights.shape == (3,)
    assert perturbed.inputs is evaluation.inputs
    assert not torch.equal(perturbed.weights, noise.perturb(evaluation).weights)


def depolarised(circuit: Circuit, rate: float, single: bool) -> list[float]:
    """By Qiskit's density matrices and Kraus operators."""
    paulis = [np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])]
    channel = Kraus([math.sqrt(p) * m for p, m in zip((1 - rate, rate / 3, rate / 3, rate / 3), paulis, strict=True)])
    bound = circuit.quantum_circuit.assign_parameters({p: VALUES[p.name] for p in circuit.quantum_circuit.parameters})
    state = DensityMatrix.from_label("00")
    for item in bound.data:
        if item.operation.name == "barrier":
            continue
        places = [bound.find_bit(qubit).index for qubit in item.qubits]
        state = state.evolve(item.operation, places)
        for place in places if single or len(places) > 1 else []:
            state = state.evolve(channel, [place])
    return [float(state.expectation_value(o).real) for o in circuit.observables if isinstance(o, SparsePauliOp)]


@pytest.mark.parametrize("single", [False, True])
def test_paulis_depolarise(circuit: Circuit, single: bool) -> None:
    torch.manual_seed(0)
    perturbed = PauliNoise(rate=0.2, single=single).perturb(repeated(circuit, 40_000))
    close(expectations(*perturbed[:3]), depolarised(circuit, 0.2, single))


def test_without_paulis_the_noisy_circuit_is_the_circuit(circuit: Circuit) -> None:
    evaluation = repeated(circuit, 2)
    noisy = with_paulis(circuit)
    assert len(noisy.inputs) == 2 + 2 * 2 * 2  # RX and RZ, on both qubits, behind CX and RZZ
    inputs = torch.cat([evaluation.inputs, torch.zeros(2, 8, dtype=torch.float64)], dim=1)
    expected = expectations(circuit, evaluation.inputs, evaluation.weights)
    torch.testing.assert_close(expectations(noisy, inputs, evaluation.weights), expected, atol=1e-10, rtol=0)


def test_gradients_reach_features_and_weights_through_the_noise(circuit: Circuit) -> None:
    torch.manual_seed(0)
    evaluation = repeated(circuit, 6)
    inputs, weights = evaluation.inputs.clone().requires_grad_(), evaluation.weights.clone().requires_grad_()
    for noise in (PauliNoise(rate=0.3), AngleNoise(weights=0.1, inputs=0.1)):
        perturbed = noise.perturb(Evaluation(evaluation.circuit, inputs, weights))
        of_inputs, of_weights = torch.autograd.grad(expectations(*perturbed[:3]).sum(), (inputs, weights))
        assert of_inputs.abs().sum(0).gt(0).all()
        assert of_weights.abs().gt(0).all()


@pytest.mark.parametrize("noise", [AngleNoise(weights=0.1, inputs=0.1), PauliNoise(rate=0.5)])
def test_threads_draw_by_what_they_are_given_not_by_who_comes_first(circuit: Circuit, noise: AngleNoise | PauliNoise) -> None:
    """As micro-batches do, each in a thread of its own."""
    evaluation = repeated(circuit, 5)
    parts = [evaluation._replace(inputs=evaluation.inputs + i) for i in range(2)]
    found = []
    for order in ((0, 1), (1, 0)):
        torch.manual_seed(3)
        drawn = {i: in_background(lambda i=i: noise.perturb(parts[i])).result() for i in order}  # type: ignore[misc]
        found.append([drawn[i] for i in range(2)])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first.inputs, second.inputs, atol=0, rtol=0)
        torch.testing.assert_close(first.weights, second.weights, atol=0, rtol=0)
    torch.manual_seed(4)
    other = in_background(lambda: noise.perturb(parts[0])).result()
    assert not torch.equal(other.inputs, found[0][0].inputs)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="both 0"):
        AngleNoise(weights=0)
    with pytest.raises(InputError, match="weights=-1"):
        AngleNoise(weights=-1)
    with pytest.raises(InputError, match="rate=0 changes nothing"):
        PauliNoise(rate=0)
    with pytest.raises(InputError, match=r"rate=1\.5"):
        PauliNoise(rate=1.5)
