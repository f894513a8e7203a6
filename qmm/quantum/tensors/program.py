"""The circuit as batched torch: schedule -> read-out -> tables, once; then all samples of a batch together, on any device."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter
from torch import Tensor

from qmm.quantum.angles import free_parameters
from qmm.quantum.circuit import Circuit
from qmm.quantum.operations import Dense, Operation, Permutation, Phase, Rotation
from qmm.quantum.schedule import Layer, fold_end, schedule
from qmm.quantum.tensors.readout import Readout, compile_readout
from qmm.quantum.tensors.runs import Runs, apply_blocks, apply_blocks_between, compile_runs
from qmm.quantum.tensors.steps import DenseStep, PermuteStep, PhaseStep, compile_dense, compile_permutation, compile_phases


class LocalStep(NamedTuple):
    """A local layer, by its place among those that are made together."""

    per_sample: bool
    layer: int


Step: TypeAlias = LocalStep | PhaseStep | PermuteStep | DenseStep


class Program(NamedTuple):
    """What a circuit was compiled into."""

    n_qubits: int
    start: Runs
    """One layer, applied to |0...0> by outer products."""
    shared: Runs | None
    """The local layers that are the same for all samples."""
    per_sample: Runs | None
    """Those that are not."""
    steps: tuple[Step, ...]
    readout: Readout

    def run(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """(B, n_inputs) and (W,) or, if compiled so, (B, W) -> (B, n_outputs), differentiable as often as one likes."""
        return self.read(self.state(inputs, weights), len(inputs))

    def state(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """What is read: (B, 2**n), or (1, 2**n) where nothing differs between samples; without its end where that is left to
        the read-out."""
        state = self.start.product_state(inputs, weights)
        for step, parameters in zip(self.steps, self.parameters(inputs, weights), strict=True):
            state = self.apply(step, state, parameters)
        return state

    @torch.no_grad()
    def infer(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """What `run` gives, without a graph: two buffers take turns, since fresh memory costs a page fault every 4 KiB."""
        state = self.start.product_state(inputs, weights)
        spare = torch.empty_like(state)
        for step, parameters in zip(self.steps, self.parameters(inputs, weights), strict=True):
            match step:
                case LocalStep() if all(u.ndim == 2 or len(u) == len(state) for u in parameters):
                    state, spare = apply_blocks_between(state, spare, parameters)
                case PermuteStep():
                    state, spare = torch.index_select(state, -1, step.source, out=spare), state
                case _:  # the batch may grow here
                    state = self.apply(step, state, parameters)
                    spare = spare if spare.shape == state.shape else torch.empty_like(state)
        return self.read(state, len(inputs))

    def parameters(self, inputs: Tensor, weights: Tensor) -> list[list[Tensor]]:
        """What each step is made of: blocks' unitaries of local layers, angles of phases that are not all fixed."""
        made = {
            False: self.shared.layers(inputs, weights) if self.shared else [],
            True: self.per_sample.layers(inputs, weights) if self.per_sample else [],
        }
        found = []
        for step in self.steps:
            match step:
                case LocalStep(per_sample, layer):
                    found.append(made[per_sample][layer])
                case PhaseStep():
                    angles = step.values(inputs, weights)
                    found.append([] if angles is None else [angles])
                case _:
                    found.append([])
        return found

    def apply(self, step: "Step", state: Tensor, parameters: list[Tensor], inverse: bool = False) -> Tensor:
        """(b, 2**n) -> (b or B, 2**n): the state keeps a batch of one until the first step that differs between samples."""
        match step:
            case LocalStep():
                return apply_blocks(state, [u.mH for u in parameters] if inverse else parameters)
            case PhaseStep():
                factors = step.factors(parameters[0] if parameters else None)
                return state * (factors.conj() if inverse else factors)
            case PermuteStep():
                return state.index_select(-1, step.image if inverse else step.source)
            case DenseStep():
                return step.apply(state, step.matrix.mH if inverse else step.matrix)

    def read(self, state: Tensor, batch: int) -> Tensor:
        """(b, 2**n) -> (batch, n_outputs)"""
        values = self.readout.expectations(state)
        return values.expand(batch, values.shape[-1])


def convert(node: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A copy of a Program, or of a part of one, on `device`, of the real `dtype` and the complex one that belongs to it."""
    kinds = {torch.float64: dtype, torch.complex128: dtype.to_complex(), torch.int64: torch.int64, torch.int32: torch.int32}
    return _map(node, lambda table: table.to(device, kinds[table.dtype]))


def _map(node: Any, function: Any) -> Any:
    if isinstance(node, Tensor):
        return function(node)
    if isinstance(node, tuple):
        parts = [_map(part, function) for part in node]
        return type(node)(*parts) if hasattr(node, "_fields") else tuple(parts)
    return node


def tensor_layers(circuit: Circuit, operations: Sequence[Operation]) -> tuple[list[Layer], NDArray[np.int64] | None]:
    """The layers, and where a last permutation that is left to the read-out takes each basis state."""
    n = circuit.quantum_circuit.num_qubits
    return fold_end(schedule(operations, n), circuit.observables, n)


def compile_program(
    circuit: Circuit, operations: Sequence[Operation], varying: Collection[Parameter], whole: bool = False
) -> Program:
    """`operations`: the lowered circuit; `varying`: its parameters that differ from sample to sample; `whole`: leave nothing
    of it to the read-out, so that `state` is the circuit's own.

    Tables in float64 and complex128, on the CPU. Raises CircuitError for angles that are not real.
    """
    n, inputs, weights = circuit.quantum_circuit.num_qubits, circuit.inputs, circuit.weights
    layers, moved = (schedule(operations, n), None) if whole else tensor_layers(circuit, operations)
    start, *layers = layers
    readout = compile_readout(circuit.observables, moved, n)
    made: dict[bool, list[Layer]] = {False: [], True: []}
    steps: list[Step] = []
    for layer in layers:
        match layer.operations:
            case [Dense() as operation]:
                steps.append(compile_dense(operation))
            case [Permutation(), *_] as operations:
                steps.append(compile_permutation(operations, n))
            case [Phase(), *_] as operations:
                steps.append(compile_phases(operations, n, inputs, weights))
            case operations:
                per_sample = _varies(operations, varying)
                steps.append(LocalStep(per_sample, len(made[per_sample])))
                made[per_sample].append(layer)
    shared, per_sample_ = (
        compile_runs([layer.operations for layer in made[kind]], n, inputs, weights) if made[kind] else None for kind in made
    )
    return Program(n, compile_runs([start.operations], n, inputs, weights), shared, per_sample_, tuple(steps), readout)


def _varies(operations: Iterable[Any], varying: Collection[Parameter]) -> bool:
    return any(free_parameters(op.angle).intersection(varying) for op in operations if isinstance(op, Rotation))
