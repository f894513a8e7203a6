"""Recording: which circuits were evaluated, and at which angles, for whoever needs more of them than their values."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from qmm.quantum.backends import Evaluation
from qmm.quantum.compiled import CompiledCircuit

_TAPES: ContextVar[tuple[list[Evaluation], ...]] = ContextVar("qmm_tapes", default=())


@contextmanager
def recording(tape: list[Evaluation] | None = None) -> Iterator[list[Evaluation]]:
    """A list of what `expectations`, `states` and every QuantumLayer evaluate inside the `with`, as it comes: the metric of a
    natural gradient, for one, is that of the circuits, inputs and weights which a forward pass has just used.

    Inputs and weights stay attached to the graph of the pass. Recordings may lie in each other; threads that a pass begins
    record where it does. What `torch.compile` has compiled is not seen.

    Args:
        tape: A list of one's own to add to: one whose `append` looks at evaluations as they come needs not keep them.
    """
    tape = [] if tape is None else tape
    token = _TAPES.set((*_TAPES.get(), tape))
    try:
        yield tape
    finally:
        _TAPES.reset(token)


def record(circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> None:
    if torch.compiler.is_compiling():
        return
    for tape in _TAPES.get():
        tape.append(Evaluation(circuit, inputs, weights))
