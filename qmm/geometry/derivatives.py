"""Derivative states: how a circuit's state moves with each of its weights, in one pass over the circuit.

A weight's derivative is put in right behind its gate and carried on with the state; nothing of the circuit is run behind the
last gate that is asked for, since overlaps of the derivatives no longer change there.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from qmm.geometry.insertions import Effect, Part, Phases, Turns, compile_phases, compile_turns, effects
from qmm.quantum.compiled import CompiledCircuit, require_memory
from qmm.quantum.schedule import Layer, schedule
from qmm.quantum.tensors.program import LocalStep, PermuteStep, PhaseStep, Program, convert

_CHUNK_BYTES = 2**22  # of derivative states that pass through the circuit together on a CPU

See = Callable[[int, Tensor, Tensor], Any]
_T = TypeVar("_T")
_KEPT: WeakKeyDictionary[CompiledCircuit, dict[Hashable, Any]] = WeakKeyDictionary()


def kept(circuit: CompiledCircuit, key: Hashable, make: Callable[[], _T]) -> _T:
    """What is made of a circuit once, and goes with it."""
    known = _KEPT.setdefault(circuit, {})
    if key not in known:
        known[key] = make()
    return known[key]


class Stop(NamedTuple):
    """What happens behind a layer: derivatives come in, groups of them that are complete leave."""

    fresh: tuple[Part, ...]
    """Become new rows of the stack, one after the other."""
    more: tuple[Part, ...]
    """Are added to rows that are there already: of weights that stand in several gates."""
    rows: Tensor
    """(m,) of `more`"""
    leaving: tuple[tuple[int, Tensor | None], ...]
    """Groups by number, and their rows, in the order of the group; None: all but the state's."""
    staying: Tensor | None
    """Rows that are kept; None: all."""


class Plan(NamedTuple):
    """A pass over a circuit that gathers derivative states of groups of weights."""

    groups: tuple[tuple[int, ...], ...]
    """Of weights, each in an order of the plan's own."""
    stops: tuple[Stop, ...]
    """Behind the first layers of the circuit; the others are not run."""
    turns: Turns | None
    most: int
    """rows of the stack, the state itself among them"""


def layers_of(circuit: CompiledCircuit) -> list[Layer]:
    """The circuit's layers, as its program runs them."""
    return kept(circuit, "layers", lambda: schedule(circuit.operations, circuit.circuit.quantum_circuit.num_qubits))


