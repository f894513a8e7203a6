"""Circuit weights: which parameters of a module are angles of its circuits, and where in the circuits they stand."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from qmm.contracts import RunsCircuits, WeightedCircuit
from qmm.quantum import QuantumLayer


class Place(NamedTuple):
    """A circuit weight that is one element of a parameter, as it stands."""

    parameter: str
    """As in `module.named_parameters()`."""
    element: int
    """Of the parameter, flattened."""


def weighted_circuits(module: nn.Module) -> dict[str, WeightedCircuit]:
    """All circuits with weights inside a module, by the path of what runs them: of every QuantumLayer, and of everything that
    is a `RunsCircuits` (fusions, kernels, quantum compressors) with all modalities present. Whether the weights are trained
    plays no part."""
    found = {}
    for path, inner in module.named_modules():
        if isinstance(inner, QuantumLayer):
            found[path or "layer"] = WeightedCircuit(inner.compiled, inner.weights)
        elif isinstance(inner, RunsCircuits):
            found |= {f"{path}.{name}" if path else name: circuit for name, circuit in inner.weighted_circuits().items()}
    return {name: circuit for name, circuit in found.items() if circuit.weights.numel()}


def circuit_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters that the weights of its circuits depend on, by name, in the order of `named_parameters`."""
    trained = _trained(module)
    felt = set[str]()
    for _, weights in weighted_circuits(module).values():
        if weights.requires_grad:
            found = torch.autograd.grad(weights.sum(), list(trained.values()), allow_unused=True)
            felt |= {name for name, gradient in zip(trained, found, strict=True) if gradient is not None}
    return {name: parameter for name, parameter in trained.items() if name in felt}


def jacobian(weights: Tensor, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """d weights / d parameter, (W, parameter.numel()) of each parameter that the weights (W,) depend on, by name."""
    if not weights.requires_grad:
        return {}
    each = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
    found = torch.autograd.grad(
        weights, list(parameters.values()), each, retain_graph=True, is_grads_batched=True, allow_unused=True
    )
    return {name: rows.flatten(1) for name, rows in zip(parameters, found, strict=True) if rows is not None}


def places(weights: Tensor, parameters: dict[str, nn.Parameter]) -> list[Place] | None:
    """Where each of the weights (W,) stands; None where they are not elements of parameters, each another one, but made of
    them in another way (by a softmax, say)."""
    rows = jacobian(weights, parameters)
    if not rows:
        return None
    joined = torch.cat(list(rows.values()), dim=1)
    picked = joined.argmax(dim=1)
    plain = nn.functional.one_hot(picked, joined.shape[1]).to(joined)
    if not torch.equal(joined, plain) or len(picked.unique()) < len(picked):
        return None
    known = [Place(name, element) for name, own in rows.items() for element in range(own.shape[1])]
    found = [known[column] for column in picked.tolist()]
    with torch.no_grad():
        same = all(parameters[p].flatten()[e] == w for (p, e), w in zip(found, weights, strict=True))
    return found if same else None


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
