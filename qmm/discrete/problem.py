"""Problems: a discrete choice as a binary quadratic model, and the way back from its samples to what they choose.

A problem is an objective over variables of 0 and 1, and constraints on sums of them. The model that solvers are given adds a
penalty for each constraint, `strength` times the squared distance from what is allowed; a range needs further variables, which
count the distance to its upper end in binary ("slack"). Where exactly a number is asked for, `multiplier` times the signed
distance is added as well: it is 0 for whatever is allowed, and lets a small strength do (`qmm.discrete.penalties`), without
which samplers that flip one variable at a time stand before walls.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from dimod import BinaryQuadraticModel, SampleSet
from numpy.typing import ArrayLike, NDArray

from qmm.errors import InputError

Sample: TypeAlias = Mapping[Any, int]


class Constraint(NamedTuple):
    """lower <= sum of coefficient * variable <= upper, all whole numbers."""

    what: str
    """In words, for the report: "features of vision"."""
    terms: tuple[tuple[Hashable, int], ...]
    lower: int
    upper: int
    strength: float
    """Of its penalty on each distance from the range, squared."""
    multiplier: float = 0.0
    """Of the distance itself; only where lower = upper."""

    def amount(self, sample: Sample) -> int:
        return sum(coefficient * int(sample[variable]) for variable, coefficient in self.terms)

    def distance(self, sample: Sample) -> int:
        """How far the sum is from the range; 0 inside of it."""
        amount = self.amount(sample)
        return max(self.lower - amount, amount - self.upper, 0)

    def violation(self, sample: Sample) -> str | None:
        """In words, where the sample breaks it."""
        if not self.distance(sample):
            return None
        wanted = f"{self.lower}" if self.lower == self.upper else f"{self.lower} to {self.upper}"
        return f"{self.amount(sample)} {self.what} instead of {wanted}"


class Decoded(NamedTuple):
    """What the variables of a sample say."""

    chosen: tuple[Any, ...]
    names: tuple[str, ...]
    terms: dict[str, float]
    """What the objective is made of, by name."""


class Choice(NamedTuple):
    """What a sample chooses."""

    title: str
    chosen: tuple[Any, ...]
    """Features: their indices; couplings: pairs of indices; entanglers: an index a layer, -1 where a sample names not one."""
    names: tuple[str, ...]
    """The same by name."""
    objective: float
    """What is minimised, without penalties."""
    energy: float
    """Of the sample in the model: with penalties."""
    terms: dict[str, float]
    """What the objective is made of, by name."""
    violations: tuple[str, ...]
    """The constraints that it breaks, in words."""

    @property
    def feasible(self) -> bool:
        return not self.violations

    def report(self) -> str:
        """Some lines for people."""
        made_of = ", ".join(f"{name} {value:.4g}" for name, value in self.terms.items())
        lines = [f"{self.title}: {', '.join(self.names) or 'nothing'}", f"  objective {self.objective:.6g} ({made_of})"]
        lines.append("  feasible" if self.feasible else f"  NOT feasible: {'; '.join(self.violations)}")
        return "\n".join(lines)


class Problem(NamedTuple):
    """A choice to make. `qmm.discrete.Solver.solve` takes it."""

    title: str
    objective: BinaryQuadraticModel
    """What is minimised."""
    model: BinaryQuadraticModel
    """With penalties: what solvers sample from. Its variables are those of the objective, then slack."""
    constraints: tuple[Constraint, ...]
    decode: Callable[[Sample], Decoded]

    def weakened(self, share: float) -> "Problem":
        """The same with penalties of this share of their strength. Below 1, the sample of least energy may break constraints,
        and samplers move more freely between those that keep them: for harder problems worth a try beside the full strength.
        """
        softer = [c._replace(strength=share * c.strength) for c in self.constraints]
        return constrained(self.title, self.objective, softer, self.decode)

    def read(self, sample: Sample) -> Choice:
        """What a sample of the model chooses."""
        found = (constraint.violation(sample) for constraint in self.constraints)
        decoded = self.decode(sample)
        core = {v: sample[v] for v in self.objective.variables}
        energies = float(self.objective.energy(core)), float(self.model.energy(dict(sample)))
        return Choice(self.title, decoded.chosen, decoded.names, *energies, decoded.terms, tuple(v for v in found if v))

    def best(self, samples: SampleSet) -> Choice:
        """That of the feasible samples with the least objective; where none is feasible, that with the least energy."""
        if not len(samples):
            raise InputError(f"{self.title}: the solver returned no sample")
        columns = {variable: place for place, variable in enumerate(samples.variables)}
        rows = samples.record.sample
        feasible = np.ones(len(rows), dtype=bool)
        for constraint in self.constraints:
            amounts = np.zeros(len(rows), np.int64)
            for variable, coefficient in constraint.terms:
                amounts += coefficient * rows[:, columns[variable]]
            feasible &= (amounts >= constraint.lower) & (amounts <= constraint.upper)
        core = list(self.objective.variables)
        if feasible.any():
            places = np.flatnonzero(feasible)
            own = rows[places][:, [columns[v] for v in core]]
            place = places[np.asarray(self.objective.energies((own, core))).argmin()]
        else:
            place = samples.record.energy.argmin()
        return self.read(dict(zip(samples.variables, rows[int(place)].tolist(), strict=True)))


def constrained(
    title: str, objective: BinaryQuadraticModel, constraints: Sequence[Constraint], decode: Callable[[Sample], Decoded]
) -> Problem:
    """The problem whose model has a penalty for each constraint; one that always holds gets none.

    Raises InputError for a constraint that no choice meets, and for a strength that is not above 0.
    """
    model = objective.copy()
    for number, constraint in enumerate(constraints):
        if not (np.isfinite(constraint.strength) and constraint.strength > 0):
            raise InputError(f"{title}: a penalty of strength {constraint.strength}; give a number above 0")
        least = sum(min(c, 0) for _, c in constraint.terms)
        most = sum(max(c, 0) for _, c in constraint.terms)
        lower, upper = max(constraint.lower, least), min(constraint.upper, most)
        if lower > upper:
            raise InputError(
                f"{title}: {constraint.what} must be {constraint.lower} to {constraint.upper}, and can be {least} to {most}"
            )
        if lower == upper:
            model.add_linear_equality_constraint(constraint.terms, constraint.strength, -upper)
            for variable, coefficient in constraint.terms:
                model.add_linear(variable, constraint.multiplier * coefficient)
            model.offset -= constraint.multiplier * upper
        elif (lower, upper) != (least, most):
            terms = list(constraint.terms)
            model.add_linear_inequality_constraint(terms, constraint.strength, f"{number}", lb=lower, ub=upper)
    return Problem(title, objective, model, tuple(constraints), decode)


def coefficients(model: BinaryQuadraticModel) -> NDArray[np.float64]:
    """(n, n), upper triangular: x^T Q x is the energy of bits x in the order of the model's variables, up to its offset."""
    found = biases(model.binary)
    matrix = np.zeros((len(found.linear), len(found.linear)))
    np.add.at(matrix, (found.pairs.min(axis=1), found.pairs.max(axis=1)), found.quadratic)
    matrix[np.diag_indices_from(matrix)] = found.linear
    return matrix


