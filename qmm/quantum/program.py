"""Compile and run: lower -> schedule -> read-out -> tables, once for a circuit; then all samples of a batch together."""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from qmm.quantum.angles import free_parameters
from qmm.quantum.circuit import Circuit
from qmm.quantum.lower import lower
from qmm.quantum.operations import Dense, Permutation, Phase, Rotation
from qmm.quantum.readout import Readout, compile_readout, fold_end
from qmm.quantum.runs import Runs, apply_blocks, compile_runs
from qmm.quantum.schedule import Layer, schedule
from qmm.quantum.steps import DenseStep, PermuteStep, PhaseStep, compile_dense, compile_permutation, compile_phases


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
        """(B, n_inputs) and (W,) or, if compiled so, (B, W) -> (B, n_observables)

        The state keeps a batch of one until the first operation that differs from sample to sample.
        """
        made = {
            False: self.shared.layers(inputs, weights) if self.shared else [],
            True: self.per_sample.layers(inputs, weights) if self.per_sample else [],
        }
        state = self.start.product_state(inputs, weights)
        for step in self.steps:
            match step:
                case LocalStep(per_sample, layer):
                    state = apply_blocks(state, made[per_sample][layer])
                case PhaseStep():
                    state = step.apply(state, inputs, weights)
                case _:
                    state = step.apply(state)
        values = self.readout.expectations(state)
        return values.expand(len(inputs), values.shape[-1])

    def to(self, device: torch.device, dtype: torch.dtype) -> "Program":
        """A copy whose tables are on `device`, of the real `dtype` and the complex one that belongs to it."""
        kinds = {torch.float64: dtype, torch.complex128: dtype.to_complex(), torch.int64: torch.int64}
        return _map(self, lambda table: table.to(device, kinds[table.dtype]))


def _map(node: Any, function: Any) -> Any:
    if isinstance(node, Tensor):
        return function(node)
    if isinstance(node, tuple):
        parts = [_map(part, function) for part in node]
        return type(node)(*parts) if hasattr(node, "_fields") else tuple(parts)
    return node


def compile_circuit(circuit: Circuit, weights_per_sample: bool = False) -> Program:
    """Compile for weights that all samples share, or for weights of their own; tables in float64 and complex128, on the CPU.

    Raises CircuitError when the circuit cannot be simulated exactly.
    """
    circuit.check()
    n, inputs, weights = circuit.quantum_circuit.num_qubits, circuit.inputs, circuit.weights
    varying = frozenset((*inputs, *weights) if weights_per_sample else inputs)
    layers, moved = fold_end(schedule(lower(circuit.quantum_circuit), n), circuit.observables, n)
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


def _varies(operations: Iterable[Any], varying: frozenset[Any]) -> bool:
    return any(free_parameters(op.angle) & varying for op in operations if isinstance(op, Rotation))
