"""Minimising the value of a circuit over its weights, by an optimiser of torch or of scipy; every evaluation can be kept.

What a journal holds is not computed again: an optimiser that is started anew asks for the same weights in the same order, and
is told what it was told before, until the journal ends. So one file resumes every optimiser, whatever its state.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from qmm.discrete.alternating import no_inputs
from qmm.errors import InputError
from qmm.quantum import Backend, CompiledCircuit, ExactBackend, Gradient, expectations
from qmm.suggestions import did_you_mean

log = logging.getLogger(__name__)

Floats: TypeAlias = NDArray[np.float64]
Stepped: TypeAlias = Callable[[float], None]
OptimiserMaker: TypeAlias = Callable[[Iterable[nn.Parameter]], Optimizer]
_WITH_GRADIENT = ("L-BFGS-B", "BFGS", "CG", "SLSQP", "TNC")
_WITHOUT = ("COBYLA", "COBYQA", "Nelder-Mead", "Powell")
_LIMIT = {"TNC": "maxfun", "COBYQA": "maxfev"}  # what bounds its steps in scipy, where it is not "maxiter"
_PATIENCE = 2.0  # seconds before a progress bar is worth its line


class Minimum(NamedTuple):
    """Where a minimisation ended."""

    weights: Tensor
    """(W,) float64: the best that were met, by their value as it was found."""
    value: float
    values: Floats
    """(steps,): the value behind each step of a scipy method, before each step of a torch optimiser."""
    evaluations: int
    """Of the circuit, gradients counted as one each."""


class CircuitValue:
    """Weights -> the value of a circuit without inputs that has one output; counts, remembers the best, keeps a journal.

    Args:
        circuit: Compiled.
        backend, gradient: As in `qmm.quantum.expectations`.
        journal: A file that evaluations are kept in and taken from; None keeps none.
        purpose: What the journal belongs to, in addition to the circuit: two of different purposes are not mixed.
    """

    def __init__(
        self,
        circuit: CompiledCircuit,
        backend: Backend | None = None,
        gradient: Gradient | None = None,
        journal: str | Path | None = None,
        purpose: str = "",
    ):
        self.circuit, self.backend, self.gradient = circuit, backend, gradient
        self.evaluations = 0
        self.best: tuple[float, Floats] | None = None
        purpose = f"{_where(backend)} {purpose}"
        self._journal = None if journal is None else _Journal(Path(journal), _fingerprint(circuit, purpose))

    @property
    def exact(self) -> bool:
        return isinstance(self.backend, ExactBackend | None)

    def __call__(self, weights: Floats, with_gradient: bool = False) -> tuple[float, Floats]:
        """(W,) -> the value, and (W,) its gradient; an empty one where none is asked for."""
        point = np.array(weights, np.float64)
        known = None if self._journal is None else self._journal.replay(point, with_gradient)
        value, slope = self._evaluate(point, with_gradient) if known is None else known
        if known is None and self._journal is not None:
            self._journal.write(point, value, slope)
        self.evaluations += 1
        if self.best is None or value < self.best[0]:
            self.best = value, point
        return value, slope

    def _evaluate(self, point: Floats, with_gradient: bool) -> tuple[float, Floats]:
        weights = torch.from_numpy(point).requires_grad_(with_gradient)
        with torch.set_grad_enabled(with_gradient):
            value = expectations(self.circuit, no_inputs(), weights, self.backend, self.gradient)[0, 0]
        slope = torch.autograd.grad(value, weights)[0].numpy() if with_gradient else np.empty(0)
        return float(value.detach()), slope


def minimise(
    function: CircuitValue,
    start: Floats,
    optimiser: str | OptimiserMaker = "L-BFGS-B",
    steps: int = 200,
    learning_rate: float = 0.1,
    tolerance: float = 1e-9,
    progress: str = "",
) -> Minimum:
    """From (W,) weights downwards.

    Args:
        function: What to minimise.
        start: (W,)
        optimiser: A method of scipy.optimize.minimize, by its name; a class of torch.optim, by its name ("Adam"); or a
            function that makes a torch optimiser of parameters, `qmm.optimisers` for instance.
        steps: At most.
        learning_rate: Of a torch optimiser that is given by its name.
        tolerance: scipy stops where a step changes less; torch takes all steps.
        progress: What the progress bar is called; none without.

    Raises InputError for an optimiser that there is not, and a circuit without weights.
    """
    if not len(start):
        raise InputError("the circuit has no weights; there is nothing to minimise over")
    values: list[float] = []
    with tqdm(desc=progress, total=steps, unit="step", delay=_PATIENCE, leave=False, disable=not progress) as bar:

        def stepped(value: float) -> None:
            values.append(value)
            bar.set_postfix_str(f"{value:.6g}", refresh=False)
            bar.update()

        before = function.evaluations
        function.best = None
        if isinstance(optimiser, str) and optimiser in (*_WITH_GRADIENT, *_WITHOUT):
            _scipy(function, start, optimiser, steps, tolerance, stepped)
        else:
            _torch(function, start, _maker(optimiser, learning_rate), steps, stepped)
    if function.best is None:
        function(start)
    value, weights = function.best or (float("nan"), start)
    return Minimum(torch.from_numpy(weights), value, np.array(values), function.evaluations - before)


def _scipy(function: CircuitValue, start: Floats, method: str, steps: int, tolerance: float, stepped: Stepped) -> None:
    slopes = method in _WITH_GRADIENT
    latest: list[float] = []

    def evaluate(point: Floats) -> Any:
        value, slope = function(point, slopes)
        latest.append(value)
        return (value, slope) if slopes else value

    def callback(intermediate_result: Any) -> None:
        stepped(float(getattr(intermediate_result, "fun", latest[-1])))

    options: dict[str, Any] = {_LIMIT.get(method, "maxiter"): steps}
    if method == "L-BFGS-B":
        options |= {"maxfun": 20 * steps, "ftol": tolerance * 1e-3, "gtol": tolerance}
    settings: dict[str, Any] = {"method": method, "jac": slopes or None, "tol": tolerance, "options": options}
    minimize(evaluate, start, callback=callback, **settings)


def _torch(function: CircuitValue, start: Floats, make: OptimiserMaker, steps: int, stepped: Stepped) -> None:
    weights = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimiser = make([weights])

    def closure() -> Tensor:
        value, slope = function(weights.detach().numpy(), with_gradient=True)
        weights.grad = torch.from_numpy(slope.copy())
        return torch.tensor(value, dtype=torch.float64)

    for _ in range(steps):
        stepped(float(optimiser.step(closure)))  # type: ignore[arg-type]


def _maker(optimiser: str | OptimiserMaker, learning_rate: float) -> OptimiserMaker:
    if not isinstance(optimiser, str):
        return optimiser
    classes = {name: found for name, found in vars(torch.optim).items() if isinstance(found, type)}
    known: dict[str, Any] = {
        n: found for n, found in classes.items() if issubclass(found, Optimizer) and found is not Optimizer
    }
    if optimiser not in known:
        names = [*_WITH_GRADIENT, *_WITHOUT, *known]
        raise InputError(
            f"no optimiser {optimiser!r}{did_you_mean(optimiser, names)}; take one of scipy ({', '.join(names[:9])}), or of "
            f"torch.optim ({', '.join(known)})"
        )
    return lambda parameters: known[optimiser](parameters, lr=learning_rate)


def _where(backend: Backend | None) -> str:
    """What tells one backend's values from another's."""
    if isinstance(backend, ExactBackend | None):
        return "exact"
    provider = getattr(backend, "provider", None)
    return f"{type(backend).__name__} {getattr(provider, 'name', '')} {getattr(backend, 'shots', '')}"


def _fingerprint(circuit: CompiledCircuit, purpose: str) -> str:
    """Of what a value depends on: gates, in their order and with their parameters, and observables. QPY would do, but its
    bytes hold names that differ from run to run."""
    quantum_circuit, _, weights, observables = circuit.circuit
    gates = [
        (item.operation.name, [str(p) for p in item.operation.params], [quantum_circuit.find_bit(q).index for q in item.qubits])
        for item in quantum_circuit.data
    ]
    read = [[(label, complex(c).real) for label, c in o.to_list()] for o in observables]  # type: ignore[union-attr]
    content = json.dumps([purpose, gates, [w.name for w in weights], read])
    return hashlib.sha256(content.encode()).hexdigest()


class _Journal:
    """One JSON line for each evaluation, behind a first line that says what they belong to."""

    def __init__(self, path: Path, fingerprint: str):
        self.path, self._first = path, {"of": fingerprint}
        lines = _whole_lines(path) if path.is_file() else []
        if lines and lines[0] != self._first:
            raise InputError(f"{path} is the journal of another circuit, Hamiltonian or optimiser; choose another file")
        self._known, self._next, self._clean = lines[1:], 0, False
        path.parent.mkdir(parents=True, exist_ok=True)

    def replay(self, point: Floats, with_gradient: bool) -> tuple[float, Floats] | None:
        """The next evaluation, if it is one of this point; else what is left of the journal is of no use, and dropped."""
        if self._next >= len(self._known):
            return None
        entry = self._known[self._next]
        if entry["weights"] != point.tolist() or (with_gradient and not entry["gradient"]):
            log.warning("%s goes another way from evaluation %d on; the rest of it is computed again", self.path, self._next)
            del self._known[self._next :]
            return None
        self._next += 1
        return entry["value"], np.array(entry["gradient"], np.float64)

    def write(self, point: Floats, value: float, slope: Floats) -> None:
        if not self._clean:  # a line that a kill has cut off goes, and whatever was of no use
            whole = [json.dumps(line) for line in (self._first, *self._known)]
            partial = self.path.with_name(f".{self.path.name}.partial")
            partial.write_text("\n".join(whole) + "\n")
            partial.replace(self.path)
            self._clean = True
        with self.path.open("a") as file:
            file.write(json.dumps({"weights": point.tolist(), "value": value, "gradient": slope.tolist()}) + "\n")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Up to the first that is none; the last one may have been cut off."""
    found: list[dict[str, Any]] = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found
