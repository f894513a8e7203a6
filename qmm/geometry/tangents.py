"""Derivative states: how a circuit's state moves with each of its weights, in one pass over the circuit.

A weight's derivative is put in right behind its gate and carried on with the state; nothing of the circuit is run behind the
last gate that is asked for, since overlaps of the derivatives no longer change there.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmm.geometry.insertions import Insertion, compile_insertion, effects
from qmm.quantum.compiled import CompiledCircuit, require_memory
from qmm.quantum.schedule import Layer, schedule
from qmm.quantum.tensors.program import LocalStep, PermuteStep, PhaseStep, Program, convert
from qmm.quantum.tensors.runs import apply_blocks_between

_CHUNK_BYTES = 2**22  # of derivative states that pass through the circuit together on a CPU


class Stop(NamedTuple):
    """What happens behind a layer: derivatives come in, groups of them that are complete leave."""

    fresh: Insertion | None
    """Becomes new rows of the stack."""
    n_fresh: int
    more: Insertion | None
    """Is added to rows that are there already: of weights that stand in several gates."""
    rows: Tensor
    """(m,) of `more`"""
    leaving: tuple[tuple[int, Tensor], ...]
    """Groups by number, and their rows, in the order of the group."""
    staying: Tensor | None
    """Rows that are kept; None: all."""


class Plan(NamedTuple):
    """A pass over a circuit that gathers derivative states of groups of weights."""

    stops: tuple[Stop, ...]
    """Behind the first layers of the circuit; the others are not run."""
    most: int
    """rows of the stack, the state itself among them"""


def compile_plan(circuit: CompiledCircuit, groups: Sequence[Sequence[int]]) -> Plan:
    """A pass for groups of weights, each weight in one of them, all of them in some gate."""
    layers = layers_of(circuit)
    found = [effects(layer, circuit.circuit.weights) for layer in layers]
    member = {weight: number for number, group in enumerate(groups) for weight in group}
    found = [[effect for effect in own if effect.weight in member] for own in found]
    end = {member[effect.weight]: place for place, own in enumerate(found) for effect in own}
    stack: list[int] = []  # weights whose rows are there, behind the state's
    stops, most = [], 1
    for place, (layer, own) in enumerate(zip(layers, found, strict=True)):
        first = {effect.weight: effect for effect in reversed(own) if effect.weight not in stack}
        fresh = sorted(first.values(), key=own.index)
        more = [effect for effect in own if effect not in fresh]
        stack += [effect.weight for effect in fresh]
        most = max(most, 1 + len(stack))
        row = {weight: 1 + i for i, weight in enumerate(stack)}
        done = [number for number in range(len(groups)) if end[number] == place]
        left = [weight for weight in stack if member[weight] not in done]
        stops.append(
            Stop(
                fresh=compile_insertion(layer, fresh, circuit.circuit) if fresh else None,
                n_fresh=len(fresh),
                more=compile_insertion(layer, more, circuit.circuit) if more else None,
                rows=torch.tensor([row[effect.weight] for effect in more], dtype=torch.int64),
                leaving=tuple((number, torch.tensor([row[w] for w in groups[number]])) for number in done),
                staying=None if len(left) == len(stack) else torch.tensor([0, *(row[w] for w in left)]),
            )
        )
        stack = left
    last = max(end.values(), default=-1)
    return Plan(tuple(stops[: last + 1]), most)


def layers_of(circuit: CompiledCircuit) -> list[Layer]:
    """The circuit's layers, as its program runs them."""
    if "layers" not in circuit._made:
        circuit._made["layers"] = schedule(circuit.operations, circuit.circuit.quantum_circuit.num_qubits)
    return circuit._made["layers"]


def plan(circuit: CompiledCircuit, groups: Sequence[Sequence[int]], device: torch.device, dtype: torch.dtype) -> Plan:
    """`compile_plan`, once for each device and real `dtype`."""
    key = ("tangents", tuple(map(tuple, groups)))
    if key not in circuit._made:
        circuit._made[key] = compile_plan(circuit, groups)
    placed = (*key, device, dtype)
    if placed not in circuit._made:
        circuit._made[placed] = convert(circuit._made[key], device, dtype)
    return circuit._made[placed]


