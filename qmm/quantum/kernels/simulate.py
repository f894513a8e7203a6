"""Forward and adjoint backward over groups of samples: the two functions that Python calls, compiled once and kept on disk."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from qmm.quantum.kernels import local, measure, moves, phases
from qmm.quantum.kernels.loops import inner, set_row
from qmm.quantum.kernels.tape import LOCAL, PERMUTATION, PHASE

Floats = NDArray[Any]


class Scratch(NamedTuple):
    """Room for one thread, flat, of S numbers a vector; nothing in it outlives a call."""

    trig: Floats
    """2 K vectors: cosine and sine of each slot"""
    gates: Floats
    """4 R"""
    gradients: Floats
    """3 R: of X, Y, Z behind each run"""
    angles: Floats
    """K: gradients of the slots"""
    parts: Floats
    """4"""
    out: Floats
    """n_outputs"""
    states: Floats
    """(2 or 4, 2 N S): one or two states, each with a spare"""


@inner
def _load_shared(tape, cosines, sines, scratch, lanes):
    for slot in range(tape.n_shared):
        set_row(scratch.trig, 2 * slot, lanes, cosines[slot])
        set_row(scratch.trig, 2 * slot + 1, lanes, sines[slot])
    local.compose(tape.local, scratch.trig, scratch.gates, 0, lanes)


@inner
def _load_samples(tape, arguments, group, scratch, lanes):
    """Cosines and sines of a group of samples; the last sample fills up the lanes of the last group."""
    for lane in range(lanes):
        sample = min(group * lanes + lane, len(arguments) - 1)
        for i in range(arguments.shape[1]):
            place = 2 * (tape.n_shared + i) * lanes + lane
            scratch.trig[place] = np.cos(arguments[sample, i])
            scratch.trig[place + lanes] = np.sin(arguments[sample, i])
    local.compose(tape.local, scratch.trig, scratch.gates, 1, lanes)


@inner
def _forward(tape, cosines, sines, arguments, factors, scratch, first, last, values, keep, kept):
    lanes = len(scratch.parts) // 4
    n = tape.n_qubits
    count = 1 << n
    _load_shared(tape, cosines, sines, scratch, lanes)
    for group in range(first, last):
        _load_samples(tape, arguments, group, scratch, lanes)
        psi, spare = scratch.states[0], scratch.states[1]
        local.product_state(psi, n, scratch.gates, lanes)
        for step in range(len(tape.steps)):
            kind, which = tape.steps[step]
            if kind == LOCAL:
                local.forward(tape.local, which, n, psi, scratch.gates)
            elif kind == PHASE:
                if tape.phases.steps[which, 1] > tape.phases.steps[which, 0]:
                    phases.multiply_shared(psi, factors, which * count, count, False)
                if tape.phases.steps[which, 2] > tape.phases.steps[which, 1]:
                    phases.sample_table(tape.phases, which, n, scratch.trig, spare, lanes)
                    phases.multiply(psi, spare, count, False)
            else:
                if kind == PERMUTATION:
                    moves.permute(spare, psi, tape.images[which])
                else:
                    moves.dense(spare, psi, tape.denses, which, n, False)
                psi, spare = spare, psi
        if keep:
            kept[group] = psi
        measure.values(tape.read, n, psi, spare, scratch.out)
        for lane in range(min(lanes, len(values) - group * lanes)):
            for output in range(tape.n_outputs):
                values[group * lanes + lane, output] = scratch.out[output * lanes + lane]


@inner
def _backward(tape, cosines, sines, arguments, factors, scratch, first, last, kept, grads, shared, sample):
    """Adds to `shared` (groups, n_shared) and writes `sample` (B, n_slots - n_shared), the gradients of the slots' angles."""
    lanes = len(scratch.parts) // 4
    n = tape.n_qubits
    count = 1 << n
    _load_shared(tape, cosines, sines, scratch, lanes)
    for group in range(first, last):
        _load_samples(tape, arguments, group, scratch, lanes)
        psi, spare, lam, spare_lam = scratch.states[0], scratch.states[1], scratch.states[2], scratch.states[3]
        psi[:] = kept[group]
        scratch.out[:] = 0
        for lane in range(min(lanes, len(grads) - group * lanes)):
            for output in range(tape.n_outputs):
                scratch.out[output * lanes + lane] = 2 * grads[group * lanes + lane, output]
        measure.apply(tape.read, n, psi, lam, spare, scratch.out)
        scratch.angles[:] = 0
        scratch.gradients[:] = 0
        for step in range(len(tape.steps) - 1, -1, -1):
            kind, which = tape.steps[step]
            if kind == LOCAL:
                local.backward(tape.local, which, n, psi, lam, scratch.gates, scratch.gradients)
            elif kind == PHASE:
                phases.gradient(tape.phases, which, n, psi, lam, spare, scratch.angles)
                if tape.phases.steps[which, 1] > tape.phases.steps[which, 0]:
                    phases.multiply_shared(psi, factors, which * count, count, True)
                    phases.multiply_shared(lam, factors, which * count, count, True)
                if tape.phases.steps[which, 2] > tape.phases.steps[which, 1]:
                    phases.sample_table(tape.phases, which, n, scratch.trig, spare, lanes)
                    phases.multiply(psi, spare, count, True)
                    phases.multiply(lam, spare, count, True)
            else:
                if kind == PERMUTATION:
                    moves.permute_back(spare, psi, tape.images[which])
                    moves.permute_back(spare_lam, lam, tape.images[which])
                else:
                    moves.dense(spare, psi, tape.denses, which, n, True)
                    moves.dense(spare_lam, lam, tape.denses, which, n, True)
                psi, spare, lam, spare_lam = spare, psi, spare_lam, lam
        local.product_gradient(lam, spare, n, scratch.gates, scratch.parts, scratch.gradients, lanes)
        local.pull(tape.local, scratch.trig, scratch.gradients, scratch.angles)
        for slot in range(tape.n_slots):
            for lane in range(min(lanes, len(grads) - group * lanes)):
                gradient = scratch.angles[slot * lanes + lane]
                if slot < tape.n_shared:
                    shared[group, slot] += gradient
                else:
                    sample[group * lanes + lane, slot - tape.n_shared] = gradient


def _cached(function: Any) -> Any:
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder that can be written to: neither this file's nor the user's cache
        return njit(nogil=True)(function)


def _entries(version: str) -> tuple[Any, Any, Any]:
    """numba's cache on disk looks at this file alone; `version`, a part of its key, stands for the files that it imports."""

    @_cached
    def forward(tape, cosines, sines, arguments, factors, scratch, first, last, values, keep, kept):
        version  # noqa: B018
        _forward(tape, cosines, sines, arguments, factors, scratch, first, last, values, keep, kept)

    @_cached
    def backward(tape, cosines, sines, arguments, factors, scratch, first, last, kept, grads, shared, sample):
        version  # noqa: B018
        _backward(tape, cosines, sines, arguments, factors, scratch, first, last, kept, grads, shared, sample)

    @_cached
    def shared_factors(steps, n, cosines, sines, tables):
        """(P, 2 N) tables of the phases that all samples share."""
        version  # noqa: B018
        for step in range(len(steps.steps)):
            phases.shared_table(steps, step, n, cosines, sines, tables[step])

    return forward, backward, shared_factors


_VERSION = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()
forward, backward, shared_factors = _entries(_VERSION)
