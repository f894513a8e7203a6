"""A tape run on the CPU: memory, threads, and numpy views of torch tensors around the compiled functions."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmm.quantum.kernels import simulate
from qmm.quantum.kernels.tape import Tape
from qmm.quantum.kernels.vectors import lanes

_THREADED = 2**18  # amplitudes times steps for each thread; handing a task to a thread costs some 50 us
_ROOM = threading.local()


class Trace(NamedTuple):
    """What a backward needs of its forward."""

    cosines: NDArray[Any]
    sines: NDArray[Any]
    arguments: NDArray[Any]
    phases: NDArray[Any]
    kept: NDArray[Any]
    """(groups, 2 N S): final states"""


def forward(tape: Tape, shared: Tensor, sample: Tensor, keep: bool) -> tuple[Tensor, Trace]:
    """(n_shared,) and (B, n_slots - n_shared) slots' angles -> (B, n_outputs), and the trace; final states only if `keep`."""
    arguments = sample.detach().contiguous().numpy()
    angles = shared.detach().numpy()
    size = lanes(arguments.itemsize)
    groups = -(-len(arguments) // size)
    cosines, sines = np.cos(angles), np.sin(angles)
    phases = np.empty((len(tape.phases), 2 << tape.n_qubits), arguments.dtype)
    simulate.shared_phases(tape, cosines, sines, phases)
    values = torch.empty(len(sample), tape.n_outputs, dtype=sample.dtype)
    kept = torch.empty(groups if keep else 0, (2 * size) << tape.n_qubits, dtype=sample.dtype).numpy()
    trace = Trace(cosines, sines, arguments, phases.reshape(-1), kept)

    def work(first: int, last: int) -> None:
        scratch = _scratch(tape, arguments.dtype, states=2)
        simulate.forward(tape, *trace[:4], scratch, first, last, values.numpy(), keep, kept)

    _share_out(tape, groups, size, work)
    return values, trace


def backward(tape: Tape, trace: Trace, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """(B, n_outputs) -> gradients of the slots' angles: (n_shared,) and (B, n_slots - n_shared)."""
    grads = gradients.detach().contiguous().numpy()
    size = lanes(grads.itemsize)
    sample = torch.empty(len(grads), tape.n_slots - tape.n_shared, dtype=gradients.dtype)
    parts: list[NDArray[Any]] = []

    def work(first: int, last: int) -> None:
        scratch = _scratch(tape, grads.dtype, states=4)
        shared = np.zeros(tape.n_shared, grads.dtype)
        simulate.backward(tape, *trace[:4], scratch, first, last, trace.kept, grads, shared, sample.numpy())
        parts.append(shared)

    _share_out(tape, -(-len(grads) // size), size, work)
    return torch.from_numpy(np.sum(parts, axis=0, dtype=grads.dtype)), sample


def _share_out(tape: Tape, groups: int, size: int, work: Callable[[int, int], None]) -> None:
    """Groups of samples over as many threads as torch uses, where there is work enough for them."""
    amount = (groups * size * (len(tape.steps) + 2)) << tape.n_qubits
    threads = max(1, min(torch.get_num_threads(), groups, amount // _THREADED))
    if threads == 1:
        return work(0, groups)
    bounds = [groups * i // threads for i in range(threads + 1)]
    for future in [_pool(threads).submit(work, *pair) for pair in zip(bounds, bounds[1:], strict=False)]:
        future.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="qmm")


def _scratch(tape: Tape, dtype: np.dtype[Any], states: int) -> simulate.Scratch:
    """Views of one aligned buffer a thread, which is kept: fresh memory costs a page fault every 4 KiB."""
    size = lanes(dtype.itemsize)
    vectors = [2 * tape.n_slots, 4 * len(tape.runs), 3 * len(tape.runs), tape.n_slots, 4, tape.n_outputs]
    vectors.append(states * 2 << tape.n_qubits)
    needed = sum(vectors) * size
    room = getattr(_ROOM, str(dtype), None)
    if room is None or room.numel() < needed:
        room = torch.empty(needed, dtype=getattr(torch, str(dtype)))  # aligned to 64 bytes
        setattr(_ROOM, str(dtype), room)
    views, first = [], 0
    for count in vectors:
        views.append(room[first : first + count * size].numpy())
        first += count * size
    return simulate.Scratch(*views[:-1], views[-1].reshape(states, -1))
