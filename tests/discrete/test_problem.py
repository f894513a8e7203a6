"""Problems and models: energies of every sample, penalties, Hamiltonians."""

from itertools import product
from typing import Any

import dimod
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from qiskit.quantum_info import SparsePauliOp

from qmm.discrete import coefficients, constrained, from_hamiltonian, from_matrix, hamiltonian, ising
from qmm.discrete.penalties import exactly, range_bound
from qmm.discrete.problem import Constraint, Decoded
from qmm.errors import InputError


def all_bits(n: int) -> NDArray[np.int64]:
    """(2**n, n): row z holds the bits of z, the lowest first, as basis states do."""
    return np.arange(2**n)[:, None] >> np.arange(n) & 1


def energies(model: dimod.BinaryQuadraticModel) -> NDArray[np.float64]:
    return np.asarray(model.energies((all_bits(model.num_variables), list(model.variables))))


def nothing(sample: Any) -> Decoded:
    return Decoded((), (), {})


@given(n=st.integers(1, 7), seed=st.integers(0, 10**6), form=st.sampled_from(["symmetric", "upper", "lower"]))
@settings(max_examples=40, deadline=None)
def test_energies_of_a_matrix_are_its_quadratic_form(n: int, seed: int, form: str) -> None:
    matrix = np.random.default_rng(seed).normal(size=(n, n))
    matrix = {"symmetric": matrix + matrix.T, "upper": np.triu(matrix), "lower": np.tril(matrix)}[form]
    model = from_matrix(matrix)
    bits = all_bits(n)
    expected = np.einsum("zi,ij,zj->z", bits, matrix, bits)
    np.testing.assert_allclose(energies(model), expected, atol=1e-10)
    upper = coefficients(model)
    assert not np.tril(upper, -1).any()
    np.testing.assert_allclose(np.einsum("zi,ij,zj->z", bits, upper, bits), expected, atol=1e-10)


@given(n=st.integers(1, 6), seed=st.integers(0, 10**6), spins=st.booleans())
@settings(max_examples=30, deadline=None)
def test_hamiltonian_has_the_energies_as_eigenvalues_and_leads_back(n: int, seed: int, spins: bool) -> None:
    model = from_matrix(np.triu(np.random.default_rng(seed).normal(size=(n, n))), names=[f"v{i}" for i in range(n)])
    model.offset = 0.7
    expected = energies(model)
    operator = hamiltonian(model.change_vartype(dimod.SPIN, inplace=False) if spins else model)
    np.testing.assert_allclose(np.diag(operator.to_matrix()), expected, atol=1e-10)
    back = from_hamiltonian(operator, names=list(model.variables))
    np.testing.assert_allclose(energies(back), expected, atol=1e-10)
    assert list(back.variables) == list(model.variables)


def test_scale_is_the_rms_field_of_a_qubit_among_random_others() -> None:
    n = 5
    found = ising(from_matrix(np.triu(np.random.default_rng(3).normal(size=(n, n)))))
    spins = 1 - 2 * all_bits(n)
    coupling = np.zeros((n, n))
    for (i, j), value in zip(found.pairs, found.couplings, strict=True):
        coupling[i, j] = coupling[j, i] = value
    fields = found.fields + spins @ coupling  # (2**n, n)
    assert found.scale == pytest.approx(np.sqrt((fields**2).mean()), rel=1e-12)
    assert ising(dimod.BinaryQuadraticModel({"a": 0.0}, {}, "BINARY")).scale == 1.0


@pytest.mark.parametrize(("lower", "upper"), [(2, 2), (0, 3), (2, 4), (0, 6), (6, 6), (0, 0)])
def test_the_least_energy_over_slack_is_objective_and_penalty(lower: int, upper: int) -> None:
    weights = (1, 2, 1, 3)
    objective = from_matrix(np.triu(np.random.default_rng(0).normal(size=(4, 4))))
    constraint = Constraint("things", tuple(zip(range(4), weights, strict=True)), lower, upper, strength=2.5, multiplier=0.4)
    problem = constrained("test", objective, [constraint], nothing)
    slack = [v for v in problem.model.variables if v not in objective.variables]
    assert bool(slack) == (lower < upper)
    for bits in product((0, 1), repeat=4):
        sample = dict(enumerate(bits))
        distance = int(np.dot(bits, weights)) - lower if lower == upper else constraint.distance(sample)
        expected = objective.energy(sample) + 2.5 * distance**2 + (0.4 * distance if lower == upper else 0.0)
        filled = ({**sample, **dict(zip(slack, more, strict=True))} for more in product((0, 1), repeat=len(slack)))
        assert min(problem.model.energy(s) for s in filled) == pytest.approx(expected, abs=1e-9)
        choice = problem.read({**sample, **dict.fromkeys(slack, 0)})
        assert choice.feasible == (lower <= np.dot(bits, weights) <= upper)
        assert choice.objective == pytest.approx(objective.energy(sample))
        assert choice.feasible or f"{int(np.dot(bits, weights))} things" in choice.report()


