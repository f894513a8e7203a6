"""What a fusion and its circuits cost: counted, measured on the simulator, estimated for hardware."""

import statistics
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmm.circuits import across_registers, count, drop_unfelt, settings, shots, state_bytes
from qmm.contracts import Fusion
from qmm.quantum import Circuit, CompiledCircuit, expectations

_POINTS = 4  # random angles at which gradients are taken
_IDLE = 1e-9  # a gradient this small at all of them is none; complex128 is exact to some 1e-14
_WIDEST = 20  # qubits up to which they are computed exactly
_STEPS, _SECONDS = 30, 2.0  # a step is timed so often, and no longer


class Step(NamedTuple):
    """Forward and backward of the fusion alone, as a training step does them."""

    batch: int
    milliseconds: float
    """Median."""
    times: int
    """How often it was run, after a first time that compiles."""


def circuit_costs(circuit: Circuit, precision: float, batch: int) -> dict[str, Any]:
    """By name: counts of the circuit as written, how it is measured, what simulating it takes. `dead` are the weights that
    reach no output, whatever the angles."""
    return {
        **count(circuit)._asdict(),
        "gates_across_registers": len(across_registers(circuit.quantum_circuit)),
        "dead": dead_weights(circuit),
        "measurement_settings": len(settings(circuit)),
        "shots": shots(circuit, precision),
        "precision": precision,
        "state_bytes": state_bytes(circuit, batch),
    }


def dead_weights(circuit: Circuit, seed: int = 0) -> list[str]:
    """Names of the weights in which no output has a gradient, at random angles: exact gradients of a random sum of the
    outputs, zero at every point. Of circuits of many qubits, those that are outside of the light cone of the outputs."""
    if not circuit.weights:
        return []
    if circuit.quantum_circuit.num_qubits > _WIDEST:
        felt = set(drop_unfelt(circuit).weights)
        return [weight.name for weight in circuit.weights if weight not in felt]
    generator = torch.Generator().manual_seed(seed)

    def angles(number: int) -> Tensor:
        return (2 * torch.rand(_POINTS, number, generator=generator, dtype=torch.float64) - 1) * torch.pi

    inputs, weights = angles(len(circuit.inputs)), angles(len(circuit.weights)).requires_grad_()
    values = expectations(CompiledCircuit(circuit), inputs, weights)
    values.mul(torch.randn(values.shape, generator=generator, dtype=torch.float64)).sum().backward()
    assert weights.grad is not None
    reached = (weights.grad.abs() > _IDLE).any(dim=0).tolist()
    return [weight.name for weight, alive in zip(circuit.weights, reached, strict=True) if not alive]


def time_step(fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Step:
    """On this machine, now; gradients to features and weights."""
    inputs = {m: x.clone().requires_grad_() for m, x in features.items()}
    taken: list[float] = []
    began = time.perf_counter()
    while not taken or (len(taken) <= _STEPS and time.perf_counter() - began < _SECONDS):
        start = time.perf_counter()
        fused = fusion(inputs, present)
        if fused.requires_grad:
            fused.sum().backward()
        taken.append(time.perf_counter() - start)
    fusion.zero_grad()
    timed = taken[1:] or taken
    return Step(len(next(iter(features.values()))), 1e3 * statistics.median(timed), len(timed))


def parameters(fusion: Fusion, circuits: Mapping[str, Circuit]) -> dict[str, int]:
    """All that is in it, what of it is trained, and how many of the circuits' angles are weights."""
    return {
        "total": sum(p.numel() for p in fusion.parameters()),
        "trained": sum(p.numel() for p in fusion.parameters() if p.requires_grad),
        "in_circuits": sum(len(circuit.weights) for circuit in circuits.values()),
    }