def compile_plan(circuit: CompiledCircuit, groups: Sequence[Sequence[int]], whole: bool = False) -> Plan:
    """A pass for groups of weights, each weight in one of them, all of them in some gate; `whole`: to the circuit's end."""
    layers = layers_of(circuit)
    member = {weight: number for number, group in enumerate(groups) for weight in group}
    found = [[e for e in effects(layer, circuit.circuit.weights) if e.weight in member] for layer in layers]
    last = len(layers) - 1 if whole else max((place for place, own in enumerate(found) if own), default=-1)
    layers, found = layers[: last + 1], found[: last + 1]
    end = {member[effect.weight]: last if whole else place for place, own in enumerate(found) for effect in own}
    known = set[int]()
    split: list[tuple[list[Effect], list[Effect]]] = []
    for own in found:
        first = {effect.weight: id(effect) for effect in reversed(own) if effect.weight not in known}
        split.append(([e for e in own if first.get(e.weight) == id(e)], [e for e in own if first.get(e.weight) != id(e)]))
        known |= set(first)
    local = [own if layer.kind == "local" else [] for layer, both in zip(layers, split, strict=True) for own in both]
    turns, placed = compile_turns(local, circuit.circuit)
    parts = []
    for number, own in enumerate(part for both in split for part in both):
        diagonal = own and layers[number // 2].kind == "phase"
        parts.append([(compile_phases(own, circuit.circuit), own)] if diagonal else placed[number])
    return _stops(groups, member, end, turns, list(zip(parts[::2], parts[1::2], strict=True)))


def _stops(groups: Any, member: dict[int, int], end: dict[int, int], turns: Turns | None, parts: list[Any]) -> Plan:
    """Keeps account of the stack: which row is which weight's derivative."""
    stack: list[int] = []  # weights whose rows are there, behind the state's
    stops, most, orders = [], 1, [tuple(group) for group in groups]
    for place, (fresh, more) in enumerate(parts):
        stack += [effect.weight for _, own in fresh for effect in own]
        most = max(most, 1 + len(stack))
        row = {weight: 1 + i for i, weight in enumerate(stack)}
        done = [number for number in range(len(groups)) if end[number] == place]
        left = [weight for weight in stack if member[weight] not in done]
        leaving: list[tuple[int, Tensor | None]] = []
        for number in done:
            alone = len(groups[number]) == len(stack)
            orders[number] = tuple(stack) if alone else orders[number]
            leaving.append((number, None if alone else torch.tensor([row[w] for w in groups[number]])))
        stops.append(
            Stop(
                fresh=tuple(part for part, _ in fresh),
                more=tuple(part for part, _ in more),
                rows=torch.tensor([row[effect.weight] for _, own in more for effect in own], dtype=torch.int64),
                leaving=tuple(leaving),
                staying=None if len(left) == len(stack) else torch.tensor([0, *(row[w] for w in left)]),
            )
        )
        stack = left
    return Plan(tuple(orders), tuple(stops), turns, most)


def plan(
    circuit: CompiledCircuit, groups: Sequence[Sequence[int]], device: torch.device, dtype: torch.dtype, whole: bool = False
) -> Plan:
    """`compile_plan`, once for each device and real `dtype`."""
    key = (tuple(map(tuple, groups)), whole)

    def placed() -> Plan:
        return convert(kept(circuit, key, lambda: compile_plan(circuit, groups, whole)), device, dtype)

    return kept(circuit, (*key, device, dtype), placed)


def gather(circuit: CompiledCircuit, inputs: Tensor, weights: Tensor, plan: Plan, see: See) -> Iterator[list[Any]]:
    """What `see(group, state (2**n, b), derivatives (2**n, k, b))` makes of each group's derivative states, for one chunk of
    samples after the other. No gradients pass."""
    n_qubits, complex_ = circuit.circuit.quantum_circuit.num_qubits, inputs.dtype.to_complex()
    state_bytes = plan.most * complex_.itemsize << n_qubits
    rows = len(inputs) if inputs.device.type != "cpu" else max(1, _CHUNK_BYTES // state_bytes)
    require_memory(n_qubits, 3 * plan.most * min(rows, len(inputs)), complex_, inputs.device)
    program = circuit.program(weights.ndim == 2, inputs.device, inputs.dtype, whole=True)
    with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
        for first in range(0, len(inputs), rows):
            part = slice(first, first + rows)
            yield _pass(program, plan, inputs[part], weights[part] if weights.ndim == 2 else weights, see)


def _pass(program: Program, plan: Plan, inputs: Tensor, weights: Tensor, see: See) -> list[Any]:
    seen: list[Any] = [None] * len(plan.groups)
    start = program.start.product_state(inputs, weights)
    stack = start.mT.expand(-1, len(inputs)).contiguous()[:, None]
    matrices = plan.turns.matrices(inputs, weights) if plan.turns else []

    def insert(part: Part) -> Tensor:
        state = stack[:, 0]
        return part.insert(state, inputs, weights) if isinstance(part, Phases) else part.insert(state.contiguous(), matrices)

    steps = [None, *zip(program.steps, program.parameters(inputs, weights), strict=True)]
    for step, stop in zip(steps, plan.stops, strict=False):
        if step is not None:
            stack = _advance(program, *step, stack)
        if stop.fresh:
            stack = torch.cat([stack, *map(insert, stop.fresh)], dim=1)
        if stop.more:
            stack.index_add_(1, stop.rows, torch.cat([*map(insert, stop.more)], dim=1))
        for group, rows in stop.leaving:
            seen[group] = see(group, stack[:, 0], stack[:, 1:] if rows is None else stack.index_select(1, rows))
        if stop.staying is not None:
            stack = stack.index_select(1, stop.staying)
    return seen


def _advance(program: Program, step: Any, parameters: list[Tensor], stack: Tensor) -> Tensor:
    """(2**n, S, B) behind a step."""
    match step:
        case LocalStep() if all(unitary.ndim == 2 for unitary in parameters):
            return _apply_shared(stack, parameters)
        case LocalStep():
            return _apply_per_sample(stack, parameters)
        case PhaseStep():
            return stack.mul_(step.factors(parameters[0] if parameters else None).movedim(-1, 0).reshape(len(stack), 1, -1))
        case PermuteStep():
            return stack.index_select(0, step.source)
    flat = stack.flatten(1).mT
    return program.apply(step, flat, parameters).mT.contiguous().view_as(stack)


def _apply_shared(stack: Tensor, unitaries: list[Tensor]) -> Tensor:
    """Blocks' unitaries (d, d), the highest qubits' first."""
    shape, higher = stack.shape, 1
    for unitary in unitaries:
        d = len(unitary)
        stack = unitary @ stack.view(higher, d, -1)
        higher *= d
    return stack.view(shape)


def _apply_per_sample(stack: Tensor, unitaries: list[Tensor]) -> Tensor:
    """Blocks' unitaries, (d, d) or (B, d, d). Each product moves its block behind the others, as in `apply_blocks`."""
    size, height, batch = stack.shape
    state = stack.permute(2, 1, 0)
    for unitary in unitaries:
        d = unitary.shape[-1]
        columns = state.reshape(batch, height, d, size // d).mT.reshape(batch, -1, d)
        state = (columns @ unitary.mT).view(batch, height, size)
    return state.permute(2, 1, 0).contiguous()
