"""QAOA and Trotterised annealing against dense linear algebra, exactly and with shots."""

from itertools import pairwise
from pathlib import Path

import dimod
import numpy as np
import pytest
import torch
from qiskit.primitives import BackendSamplerV2, StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from scipy.linalg import expm

from qmm.discrete import (
    QAOA,
    Exhaustive,
    TrotterisedAnnealing,
    alternating_circuit,
    annealing_angles,
    from_matrix,
    hamiltonian,
    ising,
)
from qmm.discrete.alternating import draw_bits, no_inputs
from qmm.discrete.qaoa import padded, stretched
from qmm.errors import InputError
from qmm.quantum import Backend, CompiledCircuit, ExactBackend, expectations, states
from qmm.quantum.backends import Gradient, Job
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal

N = 4


def model(n: int = N, seed: int = 0) -> dimod.BinaryQuadraticModel:
    return from_matrix(np.triu(np.random.default_rng(seed).normal(size=(n, n))))


def mixer(n: int) -> np.ndarray:
    x = np.array([[0, 1], [1, 0]])
    return np.sum([np.kron(np.kron(np.eye(2 ** (n - 1 - q)), x), np.eye(2**q)) for q in range(n)], axis=0)


def plus(n: int) -> np.ndarray:
    return np.full(2**n, 2 ** (-n / 2), complex)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_circuit_is_the_alternation_of_exponentials(layers: int) -> None:
    cost = ising(model())
    angles = np.random.default_rng(layers).uniform(-1, 1, size=2 * layers)
    dense, offset = hamiltonian(model()).to_matrix().real, cost.offset
    state = plus(N)
    for gamma, beta in zip(angles[:layers], angles[layers:], strict=True):
        state = expm(-1j * beta * mixer(N)) @ expm(-1j * gamma * (dense - offset * np.eye(2**N)) / cost.scale) @ state
    compiled, weights = CompiledCircuit(alternating_circuit(cost, layers)), torch.from_numpy(angles)
    found = states(compiled, no_inputs(), weights)[0].numpy()
    assert abs(np.vdot(found, state)) == pytest.approx(1, abs=1e-10)
    energy = (state.conj() @ dense @ state).real
    assert expectations(compiled, no_inputs(), weights).item() == pytest.approx(energy, abs=1e-10)


def test_more_layers_are_never_worse_and_come_near_the_optimum() -> None:
    instance = model(6, 1)
    found = QAOA(layers=5, steps=60).sample(instance)
    means = found.info["expectations"]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(means))
    exact = Exhaustive().sample(instance).record.energy
    assert found.first.energy == pytest.approx(exact.min(), abs=1e-9)
    assert (means[-1] - exact.min()) < 0.6 * (means[0] - exact.min())
    assert means[-1] == pytest.approx(found.info["expectation"])


def test_its_samples_have_the_mean_energy_that_it_tells() -> None:
    """20,000 shots: within 5 standard errors."""
    found = QAOA(layers=2, shots=20_000, steps=40).sample(model(5, 2))
    energies, counts = found.record.energy, found.record.num_occurrences
    assert counts.sum() == 20_000
    mean = np.average(energies, weights=counts)
    deviation = np.sqrt(np.average((energies - mean) ** 2, weights=counts))
    assert mean == pytest.approx(found.info["expectation"], abs=5 * deviation / np.sqrt(20_000))


def test_the_first_layer_is_the_best_of_a_fine_grid() -> None:
    instance = model(5, 3)
    found = QAOA(layers=1).sample(instance).info["expectation"]
    compiled = CompiledCircuit(alternating_circuit(ising(instance), 1))
    sides = np.linspace(-2, 2, 81), np.linspace(-np.pi / 2, np.pi / 2, 81)
    points = torch.tensor(np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2))
    grid = expectations(compiled, torch.empty(len(points), 0), points)[:, 0]
    assert found <= grid.min().item() + 1e-6


def test_starts_of_the_next_layer() -> None:
    angles = np.array([0.2, 0.4, -0.5, -0.1])
    np.testing.assert_allclose(stretched(angles), [0.2, 0.3, 0.4, -0.5, -0.3, -0.1])
    compiled = [CompiledCircuit(alternating_circuit(ising(model()), p)) for p in (2, 3)]
    values = [
        expectations(c, no_inputs(), torch.from_numpy(a)) for c, a in zip(compiled, (angles, padded(angles)), strict=True)
    ]
    torch.testing.assert_close(*values)


def test_trotter_steps_follow_the_schrodinger_equation() -> None:
    """Of second order: four times as many steps, a 16th of the error."""
    instance, time = model(3, 4), 4.0
    cost = ising(instance)
    dense = (hamiltonian(instance).to_matrix() - cost.offset * np.eye(8)) / cost.scale
    fine, exact = 4000, plus(3)
    for s in (np.arange(fine) + 0.5) / fine:
        exact = expm(-1j * time / fine * (s * dense - (1 - s) * mixer(3))) @ exact
    errors = []
    for steps in (10, 40):
        weights = torch.from_numpy(annealing_angles(time, steps))
        found = states(CompiledCircuit(alternating_circuit(cost, steps)), no_inputs(), weights)[0].numpy()
        errors.append(1 - abs(np.vdot(found, exact)) ** 2)
    assert errors[0] > 16 * errors[1]  # of a probability: squared, so that it is rather 256
    assert errors[1] < 1e-3


