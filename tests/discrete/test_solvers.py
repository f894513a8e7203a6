"""Solvers: the optimum on small models, the same samples from the same seed, and what each is made of."""

import sys
from types import ModuleType
from typing import Any

import dimod
import numpy as np
import pytest

from qmm.config import to_config
from qmm.discrete import (
    QAOA,
    DWaveMachine,
    Exhaustive,
    PathIntegralAnnealing,
    SimulatedAnnealing,
    Solver,
    TabuSearch,
    TrotterisedAnnealing,
    feature_selection,
    from_matrix,
    ising,
)
from qmm.errors import InputError
from qmm.training.cli import instantiate

HEURISTICS = [
    SimulatedAnnealing(reads=20, sweeps=200),
    PathIntegralAnnealing(reads=10, sweeps=50),
    TabuSearch(reads=4, restarts=0),
    QAOA(layers=2, shots=500, steps=50),
    TrotterisedAnnealing(time=15, steps=30, shots=500),
]


def name_of(solver: Solver) -> str:
    return type(solver).__name__


def random_model(n: int, seed: int) -> dimod.BinaryQuadraticModel:
    return from_matrix(np.triu(np.random.default_rng(seed).normal(size=(n, n))), names=[f"v{i}" for i in range(n)])


@pytest.mark.parametrize("solver", HEURISTICS, ids=name_of)
@pytest.mark.parametrize("seed", range(4))
def test_every_solver_finds_the_optimum_of_small_models(solver: Solver, seed: int) -> None:
    model = random_model(3 + 2 * seed, seed)
    best = Exhaustive().sample(model).first
    found = solver.sample(model)
    assert found.first.energy == pytest.approx(best.energy, abs=1e-9)
    assert found.vartype is dimod.BINARY
    np.testing.assert_allclose(found.record.energy, model.energies(found), atol=1e-9)  # energies are those of the samples


@pytest.mark.parametrize("solver", [Exhaustive(), *HEURISTICS], ids=name_of)
def test_every_solver_keeps_the_number_of_features(solver: Solver) -> None:
    rng = np.random.default_rng(1)
    between = rng.uniform(size=(7, 7))
    problem = feature_selection(rng.uniform(size=7), between + between.T, 3)
    found, optimum = solver.solve(problem), Exhaustive().solve(problem)
    assert found.choice.feasible
    assert found.choice.objective == pytest.approx(optimum.choice.objective, abs=1e-9)
    assert found.seconds > 0


@pytest.mark.parametrize("solver", HEURISTICS, ids=name_of)
def test_the_same_seed_draws_the_same_samples(solver: Solver) -> None:
    """Of a model with 256 optima, so that another seed draws others."""
    pairs = dimod.BinaryQuadraticModel({}, {(2 * i, 2 * i + 1): -1.0 for i in range(8)}, "SPIN")
    found, again = solver.sample(pairs).record, solver.sample(pairs).record
    np.testing.assert_array_equal(found.sample, again.sample)
    np.testing.assert_array_equal(found.num_occurrences, again.num_occurrences)
    other = type(solver)(**{**solver.config_arguments(), "seed": 5}).sample(pairs).record
    assert not (np.array_equal(found.sample, other.sample) and np.array_equal(found.num_occurrences, other.num_occurrences))


@pytest.mark.parametrize("solver", [Exhaustive(), *HEURISTICS], ids=name_of)
def test_spins_are_answered_with_spins(solver: Solver) -> None:
    model = dimod.BinaryQuadraticModel({"a": 0.5, "b": -0.2}, {("a", "b"): 1.0}, 0.3, "SPIN")
    first = solver.sample(model).first
    assert dict(first.sample) == {"a": -1, "b": 1}
    assert first.energy == pytest.approx(-1.4)


@pytest.mark.parametrize("solver", [Exhaustive(), *HEURISTICS], ids=name_of)
def test_a_model_of_one_variable_and_one_without_biases(solver: Solver) -> None:
    assert solver.sample(from_matrix([[-1.0]])).first.sample == {0: 1}
    assert solver.sample(from_matrix(np.zeros((2, 2)))).first.energy == 0.0


@pytest.mark.parametrize("solver", [Exhaustive(), *HEURISTICS, DWaveMachine()], ids=name_of)
def test_solvers_are_described_as_plain_data_and_built_from_it(solver: Solver) -> None:
    config = to_config(solver)
    again = instantiate(Solver, config)
    assert type(again) is type(solver)
    assert {k: v for k, v in vars(again).items() if k != "_arguments"} == {
        k: v for k, v in vars(solver).items() if k != "_arguments"
    }


@pytest.mark.parametrize("solver", [Exhaustive(), QAOA(most=20), TrotterisedAnnealing(most=20)], ids=name_of)
def test_too_many_variables_are_told_with_what_to_take(solver: Solver) -> None:
    with pytest.raises(InputError, match=r"21 variables .*SimulatedAnnealing or TabuSearch"):
        solver.sample(random_model(21, 0))


