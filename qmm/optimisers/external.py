"""Optimisers of SciPy and of Qiskit Machine Learning as torch optimisers, through one adapter."""

import inspect
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from qmm.errors import InputError
from qmm.optimisers.base import CircuitOptimizer
from qmm.optimisers.probing import Probes, flat, moved
from qmm.suggestions import did_you_mean

SCIPY = ("Nelder-Mead", "Powell", "CG", "BFGS", "L-BFGS-B", "TNC", "COBYLA", "COBYQA", "SLSQP", "trust-constr")
_WITH_GRADIENT = {"CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "trust-constr"}


class _SpentError(Exception):
    """The evaluations of a step are used up."""


class External(CircuitOptimizer):
    """Each step is a minimisation of the loss of its batch, from where the weights stand: a method that keeps a memory (BFGS)
    has one within a step. Meant for few, large batches. A method that uses up its evaluations ends at the best point it met.

    Args:
        params, max_step: As in CircuitOptimizer.
        method: "COBYLA", "L-BFGS-B", ... of `scipy.optimize.minimize`; "SPSA", "NFT", "ADAM", ... of
            `qiskit_machine_learning.optimizers`.
        library: "scipy" or "qiskit".
        options: The `options` of SciPy's method, or the arguments of Qiskit's class ({maxiter: 10}).
        evaluations: Of the loss in a step, at most; with a gradient each is one, too.
        gradient: Whether methods that can use gradients are given those that backward leaves; else they do without, or take
            differences.
        lr: Share of the way to where the method ends.
        seed: Of random methods of Qiskit.
    """

    reference = "scipy.optimize, qiskit-machine-learning"
    uses_gradient = False

    def __init__(
        self,
        params: Any = None,
        method: str = "COBYLA",
        library: Literal["scipy", "qiskit"] = "scipy",
        options: dict[str, Any] | None = None,
        evaluations: int = 20,
        gradient: bool = True,
        lr: float = 1.0,
        seed: int = 0,
        max_step: float | None = None,
    ):
        super().__init__(params, lr, max_step)
        if library not in ("scipy", "qiskit") or evaluations < 1:
            raise InputError(f"library={library!r}, evaluations={evaluations}; expected 'scipy' or 'qiskit', and at least 1")
        known = SCIPY if library == "scipy" else tuple(_qiskit_methods())
        if method not in known:
            raise InputError(f"{library} has no method {method!r}{did_you_mean(method, known)}; choose of {', '.join(known)}")
        self.method, self.library, self.options = method, library, options or {}
        self.evaluations, self.gradient, self.seed = evaluations, gradient, seed
        self._move: Tensor | None = None

    def explore(self, probes: Probes) -> float:
        here = flat(self.parameters)
        with moved(self.parameters) as put:
            search = _Search(probes, self.parameters, put, self.evaluations)
            try:
                end = np.asarray(self._minimise(search, here.numpy().copy()).x, dtype=np.float64)
            except _SpentError:
                end = search.best
        self._move = here - torch.from_numpy(end)
        return search.first

    def direction(self) -> Tensor:
        assert self._move is not None
        return self._move

    def _minimise(self, search: "_Search", start: NDArray[np.float64]) -> Any:
        if self.library == "scipy":
            slope = search.slope if self.gradient and self.method in _WITH_GRADIENT else None
            minimize: Any = optimize.minimize  # its types name each method
            return minimize(search.value, start, method=self.method, jac=slope, options=self.options)
        from qiskit_machine_learning.utils import algorithm_globals

        algorithm_globals.random_seed = self.seed + self.steps
        optimiser = _qiskit_methods()[self.method](**self.options)
        slope = search.slope if self.gradient and not optimiser.is_gradient_ignored else None
        return optimiser.minimize(search.value, start, jac=slope)


class _Search:
    """Evaluates, and remembers the best point."""

    def __init__(self, probes: Probes, parameters: list[Tensor], put: Any, limit: int):
        self._probes, self._parameters, self._put, self._left = probes, parameters, put, limit
        self.first, self.lowest = float("nan"), float("inf")
        self.best: NDArray[np.float64] = flat(parameters).numpy()
        self._slope: tuple[bytes, NDArray[np.float64]] | None = None

    def value(self, point: Any) -> float:
        return self._evaluate(np.asarray(point, dtype=np.float64), gradient=False)

    def slope(self, point: Any) -> NDArray[np.float64]:
        point = np.asarray(point, dtype=np.float64)
        self._evaluate(point, gradient=True)
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        return flat(parts).numpy()

    def _evaluate(self, point: NDArray[np.float64], gradient: bool) -> float:
        if self._left == 0:
            raise _SpentError
        self._left -= 1
        self._put(torch.from_numpy(point.copy()))
        for parameter in self._parameters:
            parameter.grad = None
        loss = self._probes.with_gradients() if gradient else self._probes.value()
        if np.isnan(self.first):
            self.first = loss
        if loss < self.lowest:
            self.lowest, self.best = loss, point.copy()
        return loss


def _qiskit_methods() -> dict[str, Any]:
    from qiskit_machine_learning import optimizers

    found = {name: getattr(optimizers, name) for name in optimizers.__all__}
    return {
        name: kind
        for name, kind in found.items()
        if inspect.isclass(kind) and issubclass(kind, optimizers.Optimizer) and not inspect.isabstract(kind)
    }