@pytest.mark.parametrize("schedule", ["linear", "smooth"])
def test_a_slow_schedule_ends_in_the_ground_state_and_a_fast_one_does_not(schedule: str) -> None:
    instance = model(6, 0)
    cost, best = ising(instance), Exhaustive().sample(instance).first
    place = sum(best.sample[i] << i for i in range(6))

    def probability(time: float, steps: int) -> float:
        weights = torch.from_numpy(annealing_angles(time, steps, schedule))
        state = states(CompiledCircuit(alternating_circuit(cost, steps)), no_inputs(), weights)[0]
        return float(state[place].abs() ** 2)

    assert probability(150.0, 200) > 0.98
    assert probability(1.0, 20) < 0.3
    found = TrotterisedAnnealing(time=150.0, steps=200, schedule=schedule, shots=1000).sample(instance)
    assert found.first.num_occurrences > 950


def test_shots_of_a_device_lead_to_the_optimum_as_well() -> None:
    instance = model(4, 5)
    best = Exhaustive().sample(instance).first.energy
    backend = PrimitiveBackend(Ideal(), shots=400)
    found = QAOA(layers=2, steps=30, shots=300, backend=backend).sample(instance)
    assert found.first.energy == pytest.approx(best, abs=1e-9)
    assert found.record.num_occurrences.sum() == 300
    annealed = TrotterisedAnnealing(time=15, steps=30, shots=300, backend=backend).sample(instance)
    assert annealed.first.energy == pytest.approx(best, abs=1e-9)


class _Plain(Gradient):
    """None at all."""

    def values(self, backend: Backend, circuit: CompiledCircuit, inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return backend.submit(circuit, inputs, weights).result()


class _Elsewhere(Backend):
    """A user's own backend."""

    @property
    def gradient(self) -> Gradient:
        return _Plain()

    def submit(self, circuit: CompiledCircuit, inputs: torch.Tensor, weights: torch.Tensor) -> Job:
        return ExactBackend().submit(circuit, inputs, weights)


def layouted() -> PrimitiveBackend:
    """On a device whose transpiler moves qubits about: a star, its middle not the first."""
    device = GenericBackendV2(
        7, coupling_map=[[3, q] for q in range(7) if q != 3] + [[q, 3] for q in range(7) if q != 3], seed=0
    )
    return PrimitiveBackend(BackendSamplerV2(backend=device, options={"seed_simulator": 1}), shots=1000)


@pytest.mark.parametrize("where", ["exact", "ideal", "device", "elsewhere"])
def test_bits_are_drawn_qubit_by_qubit(where: str) -> None:
    """A state of basis states with very different probabilities, so that an exchange of two qubits would show."""
    backend = {"exact": lambda: None, "ideal": lambda: PrimitiveBackend(Ideal()), "device": layouted, "elsewhere": _Elsewhere}
    circuit = CompiledCircuit(alternating_circuit(ising(from_matrix(np.diag([3.0, -1.0, 0.4]))), 1))
    weights = torch.tensor([0.5, 0.4], dtype=torch.float64)
    chances = states(circuit, no_inputs(), weights)[0].abs().square().numpy()
    means = [sum(p for z, p in enumerate(chances) if z >> q & 1) for q in range(3)]
    assert min(abs(a - b) for a, b in ((means[0], means[1]), (means[1], means[2]), (means[0], means[2]))) > 0.15
    bits = draw_bits(circuit, weights, backend[where](), 4000, seed=0)
    assert bits.shape == (4000, 3)
    noise = 0.08 if where == "device" else 0.0  # of its gates and read-out
    np.testing.assert_allclose(bits.mean(0), means, atol=5 * 0.5 / np.sqrt(4000) + noise)


def test_an_estimator_alone_gives_no_bits() -> None:
    backend = PrimitiveBackend(StatevectorEstimator(), shots=100)
    with pytest.raises(InputError, match="an estimator alone"):
        TrotterisedAnnealing(steps=3, backend=backend).sample(model(2))


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qmm.discrete import minimising

    calls = []
    real = expectations

    def counted(*args: object, **kwargs: object) -> torch.Tensor:
        calls.append(1)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(minimising, "expectations", counted)
    whole = QAOA(layers=3, steps=20).sample(model())
    evaluations = len(calls)
    journalled = QAOA(layers=3, steps=20, journal=str(tmp_path / "qaoa"))

    def killed(*args: object, **kwargs: object) -> torch.Tensor:
        if len(calls) >= evaluations + 15:
            raise KeyboardInterrupt
        return counted(*args, **kwargs)

    monkeypatch.setattr(minimising, "expectations", killed)
    with pytest.raises(KeyboardInterrupt):
        journalled.sample(model())
    monkeypatch.setattr(minimising, "expectations", counted)
    calls.clear()
    again = journalled.sample(model())
    assert len(calls) == evaluations - 15
    assert again.info == whole.info
    calls.clear()
    assert journalled.sample(model()).info == whole.info
    assert not calls
