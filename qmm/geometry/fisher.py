"""The Fubini-Study metric of a circuit's weights, a quarter of its quantum Fisher information: exact, from the engine."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.geometry.insertions import effects
from qmm.geometry.tangents import gather, layers_of
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
    inputs, weights = _checked(compiled, inputs, weights)
    groups = _groups(compiled, kind, blocks)
    batch, n_weights = len(inputs), weights.shape[-1]
    if not compiled.circuit.inputs and weights.ndim == 1:
        inputs = inputs[:1]  # all samples alike

    def see(group: int, state: Tensor, derivatives: Tensor) -> Tensor:
        return _squares(state, derivatives, mean) if kind == "diagonal" else _metric(state, derivatives, mean)

    flat = kind == "diagonal"
    found = []
    for chunk in gather(compiled, inputs, weights, groups, see):
        rows = () if mean else (len(chunk[0]) if chunk else len(inputs),)
        metric = weights.new_zeros(*rows, *[n_weights] * (2 - flat))
        for group, part in zip(groups, chunk, strict=True):
            places = torch.tensor(group, device=weights.device)
            if flat:
                metric[..., places] = part
            else:
                metric[..., places[:, None], places] = part
        found.append(metric)
    if mean:
        return torch.stack(found).sum(0) / len(inputs)
    return torch.cat(found).expand(batch, *found[0].shape[1:])


def tangents(circuit: Circuit | CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
    """(B, W, 2**n) complex: each weight's derivative of each sample's state, d_i psi - <psi|d_i psi> psi, up to a phase of the
    sample. The metric is `(t @ t.mH).real`, so that it need not be made where its products with vectors are enough.

    Arguments and errors as in `fubini_study`.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    inputs, weights = _checked(compiled, inputs, weights)
    (group,) = _groups(compiled, "full", None) or [()]
    size = 2**compiled.circuit.quantum_circuit.num_qubits
    made = weights.new_zeros((len(inputs), weights.shape[-1], size), dtype=weights.dtype.to_complex())
    if not group:
        return made

    def see(_: int, state: Tensor, derivatives: Tensor) -> Tensor:
        along = torch.linalg.vecdot(state, derivatives)
        return (derivatives - along[..., None] * state).transpose(0, 1)

    made[:, list(group)] = torch.cat([chunk[0] for chunk in gather(compiled, inputs, weights, [group], see)])
    return made


def weight_blocks(circuit: Circuit | CompiledCircuit) -> list[list[int]]:
    """Places of the weights that stand in one layer of the circuit: the blocks of a block-diagonal metric.

    A layer is what the engine does at once: a run of rotations on each qubit, or a row of diagonal gates. A weight of
    several gates belongs to its first.
    """
    compiled = circuit if isinstance(circuit, CompiledCircuit) else CompiledCircuit(circuit)
    found: list[list[int]] = []
    placed: set[int] = set()
    for layer in layers_of(compiled):
        own = sorted({effect.weight for effect in effects(layer, compiled.circuit.weights)} - placed)
        placed.update(own)
        found += [own] if own else []
    return found


def _checked(circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    check_shapes(circuit.circuit, inputs, weights)
    if not len(inputs):
        raise InputError("a metric of no samples; give (B, n_inputs) inputs with B of at least 1")
    real = torch.float64 if weights.dtype == torch.float64 else torch.float32
    inputs, weights = inputs.detach().to(weights.device, real), weights.detach().to(real)
    check_finite(circuit.circuit, inputs, weights)
    return inputs, weights


def _groups(circuit: CompiledCircuit, kind: str, blocks: Sequence[Sequence[int]] | None) -> list[tuple[int, ...]]:
    """Weights whose derivatives meet, of those that stand in a gate."""
    if kind not in KINDS:
        raise InputError(f"kind={kind!r}; choose one of {', '.join(KINDS)}")
    if blocks is not None and kind != "block":
        raise InputError(f"blocks with kind={kind!r}; leave them out, or set kind='block'")
    used = [weight for block in weight_blocks(circuit) for weight in block]
    if kind == "full":
        return [tuple(used)] if used else []
    if kind == "diagonal":
        return [(weight,) for weight in used]
    if blocks is None:
        return [tuple(block) for block in weight_blocks(circuit)]
    named = [weight for block in blocks for weight in block]
    n_weights = len(circuit.circuit.weights)
    if len(set(named)) < len(named) or not set(named) <= set(range(n_weights)):
        raise InputError(f"blocks {[list(b) for b in blocks]}; give each of the places 0 to {n_weights - 1} at most once")
    own = [tuple(weight for weight in block if weight in used) for block in blocks]
    return [*(block for block in own if block), *((weight,) for weight in used if weight not in named)]


def _metric(state: Tensor, derivatives: Tensor, total: bool) -> Tensor:
    """(b, 2**n) and (k, b, 2**n) -> (b, k, k), or (k, k), the sum over samples.

    <psi|d psi> is imaginary, since psi keeps its length: the real product of i psi and d psi is all of it.
    """
    along = torch.view_as_real(1j * state).flatten(-2)
    vectors = torch.view_as_real(derivatives).flatten(-2)
    if total:
        phases = (vectors * along).sum(-1)
        flat = vectors.flatten(1)
        return torch.addmm(flat @ flat.mT, phases, phases.mT, alpha=-1)
    vectors = vectors.transpose(0, 1)
    phases = vectors @ along[..., None]
    return torch.baddbmm(vectors @ vectors.mT, phases, phases.mT, alpha=-1)


def _squares(state: Tensor, derivatives: Tensor, total: bool) -> Tensor:
    """(b, 2**n) and (k, b, 2**n) -> (b, k), or (k,): the diagonal of `_metric`."""
    lengths = torch.view_as_real(derivatives).square().sum((-1, -2))
    squares = (lengths - torch.linalg.vecdot(state, derivatives).imag.square()).mT
    return squares.sum(0) if total else squares
