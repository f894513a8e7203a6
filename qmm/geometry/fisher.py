"""The Fubini-Study metric of a circuit's weights, a quarter of its quantum Fisher information: exact, from the engine."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.geometry.derivatives import gather, kept, layers_of, plan
from qmm.geometry.insertions import effects
from qmm.quantum import Circuit, CompiledCircuit
from qmm.quantum.layer import check_finite, check_shapes

Kind: TypeAlias = Literal["full", "block", "diagonal"]
KINDS = ("full", "block", "diagonal")


def fubini_study(
    circuit: Circuit | CompiledCircuit,
    inputs: Tensor,
    weights: Tensor,
    kind: Kind = "full",
    blocks: Sequence[Sequence[int]] | None = None,
    mean: bool = False,
) -> Tensor:
    """g_ij = Re <d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi> of each sample's state (arXiv:1909.02108).

    The quantum Fisher information is 4 g. All derivative states come from one pass over the circuit, all samples together;
    it needs no gradient and gives none.

    Args:
        circuit: Compile it once (`CompiledCircuit(circuit)`) where it is used often.
        inputs: (B, n_inputs) radians.
        weights: (W,), or (B, W) for weights of each sample's own. Their dtype is the precision: float64 computes in
            complex128, anything else in complex64.
        kind: "full"; "block", where what lies between different blocks is taken to be 0 and not computed, which spares most
            of the time; "diagonal".
        blocks: Places of the weights in each block, each weight at most once; those in none have a block each. By default
            `weight_blocks`.
        mean: Over the samples, which takes less time than the mean of what comes otherwise.

    Returns:
        (B, W, W), or (B, W) of a diagonal; with `mean` (W, W) or (W,). A weight that no gate depends on has zeros.

    Raises InputError for an unknown kind, blocks that do not fit, or no samples; CircuitError as `expectations` does.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    inputs, weights = checked(compiled, inputs, weights)
    own = plan(compiled, _groups(compiled, kind, blocks), inputs.device, inputs.dtype)
    batch, n_weights = len(inputs), weights.shape[-1]
    if not compiled.circuit.inputs and weights.ndim == 1:
        inputs = inputs[:1]  # all samples alike

    def see(_: int, state: Tensor, derivatives: Tensor) -> Tensor:
        return (_squares if kind == "diagonal" else _metric)(state, derivatives, mean)

    chunks = list(gather(compiled, inputs, weights, own, see))
    parts = [sum(group) / len(inputs) if mean else torch.cat(group) for group in zip(*chunks, strict=True)]
    shape = () if mean else (len(inputs),)
    metric = weights.new_zeros(*shape, *[n_weights] * (2 - (kind == "diagonal")))
    for group, part in zip(own.groups, parts, strict=True):
        places = torch.tensor(group, device=weights.device)
        if kind == "diagonal":
            metric[..., places] = part
        else:
            metric[..., places[:, None], places] = part
    return metric if mean else metric.expand(batch, *metric.shape[1:])


