"""How strong penalties must be so that the sample of least energy keeps the constraints: as weak as can be shown to do.

Samplers that flip one variable at a time have to climb over a penalty to exchange one choice for another; what is stronger than
necessary hides the objective from them.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from dimod import BinaryQuadraticModel

from qmm.discrete.problem import Constraint, coefficients

_MARGIN = 1.1  # over what just suffices: what breaks a constraint is worse by more than rounding
_LEAST = 0.01  # of the largest coefficient, where any strength would do


def exactly(
    objective: BinaryQuadraticModel, groups: Sequence[tuple[str, Sequence[Hashable], int]], strength: float | None = None
) -> list[Constraint]:
    """So many of each group of variables, no more and no less.

    While a group has too many, one of them can be left out; while none has, and one has too few, one can be added, which then
    meets fewer others than all groups ask for. What such a step costs at most, with the best variable to take, bounds what is
    needed; the multiplier shares it out evenly between too many and too few.

    Args:
        groups: In words, variables, how many of them. No variable is in two groups.
        strength: In place of the one computed.
    """
    matrix, places = coefficients(objective), {variable: i for i, variable in enumerate(objective.variables)}
    own, between = np.diag(matrix), np.triu(matrix, 1) + np.triu(matrix, 1).T
    others = np.sort(between + np.diag(np.full(len(own), np.inf)), axis=1)[:, :-1]  # ascending, without itself
    total = sum(number for _, _, number in groups)
    more = own + others[:, len(others) - total :].clip(min=0).sum(1)
    found = []
    for what, variables, number in groups:
        rows = [places[variable] for variable in variables]
        less = -own[rows] - others[rows, :number].sum(1) - others[rows, number:].clip(max=0).sum(1)
        if number == len(rows):  # it cannot have too many
            down = -float(np.sort(more[rows])[number - 1])
            up = -down
        else:  # the best to leave out of the worst number + 1, and to add where all but one of the best are there
            down = float(np.sort(less)[-number - 1])
            up = float(np.sort(more[rows])[number - 1]) if number else -down
        enough = max(_MARGIN * (down + up) / 2, _LEAST * float(np.abs(matrix).max())) or 1.0
        terms = tuple((variable, 1) for variable in variables)
        found.append(Constraint(what, terms, number, number, enough if strength is None else strength, (down - up) / 2))
    return found


def range_bound(objective: BinaryQuadraticModel) -> float:
    """More than any two samples' energies differ by: enough for whatever constraints that can be kept at all."""
    return above(float(np.abs(coefficients(objective)).sum()))


def above(bound: float) -> float:
    """More than the bound, and than 0."""
    return _MARGIN * bound if bound > 0 else 1.0
