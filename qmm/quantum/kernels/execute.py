"""A tape run on the CPU: memory, threads, and numpy views of torch tensors around the compiled functions."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmm.quantum.kernels import simulate
from qmm.quantum.kernels.tape import Tape
from qmm.quantum.kernels.vectors import lanes

_THREADED = 2**18  # amplitudes times steps for each thread; handing a task to a thread costs some 50 us
_SPARE_BUFFERS = 2  # for final states, kept for the next forward
_LOG = logging.getLogger(__name__)
_USED: set[tuple[str, str]] = set()
_LONG = 3.0  # seconds without an answer after which a first call says that it compiles; reading from disk takes one
_VIEWS = 64  # sets of views of a thread's scratch memory


class Kept:
    """Final states of one forward, (groups, 2 N S), in memory that goes back to a pool: fresh memory costs a page fault every
    4 KiB, which took longer than the simulation itself. Two forwards before a backward have two buffers."""

    _pool: ClassVar[list[Tensor]] = []
    _lock = threading.Lock()

    def __init__(self, groups: int, size: int, dtype: torch.dtype):
        needed = groups * size
        with self._lock:
            fitting = [b for b in self._pool if b.dtype == dtype and needed <= b.numel() <= 2 * needed]
            if fitting:
                self._buffer = min(fitting, key=Tensor.numel)
                self._pool[:] = [b for b in self._pool if b is not self._buffer]
            else:
                self._buffer = torch.empty(needed, dtype=dtype)
        self.states = self._buffer[:needed].view(groups, size).numpy()

    def __del__(self) -> None:
        with self._lock:
            self._pool.append(self._buffer)
            del self._pool[:-_SPARE_BUFFERS]


@contextmanager
def _announced(use: tuple[str, str]) -> Iterator[None]:
    """Says what a first call takes its time for: forward or backward, in float32 or float64."""
    message = "compiling the CPU kernels' %s for %s: some 10 s, once on this machine"
    said = threading.Timer(_LONG, _LOG.warning, [message, *use])
    said.daemon = True
    said.start()
    try:
        yield
    finally:
        said.cancel()
    _USED.add(use)


class Trace(NamedTuple):
    """What a backward needs of its forward."""

    cosines: NDArray[Any]
    sines: NDArray[Any]
    arguments: NDArray[Any]
    factors: NDArray[Any]
    """of the phases that all samples share"""
    kept: Kept | None


def forward(tape: Tape, shared: Tensor, sample: Tensor, keep: bool) -> tuple[Tensor, Trace]:
    """(n_shared,) and (B, n_slots - n_shared) slots' angles -> (B, n_outputs), and the trace; final states only if `keep`."""
    arguments, angles = sample.contiguous().numpy(), shared.numpy()
    size = lanes(arguments.itemsize)
    groups = -(-len(arguments) // size)
    cosines, sines = np.cos(angles), np.sin(angles)
    factors = np.empty((len(tape.phases.steps), 2 << tape.n_qubits), arguments.dtype)
    values = np.empty((len(sample), tape.n_outputs), arguments.dtype)
    row = (2 * size) << tape.n_qubits
    kept = Kept(groups, row, sample.dtype) if keep else None
    trace = Trace(cosines, sines, arguments, factors.reshape(-1), kept)
    states = np.empty((0, row), arguments.dtype) if kept is None else kept.states

    def work(first: int, last: int) -> None:
        scratch = _scratch(tape, arguments.dtype, 2)
        simulate.forward(tape, *trace[:4], scratch, first, last, values, keep, states)

    use = ("forward", arguments.dtype.name)
    with nullcontext() if use in _USED else _announced(use):
        simulate.shared_factors(tape.phases, tape.n_qubits, cosines, sines, factors)
        _share_out(tape, groups, size, work)
    return torch.from_numpy(values), trace


def backward(tape: Tape, trace: Trace, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """(B, n_outputs) -> gradients of the slots' angles: (n_shared,) and (B, n_slots - n_shared)."""
    assert trace.kept is not None
    states, grads = trace.kept.states, gradients.contiguous().numpy()
    size = lanes(grads.itemsize)
    sample = np.empty((len(grads), tape.n_slots - tape.n_shared), grads.dtype)
    groups = -(-len(grads) // size)
    shared = np.zeros((groups, tape.n_shared), grads.dtype)

    def work(first: int, last: int) -> None:
        scratch = _scratch(tape, grads.dtype, 4)
        simulate.backward(tape, *trace[:4], scratch, first, last, states, grads, shared, sample)

    use = ("backward", grads.dtype.name)
    with nullcontext() if use in _USED else _announced(use):
        _share_out(tape, groups, size, work)
    return torch.from_numpy(shared.sum(0)), torch.from_numpy(sample)


def _share_out(tape: Tape, groups: int, size: int, work: Callable[[int, int], None]) -> None:
    """Groups of samples over as many threads as torch uses, where there is work enough for them."""
    amount = (groups * size * (len(tape.steps) + 2)) << tape.n_qubits
    threads = max(1, min(torch.get_num_threads(), groups, amount // _THREADED))
    own, *others = pairwise(groups * i // threads for i in range(threads + 1))
    futures = [_pool(threads).submit(work, *bounds) for bounds in others]
    work(*own)  # here, rather than waiting: a woken thread finds a core of its own then
    for future in futures:
        future.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="qmm")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of the threads


class _Room(threading.local):
    """Scratch memory of one thread, which grows to what its largest circuit needed, and views of it by their sizes."""

    def __init__(self) -> None:
        self.memory: dict[np.dtype[Any], Tensor] = {}
        self.views: dict[Any, simulate.Scratch] = {}


_ROOM = _Room()


def _scratch(tape: Tape, dtype: np.dtype[Any], states: int) -> simulate.Scratch:
    key = (dtype, tape.n_slots, len(tape.local.runs), tape.n_outputs, tape.n_qubits, states)
    found = _ROOM.views.get(key)
    if found is None:
        if len(_ROOM.views) >= _VIEWS:
            _ROOM.views.clear()
        found = _ROOM.views[key] = _new_scratch(*key)
    return found


def _new_scratch(
    dtype: np.dtype[Any], n_slots: int, n_runs: int, n_outputs: int, n_qubits: int, states: int
) -> simulate.Scratch:
    size = lanes(dtype.itemsize)
    vectors = [2 * n_slots, 4 * n_runs, 3 * n_runs, n_slots, 4, n_outputs, states * 2 << n_qubits]
    needed = sum(vectors) * size
    room = _ROOM.memory.get(dtype)
    if room is None or room.numel() < needed:
        _ROOM.views.clear()  # of the memory that is given up
        room = _ROOM.memory[dtype] = torch.empty(needed, dtype=getattr(torch, dtype.name))  # aligned to 64 bytes
    parts = [part.numpy() for part in room[:needed].split([count * size for count in vectors])]
    trig, gates, gradients, angles, columns, out, memory = parts
    return simulate.Scratch(trig, gates, gradients, angles, columns, out, memory.reshape(states, -1))