def tangents(circuit: Circuit | CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """(B, W, 2**n) complex: each weight's derivative of each sample's state, d_i psi - <psi|d_i psi> psi, up to a phase of the
    sample. The metric is `(t @ t.mH).real`, so that it need not be made where its products with vectors are enough.

    Arguments and errors as in `fubini_study`.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    inputs, weights = checked(compiled, inputs, weights)
    own = plan(compiled, _groups(compiled, "full", None), inputs.device, inputs.dtype)
    size = 2**compiled.circuit.quantum_circuit.num_qubits
    made = weights.new_zeros((len(inputs), weights.shape[-1], size), dtype=weights.dtype.to_complex())

    def see(_: int, state: Tensor, derivatives: Tensor) -> Tensor:
        along = torch.linalg.vecdot(state[:, None], derivatives, dim=0)
        return (derivatives - along * state[:, None]).permute(2, 1, 0)

    for group in own.groups:
        made[:, list(group)] = torch.cat([chunk[0] for chunk in gather(compiled, inputs, weights, own, see)])
    return made


def weight_blocks(circuit: Circuit | CompiledCircuit) -> list[list[int]]:
    """Places of the weights that stand in one layer of the circuit: the blocks of a block-diagonal metric.

    A layer is what the engine does at once: a run of rotations on each qubit, or a row of diagonal gates. A weight of
    several gates belongs to its first.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    return [list(block) for block in kept(compiled, "blocks", lambda: _blocks(compiled))]


def _blocks(circuit: CompiledCircuit) -> list[list[int]]:
    found = list[list[int]]()
    placed = set[int]()
    for layer in layers_of(circuit):
        own = sorted({effect.weight for effect in effects(layer, circuit.circuit.weights)} - placed)
        placed.update(own)
        found += [own] if own else []
    return found


def checked(circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and weights, detached, in one precision and on one device. Raises what `fubini_study` says of them."""
    check_shapes(circuit.circuit, inputs, weights)
    if not len(inputs):
        raise InputError("a metric of no samples; give (B, n_inputs) inputs with B of at least 1")
    real = torch.float64 if weights.dtype == torch.float64 else torch.float32
    inputs, weights = inputs.detach().to(weights.device, real), weights.detach().to(real)
    check_finite(circuit.circuit, inputs, weights)
    return inputs, weights


def entries(circuit: CompiledCircuit, kind: str, blocks: Sequence[Sequence[int]] | None = None) -> Tensor:
    """(W, W) bool: which entries of a metric of this kind are not taken to be 0. Raises InputError as `fubini_study` does."""
    groups, wanted = _groups(circuit, kind, blocks), torch.eye(len(circuit.circuit.weights), dtype=torch.bool)
    for group in () if kind == "diagonal" else groups:
        wanted[torch.tensor(group)[:, None], torch.tensor(group)] = True
    return wanted


def _groups(circuit: CompiledCircuit, kind: str, blocks: Sequence[Sequence[int]] | None) -> list[tuple[int, ...]]:
    """Weights whose derivatives pass the circuit together, of those that stand in a gate."""
    if kind not in KINDS:
        raise InputError(f"kind={kind!r}; choose one of {', '.join(KINDS)}")
    if blocks is not None and kind != "block":
        raise InputError(f"blocks with kind={kind!r}; leave them out, or set kind='block'")
    layers = weight_blocks(circuit)
    used = [weight for block in layers for weight in block]
    if kind == "full":
        return [tuple(used)] if used else []
    if blocks is None:
        return [tuple(block) for block in layers]
    named = [weight for block in blocks for weight in block]
    n_weights = len(circuit.circuit.weights)
    if len(set(named)) < len(named) or not set(named) <= set(range(n_weights)):
        raise InputError(f"blocks {[list(b) for b in blocks]}; give each of the places 0 to {n_weights - 1} at most once")
    own = [tuple(weight for weight in block if weight in used) for block in blocks]
    return [*(block for block in own if block), *((weight,) for weight in used if weight not in named)]


def _metric(state: Tensor, derivatives: Tensor, total: bool) -> Tensor:
    """(2**n, b) and (2**n, k, b) -> (b, k, k), or (k, k), the sum over samples.

    <psi|d psi> is imaginary, since psi keeps its length: the real product of i psi and d psi is all of it.
    """
    if total:
        phases = (derivatives * state.conj()[:, None]).sum(0).imag
        vectors = torch.view_as_real(derivatives).transpose(0, 1).flatten(1)
        return torch.addmm(vectors @ vectors.mT, phases, phases.mT, alpha=-1)
    along = torch.view_as_real(1j * state).transpose(0, 1).flatten(1)
    vectors = torch.view_as_real(derivatives).permute(2, 1, 0, 3).flatten(2)
    phases = vectors @ along[..., None]
    return torch.baddbmm(vectors @ vectors.mT, phases, phases.mT, alpha=-1)


def _squares(state: Tensor, derivatives: Tensor, total: bool) -> Tensor:
    """(2**n, b) and (2**n, k, b) -> (b, k), or (k,): the diagonal of `_metric`."""
    phases = torch.linalg.vecdot(state[:, None], derivatives, dim=0).imag
    squares = torch.view_as_real(derivatives).square().sum((0, 3)) - phases.square()
    return squares.sum(1) if total else squares.mT