class Biases(NamedTuple):
    """A model's numbers, in the order of its variables."""

    linear: NDArray[np.float64]
    """(n,)"""
    pairs: NDArray[np.int64]
    """(E, 2): the places of two variables each."""
    quadratic: NDArray[np.float64]
    """(E,)"""
    offset: float


def biases(model: Any) -> Biases:
    """Of a model, or of a view of one as another vartype."""
    linear, (rows, columns, quadratic), offset = model.to_numpy_vectors(variable_order=list(model.variables))
    pairs = np.stack([rows, columns], axis=1).astype(np.int64)
    return Biases(np.asarray(linear, np.float64), pairs, np.asarray(quadratic, np.float64), float(offset))


def from_matrix(matrix: ArrayLike, names: Sequence[Hashable] | None = None) -> BinaryQuadraticModel:
    """The model whose energy is x^T Q x for x of 0 and 1.

    Args:
        matrix: Q, (n, n), symmetric or triangular.
        names: Of the variables; by default 0, 1, ...

    Raises InputError for a matrix of another shape, for numbers that are not finite, and for names of another number.
    """
    try:
        found = np.asarray(matrix)
    except ValueError as error:
        raise InputError(f"a QUBO whose rows differ in length ({error}); expected a square matrix (n, n)") from error
    if found.ndim != 2 or found.shape[0] != found.shape[1] or not found.size:
        raise InputError(f"a QUBO of shape {found.shape}; expected a square matrix (n, n), a row and a column a variable")
    if not np.issubdtype(found.dtype, np.number) or np.iscomplexobj(found):
        raise InputError(f"a QUBO of {found.dtype} entries; expected real numbers")
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0].tolist()
        raise InputError(f"the QUBO has {found[row, column]} at row {row}, column {column}; its entries are finite numbers")
    triangular = not np.tril(found, -1).any() or not np.triu(found, 1).any()
    if not triangular and not np.allclose(found, found.T, rtol=1e-6, atol=1e-12 * np.abs(found).max()):
        row, column = np.unravel_index(np.abs(found - found.T).argmax(), found.shape)
        raise InputError(
            f"the QUBO is neither symmetric nor triangular: {found[row, column]:.6g} at row {row}, column {column}, but "
            f"{found[column, row]:.6g} across the diagonal; give (Q + Q.T) / 2, which has the same energies"
        )
    names = range(len(found)) if names is None else names
    if len(set(names)) != len(found):
        raise InputError(f"{len(set(names))} different names for {len(found)} variables; give each one of its own")
    model = BinaryQuadraticModel(np.asarray(found, np.float64), "BINARY")
    return model.relabel_variables(dict(enumerate(names)), inplace=False)