def test_models_that_are_none() -> None:
    with pytest.raises(InputError, match="without variables"):
        Exhaustive().sample(dimod.BinaryQuadraticModel("BINARY"))
    with pytest.raises(InputError, match="NaN or infinite"):
        TabuSearch().sample(dimod.BinaryQuadraticModel({"a": np.nan}, {}, "BINARY"))
    with pytest.raises(InputError, match="at least one"):
        Exhaustive().solve(feature_selection([1.0, 2.0], np.zeros((2, 2)), 1), shares=())


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Exhaustive, {"most": 30}),
        (SimulatedAnnealing, {"reads": 0}),
        (PathIntegralAnnealing, {"temperature": 0.0}),
        (TabuSearch, {"reads": -1}),
        (QAOA, {"layers": 0}),
        (TrotterisedAnnealing, {"time": float("nan")}),
        (TrotterisedAnnealing, {"schedule": "cubic"}),
        (DWaveMachine, {"annealing_time": -5.0}),
    ],
)
def test_settings_that_make_no_sense(kind: type[Solver], wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        kind(**wrong)


def test_path_integral_annealing_has_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """At constant field and temperature, its sampler draws from the diagonal of the density matrix of H - Gamma sum X: which of
    its arguments mean what, and that a field is there. 40,000 samples: 5 standard errors are 0.0125."""
    from dwave.samplers import PathIntegralAnnealingSampler
    from scipy.linalg import expm

    x, z, one = np.array([[0, 1], [1, 0]]), np.diag([1, -1]), np.eye(2)
    hamiltonian = 0.7 * np.kron(z, z) + 0.4 * np.kron(z, one) - 0.6 * (np.kron(x, one) + np.kron(one, x))
    density = expm(-1.5 * hamiltonian)
    expected = (np.diag(density) / np.trace(density)).reshape(2, 2)
    model = dimod.BinaryQuadraticModel({"a": 0.4, "b": 0.0}, {("a", "b"): 0.7}, "SPIN")
    drawn = PathIntegralAnnealingSampler().sample(
        model, num_reads=40_000, seed=1, beta_schedule_type="custom", Hp_field=[1.5] * 50, Hd_field=[0.9] * 50
    )
    spins = drawn.record.sample[:, [list(drawn.variables).index(v) for v in "ab"]]
    found = np.array([[((spins == [1 - 2 * a, 1 - 2 * b]).all(axis=1)).mean() for b in (0, 1)] for a in (0, 1)])
    np.testing.assert_allclose(found, expected, atol=0.0125)

    given: dict[str, Any] = {}

    def record(self: Any, model: Any, **arguments: Any) -> dimod.SampleSet:
        given.update(arguments)
        return dimod.ExactSolver().sample(model)

    monkeypatch.setattr(PathIntegralAnnealingSampler, "sample", record)
    PathIntegralAnnealing(sweeps=10, field=0.5, temperature=0.1).sample(model)
    assert given["Hp_field"][-1] == pytest.approx(1 / (0.1 * ising(model).scale))
    assert given["Hd_field"][0] == pytest.approx(0.9 * 5)
    assert given["Hd_field"][-1] == 0.0
    assert (np.diff(given["Hd_field"]) < 0).all()
    assert (np.diff(given["Hp_field"]) > 0).all()


class _Machine:
    """Stands for D-Wave's service."""

    error: Exception | None = None
    given: dict[str, Any]

    def __init__(self, **given: Any):
        type(self).given = given
        if self.error is not None:
            raise self.error


class _Embedding:
    """Stands for the composite that embeds; answers from every sample."""

    error: Exception | None = None
    given: dict[str, Any]

    def __init__(self, machine: Any):
        self.machine = machine

    def sample(self, model: Any, **given: Any) -> dimod.SampleSet:
        type(self).given = given
        if self.error is not None:
            raise self.error
        return dimod.ExactSolver().sample(model)


@pytest.fixture
def dwave(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    system: Any = ModuleType("dwave.system")
    system.DWaveSampler, system.EmbeddingComposite = type("Machine", (_Machine,), {}), type("Embedding", (_Embedding,), {})
    monkeypatch.setitem(sys.modules, "dwave.system", system)
    return system


def test_dwave_gets_the_model_with_what_was_asked_for(dwave: Any) -> None:
    model = random_model(4, 0)
    machine = DWaveMachine("Advantage_system4.1", reads=50, annealing_time=100.0, chain_strength=2.0, profile="lab", seed=3)
    assert machine.sample(model).first.energy == Exhaustive().sample(model).first.energy
    assert dwave.DWaveSampler.given == {"solver": "Advantage_system4.1", "profile": "lab"}
    assert dwave.EmbeddingComposite.given == {
        "num_reads": 50,
        "annealing_time": 100.0,
        "chain_strength": 2.0,
        "embedding_parameters": {"random_seed": 3},
    }
    DWaveMachine().sample(model)
    assert dwave.DWaveSampler.given == {}
    assert set(dwave.EmbeddingComposite.given) == {"num_reads", "embedding_parameters"}


def test_dwave_without_an_account_or_with_a_refusal_says_so_and_prints_no_token(dwave: Any) -> None:
    model = random_model(3, 0)
    dwave.DWaveSampler.error = ValueError("API token not defined")
    with pytest.raises(InputError, match="no account with D-Wave is configured; run `dwave setup`"):
        DWaveMachine().sample(model)
    for where in (dwave.DWaveSampler, dwave.EmbeddingComposite):
        dwave.DWaveSampler.error = None
        where.error = ConnectionError("X-Auth-Token: DEV-secret")
        with pytest.raises(InputError, match="ConnectionError") as caught:
            DWaveMachine().sample(model)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_dwave_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dwave.system", None)  # as if it were not installed
    with pytest.raises(InputError, match=r'pip install "qmm\[dwave\]"'):
        DWaveMachine().sample(random_model(3, 0))
