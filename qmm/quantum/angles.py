"""The angles of many gates at once, as differentiable functions of inputs and weights."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import sympy
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter, ParameterExpression
from torch import Tensor

from qmm.quantum.errors import CircuitError
from qmm.quantum.operations import Angle

_TORCH = {
    **{name: getattr(torch, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan", "exp", "log", "sqrt", "sign")},
    "Abs": torch.abs,
    "conjugate": lambda value: value,  # parameters are real
}


class Formula(NamedTuple):
    """An angle that is no affine function of its parameters."""

    function: Callable[..., Tensor]
    inputs: tuple[int, ...]
    weights: tuple[int, ...]
    """`function(*inputs, *weights)`, by their places."""
    unit: Tensor
    """(P,), 1 at the angle that it is."""


class Angles(NamedTuple):
    """P angles: an affine map of inputs and weights, plus the formulas that are not affine. None where nothing depends."""

    of_inputs: Tensor | None
    """(n_inputs, P)"""
    of_weights: Tensor | None
    """(n_weights, P)"""
    offset: Tensor
    """(P,)"""
    formulas: tuple[Formula, ...]

    def evaluate(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """(B, n_inputs) and (W,) or (B, W) -> radians, (P,) where nothing differs from sample to sample, else (B, P)."""
        angles = self.offset
        if self.of_weights is not None:
            angles = angles + weights @ self.of_weights
        if self.of_inputs is not None:
            angles = angles + inputs @ self.of_inputs
        for formula in self.formulas:
            values = [*(inputs[..., i] for i in formula.inputs), *(weights[..., i] for i in formula.weights)]
            angles = angles + formula.function(*values).unsqueeze(-1) * formula.unit
        return angles

    def pullback(self, gradient: Tensor, inputs: Tensor, weights: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The gradient of what `evaluate` returned, ([B,] P), as gradients of `inputs` and `weights`; None where they are 0."""
        if self.formulas:
            with torch.enable_grad():
                leaves = [inputs.detach().requires_grad_(), weights.detach().requires_grad_()]
                found = torch.autograd.grad(self.evaluate(*leaves).expand_as(gradient), leaves, gradient, allow_unused=True)
            return found[0], found[1]
        of_inputs = None if self.of_inputs is None else gradient @ self.of_inputs.mT
        if self.of_weights is None:
            return of_inputs, None
        summed = gradient.sum(0) if gradient.ndim > weights.ndim else gradient
        return of_inputs, summed @ self.of_weights.mT

    def scaled(self, factors: NDArray[np.float64]) -> "Angles":
        """Each angle times its factor, (P,)."""
        by = torch.tensor(factors)
        return Angles(
            None if self.of_inputs is None else self.of_inputs * by,
            None if self.of_weights is None else self.of_weights * by,
            self.offset * by,
            tuple(formula._replace(unit=formula.unit * by) for formula in self.formulas),
        )


def free_parameters(angle: Angle) -> frozenset[Parameter]:
    return frozenset(angle.parameters) if isinstance(angle, ParameterExpression) else frozenset()


def collect(angles: Sequence[Angle], inputs: Sequence[Parameter], weights: Sequence[Parameter]) -> Angles:
    """The angles of a list of gates, in its order. Raises CircuitError for an angle that is not real."""
    places = {parameter: i for i, parameter in enumerate((*inputs, *weights))}
    linear, offset, formulas = np.zeros((len(places), len(angles))), np.zeros(len(angles)), []
    for column, angle in enumerate(angles):
        free = sorted(free_parameters(angle), key=places.__getitem__)
        slopes = _slopes(angle, free)
        if slopes is None:
            known = [places[p] for p in free]
            formulas.append(
                Formula(
                    function=sympy.lambdify(
                        [sympy.Symbol(p.name) for p in free],
                        sympy.N(angle.sympify(), 17),  # type: ignore[union-attr]
                        modules=[_TORCH, "math"],
                    ),
                    inputs=tuple(i for i in known if i < len(inputs)),
                    weights=tuple(i - len(inputs) for i in known if i >= len(inputs)),
                    unit=torch.eye(len(angles), dtype=torch.float64)[column],
                )
            )
        else:
            linear[[places[p] for p in free], column] = slopes
            offset[column] = _real(angle.bind(dict.fromkeys(free, 0.0)) if free else angle)  # type: ignore[union-attr]
    of_inputs, of_weights = linear[: len(inputs)], linear[len(inputs) :]
    return Angles(
        of_inputs=torch.tensor(of_inputs) if of_inputs.any() else None,
        of_weights=torch.tensor(of_weights) if of_weights.any() else None,
        offset=torch.tensor(offset),
        formulas=tuple(formulas),
    )


def _slopes(angle: Angle, free: Sequence[Parameter]) -> list[float] | None:
    """The angle's derivatives, if they are all constant."""
    slopes = []
    for parameter in free:
        try:
            slope = angle.gradient(parameter)  # type: ignore[union-attr]
        except RuntimeError:  # Qiskit derives no sign()
            return None
        if isinstance(slope, ParameterExpression) and slope.parameters:
            return None
        slopes.append(_real(slope))
    return slopes


def _real(value: Any) -> float:
    number = complex(value)
    if abs(number.imag) > 1e-12:
        raise CircuitError(f"a gate's angle is the complex number {number}; angles are real")
    return number.real
