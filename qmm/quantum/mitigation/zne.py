"""Zero-noise extrapolation: the same circuit with its noise multiplied, and what the values tend to without noise.

Source: Giurgica-Tiron, Hindy, LaRose, Mari, Zeng, "Digital zero noise extrapolation for quantum error mitigation",
arXiv:2005.10921.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Request
from qmm.quantum.mitigation.folding import fold_factors, folded

_ITERATIONS = 12  # of Gauss-Newton, which begins at the fit of logarithms


class ZeroNoiseExtrapolation(Mitigation):
    """Runs a circuit with its gates folded, G G^-1 G, and extrapolates each part of the outputs to no noise (arXiv:2005.10921).

    Read-out errors stay as they are, and are extrapolated along: combine it with Trex. Coherent errors may cancel in a fold:
    combine it with PauliTwirling. A circuit without gates to fold is run as it is.

    Shots: those of the request for each factor.

    Args:
        factors: What the noise is multiplied by; between odd numbers, some gates are folded more often than others. Values are
            extrapolated from the factors that whole gates allow.
        extrapolation: "linear"; "polynomial" of `degree` (with a degree one below the number of factors, Richardson's);
            "exponential", a exp(b x), towards 0 as Pauli strings decay.
        degree: Of the polynomial.
        gates: "two-qubit", those of several qubits, or "all".
    """

    stage = 110

    def __init__(
        self,
        factors: Sequence[float] = (1, 3, 5),
        extrapolation: Literal["linear", "polynomial", "exponential"] = "linear",
        degree: int = 2,
        gates: Literal["two-qubit", "all"] = "two-qubit",
    ):
        """Raises CircuitError for factors below 1, too few for what is extrapolated, and for unknown names."""
        if extrapolation not in ("linear", "polynomial", "exponential"):
            raise CircuitError(f"extrapolation={extrapolation!r}; take linear, polynomial or exponential")
        if gates not in ("two-qubit", "all"):
            raise CircuitError(f"gates={gates!r}; take two-qubit or all")
        if isinstance(degree, bool) or not isinstance(degree, int) or degree < 1:
            raise CircuitError(f"degree={degree!r}; a polynomial has a whole degree of 1 or more")
        self.factors, self.extrapolation, self.gates = fold_factors(tuple(factors)), extrapolation, gates
        self.degree = degree if extrapolation == "polynomial" else 1
        if len(self.factors) <= self.degree:
            what = f"a polynomial of degree {degree}" if extrapolation == "polynomial" else f"the {extrapolation} fit"
            raise CircuitError(f"{what} needs {self.degree + 1} factors or more, and {len(self.factors)} came: {self.factors}")

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError where the circuit has too few gates to tell the factors apart."""
        variants = [
            folded(request.circuit, factor, self.gates == "all", execution.device, execution.rng) for factor in self.factors
        ]
        achieved = np.array([variant.factor for variant in variants])
        if (achieved == 1).all():
            return Expansion([request], lambda estimates: estimates[0])
        if len(np.unique(achieved)) <= self.degree:
            raise CircuitError(
                f"the circuit has so few gates to fold that the factors {self.factors} become {achieved.round(2).tolist()}: "
                "too few different ones; take odd numbers, 1, 3, 5 for instance"
            )
        requests = [request._replace(circuit=variant.circuit) for variant in variants]
        return Expansion(requests, lambda estimates: self._extrapolated(achieved, estimates))

    def _extrapolated(self, factors: NDArray[np.float64], estimates: Sequence[Estimates]) -> Estimates:
        if self.extrapolation == "exponential":
            return exponential(factors, estimates)
        return polynomial(factors, estimates, self.degree)


def polynomial(factors: NDArray[np.float64], estimates: Sequence[Estimates], degree: int) -> Estimates:
    """The value at 0 of the polynomial of least squares: a weighted sum, whose variance is exact for independent estimates."""
    weights = np.linalg.pinv(np.vander(factors, degree + 1, increasing=True))[0]
    return Estimates(
        np.tensordot(weights, np.stack([e.values for e in estimates]), 1),
        np.tensordot(weights**2, np.stack([e.variances for e in estimates]), 1),
    )


def exponential(factors: NDArray[np.float64], estimates: Sequence[Estimates]) -> Estimates:
    """The amplitude a of a exp(b x), fitted with the estimates' variances, and its variance to first order.

    (qiskit-mitigation's own fit scales its errors by the residuals of as few points as there are factors, and fits one value at
    a time.) Linear extrapolation takes its place where values differ in sign, where the fit fails, and where its error exceeds
    its value.
    """
    instead = polynomial(factors, estimates, 1)
    y = np.stack([e.values for e in estimates])
    variances = np.stack([e.variances for e in estimates])
    known = np.where(variances > 0, variances, np.inf).min(axis=0)
    unknown = np.where(np.isfinite(known), known, 1e-12)  # of shots that all agree: no more certain than the surest others
    precision = 1 / np.where(variances > 0, variances, unknown)
    x = factors[:, None, None]
    usable = (np.sign(y) == np.sign(y[0])).all(axis=0) & (y[0] != 0)
    size = np.where(usable, np.abs(y), 1)
    with np.errstate(all="ignore"):
        logs, rate, _ = _normal(np.ones_like(y), x * np.ones_like(y), np.log(size), precision * size**2)
        amplitude = np.exp(logs)
        for _ in range(_ITERATIONS):
            decay = np.exp(rate * x)
            steps = _normal(decay, amplitude * x * decay, size - amplitude * decay, precision)
            amplitude, rate = amplitude + steps[0], rate + steps[1]
        variance = _normal(np.exp(rate * x), amplitude * x * np.exp(rate * x), size, precision)[2]
        good = usable & np.isfinite(amplitude) & np.isfinite(rate) & (variance >= 0) & (amplitude > np.sqrt(variance))
        settled = np.abs(steps[0]) < 1e-6 + 1e-6 * np.abs(amplitude)
    good &= settled
    return Estimates(
        np.where(good, np.sign(y[0]) * amplitude, instead.values),
        np.where(good & np.isfinite(known), variance, instead.variances),
    )


def _normal(
    first: NDArray[np.float64], second: NDArray[np.float64], wanted: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Weighted least squares of two columns, for all values at once: both coefficients, and the variance of the first."""
    aa, ab, bb = ((weights * p * q).sum(axis=0) for p, q in ((first, first), (first, second), (second, second)))
    a, b = ((weights * p * wanted).sum(axis=0) for p in (first, second))
    determinant = aa * bb - ab**2
    return (bb * a - ab * b) / determinant, (aa * b - ab * a) / determinant, bb / determinant