def gather(
    circuit: CompiledCircuit,
    inputs: Tensor,
    weights: Tensor,
    groups: Sequence[Sequence[int]],
    see: Callable[[int, Tensor, Tensor], Any],
) -> Iterator[list[Any]]:
    """What `see(group, state (b, 2**n), derivatives (k, b, 2**n))` makes of each group's derivative states, for one chunk of
    samples after the other. States are written over behind it. No gradients pass."""
    own = plan(circuit, groups, inputs.device, inputs.dtype)
    n_qubits, complex_ = circuit.circuit.quantum_circuit.num_qubits, inputs.dtype.to_complex()
    state_bytes = own.most * complex_.itemsize << n_qubits
    rows = max(1, len(inputs)) if inputs.device.type != "cpu" else max(1, _CHUNK_BYTES // state_bytes)
    rows = min(rows, max(1, len(inputs)))
    require_memory(n_qubits, 2 * own.most * rows, complex_, inputs.device)
    program = circuit.program(weights.ndim == 2, inputs.device, inputs.dtype, whole=True)
    with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
        for first in range(0, len(inputs), rows):
            part = slice(first, first + rows)
            yield _pass(program, own, inputs[part], weights[part] if weights.ndim == 2 else weights, len(groups), see)


def _pass(program: Program, plan: Plan, inputs: Tensor, weights: Tensor, n_groups: int, see: Any) -> list[Any]:
    seen: list[Any] = [None] * n_groups
    start = program.start.product_state(inputs, weights)
    stack, spare = torch.empty((2, plan.most, len(inputs), start.shape[-1]), dtype=start.dtype, device=start.device)
    stack[0] = start
    height = 1
    steps = [None, *zip(program.steps, program.parameters(inputs, weights), strict=True)]
    for step, stop in zip(steps, plan.stops, strict=False):
        if step is not None:
            stack, spare = _advance(program, *step, stack, spare, height)
        if stop.fresh is not None:
            stack[height : height + stop.n_fresh] = stop.fresh.insert(stack[0], inputs, weights)
            height += stop.n_fresh
        if stop.more is not None:
            stack.index_add_(0, stop.rows, stop.more.insert(stack[0], inputs, weights))
        for group, rows in stop.leaving:
            seen[group] = see(group, stack[0], _rows(stack, rows))
        if stop.staying is not None:
            height = len(stop.staying)
            torch.index_select(stack, 0, stop.staying, out=spare[:height])
            stack, spare = spare, stack
    return seen


def _rows(stack: Tensor, rows: Tensor) -> Tensor:
    return stack.index_select(0, rows)


def _advance(
    program: Program, step: Any, parameters: list[Tensor], stack: Tensor, spare: Tensor, height: int
) -> tuple[Tensor, Tensor]:
    """The first `height` rows behind a step: (stack, spare), which may have changed places."""
    size = stack.shape[-1]
    flat, other = stack[:height].view(-1, size), spare[:height].view(-1, size)
    match step:
        case LocalStep() if all(unitary.ndim == 2 for unitary in parameters):
            result, _ = apply_blocks_between(flat, other, parameters)
            return (stack, spare) if result.data_ptr() == flat.data_ptr() else (spare, stack)
        case LocalStep():
            stack[:height] = _apply_per_sample(stack[:height], parameters)
        case PhaseStep():
            stack[:height] *= step.factors(parameters[0] if parameters else None)
        case PermuteStep():
            torch.index_select(flat, 1, step.source, out=other)
            return spare, stack
        case _:
            flat.copy_(program.apply(step, flat, parameters))
    return stack, spare


def _apply_per_sample(stack: Tensor, unitaries: list[Tensor]) -> Tensor:
    """(S, B, 2**n), where blocks' unitaries (B, d, d) differ from sample to sample; the highest qubits' block first."""
    height, batch, size = stack.shape
    state = stack.transpose(0, 1)
    for unitary in unitaries:
        d = unitary.shape[-1]
        columns = state.reshape(batch, height, d, size // d).mT.reshape(batch, -1, d)
        state = (columns @ unitary.mT).view(batch, height, size)
    return state.transpose(0, 1)
