"""Work in a thread of its own, in the torch modes of the thread that began it."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

import torch

_T = TypeVar("_T")
_AUTOCAST = ("cpu", "cuda")


def in_background(task: Callable[[], _T], name: str = "qmm-background") -> "Future[_T]":
    """Begins a task, with gradients, inference mode, autocast, the CUDA stream and context variables as they are here.

    Each task has a fresh thread: autograd orders nodes by numbers that each thread counts for itself, so that sums of
    gradients round alike in every run. The interpreter does not wait for it when it ends.
    """
    enter, future = _modes(), Future[_T]()

    def run() -> None:
        try:
            with enter():
                found = task()
        except BaseException as error:  # whatever it is, it belongs to whoever asks for the result
            future.set_exception(error)
        else:
            future.set_result(found)

    Thread(target=copy_context().run, args=(run,), name=name, daemon=True).start()
    return future


def _modes() -> Callable[[], ExitStack]:
    """What enters, in another thread, the modes of this one."""
    gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    autocast = [(d, torch.get_autocast_dtype(d)) for d in _AUTOCAST if torch.is_autocast_enabled(d)]
    cached = torch.is_autocast_cache_enabled()
    stream = torch.cuda.current_stream() if torch.cuda.is_initialized() else None

    def enter() -> ExitStack:
        stack = ExitStack()
        stack.enter_context(torch.inference_mode(inference))
        stack.enter_context(torch.set_grad_enabled(gradients))
        for device, dtype in autocast:
            stack.enter_context(torch.autocast(device, dtype, cache_enabled=cached))
        if stream is not None:
            stack.enter_context(torch.cuda.stream(stream))
        return stack

    return enter