def test_a_constraint_that_always_holds_adds_nothing_and_one_that_never_does_is_refused() -> None:
    objective = from_matrix(np.eye(3))
    free = Constraint("things", ((0, 1), (1, 1)), 0, 2, 1.0)
    assert constrained("test", objective, [free], nothing).model == objective
    with pytest.raises(InputError, match="must be 3 to 4, and can be 0 to 2"):
        constrained("test", objective, [free._replace(lower=3, upper=4)], nothing)
    with pytest.raises(InputError, match="strength 0"):
        constrained("test", objective, [free._replace(strength=0.0)], nothing)


@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3), data=st.data())
@settings(max_examples=60, deadline=None)
def test_computed_penalties_make_the_optimum_keep_the_numbers(seed: int, sizes: list[int], data: st.DataObject) -> None:
    numbers = [data.draw(st.integers(0, size)) for size in sizes]
    n = sum(sizes)
    rng = np.random.default_rng(seed)
    objective = from_matrix(np.triu(rng.normal(size=(n, n)) * rng.choice([0.1, 1.0, 5.0], size=(n, n))))
    edges = np.cumsum([0, *sizes])
    groups = [("things", list(range(a, b)), k) for a, b, k in zip(edges[:-1], edges[1:], numbers, strict=True)]
    problem = constrained("test", objective, exactly(objective, groups), nothing)
    bits = all_bits(n)
    kept = np.all([bits[:, own].sum(1) == k for _, own, k in groups], axis=0)
    values, plain = energies(problem.model), energies(objective)
    np.testing.assert_allclose(values[kept], plain[kept], atol=1e-9)  # nothing is added to what keeps them
    assert values.min() < values[~kept].min() - 1e-9 if (~kept).any() else True
    assert plain[kept].min() == pytest.approx(values.min(), abs=1e-9)


def test_the_range_bound_is_above_all_differences() -> None:
    model = from_matrix(np.triu(np.random.default_rng(5).normal(size=(6, 6))))
    found = energies(model)
    assert found.max() - found.min() < range_bound(model)


def test_best_is_the_feasible_sample_of_least_objective_whatever_its_slack() -> None:
    objective = from_matrix(np.diag([-1.0, -2.0, -4.0]))
    at_most = Constraint("things", ((0, 1), (1, 1), (2, 1)), 0, 2, 10.0)
    problem = constrained("test", objective, [at_most], nothing)
    slack = [v for v in problem.model.variables if v not in objective.variables]
    rows = [[1, 1, 1], [0, 1, 1], [1, 0, 1]]
    right = {0: [0] * len(slack), 1: [1] * len(slack), 2: [0] * len(slack)}  # the second sample's slack is wrong
    samples = dimod.SampleSet.from_samples_bqm(
        ([row + right[i] for i, row in enumerate(rows)], [0, 1, 2, *slack]), problem.model
    )
    best = problem.best(samples)
    assert best.feasible
    assert best.objective == -6.0
    assert best.energy > -6.0
    infeasible = problem.best(dimod.SampleSet.from_samples_bqm(([rows[0] + right[0]], [0, 1, 2, *slack]), problem.model))
    assert infeasible.violations == ("3 things instead of 0 to 2",)


def test_weakened_penalties_are_that_share() -> None:
    objective = from_matrix(np.diag([-1.0, -2.0, -4.0]))
    problem = constrained("test", objective, exactly(objective, [("things", [0, 1, 2], 1)]), nothing)
    half = problem.weakened(0.5)
    excess = np.array([sum(bits) - 1 for bits in all_bits(3)])
    strength = problem.constraints[0].strength
    np.testing.assert_allclose(energies(problem.model) - energies(half.model), strength / 2 * excess**2, atol=1e-12)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 3)), r"shape \(2, 3\)"),
        (np.ones(4), r"shape \(4,\)"),
        (np.empty((0, 0)), r"shape \(0, 0\)"),
        ([[1.0, 2.0], [3.0]], "rows differ in length"),
        ([[1.0, np.nan], [0.0, 1.0]], "nan at row 0, column 1"),
        ([[1.0, 2.0], [3.0, 1.0]], "neither symmetric nor triangular: 2 at row 0, column 1"),
        ([["a", "b"], ["c", "d"]], "real numbers"),
        (np.eye(2) * 1j, "real numbers"),
    ],
)
def test_matrices_that_are_no_qubo_are_refused(matrix: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_matrix(matrix)


def test_names_are_one_each() -> None:
    with pytest.raises(InputError, match="1 different names for 2 variables"):
        from_matrix(np.eye(2), names=["a", "a"])
    with pytest.raises(InputError, match="1 different names for 2 qubits"):
        from_hamiltonian(SparsePauliOp("ZZ"), names=["a"])


@pytest.mark.parametrize("label", ["XX", "ZZZ", "YI"])
def test_other_hamiltonians_are_no_models(label: str) -> None:
    with pytest.raises(InputError, match="made of real multiples of Z and ZZ"):
        from_hamiltonian(SparsePauliOp(label))
