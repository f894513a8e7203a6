"""What Dynamics reads off a training: of its circuits, of the gradients of an epoch, of losses that pull apart."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qmm.circuit_weights import Place, circuit_parameters, places, weighted_circuits
from qmm.circuits import meyer_wallach
from qmm.contracts import RunsCircuits
from qmm.geometry import (
    angle_spread,
    between_registers,
    classical_fisher,
    cosines,
    fubini_study,
    local_effective_dimension,
    output_gradients,
    weight_layers,
)
from qmm.geometry.entanglement import registers_of
from qmm.quantum import CompiledCircuit, Evaluation, ExactBackend, recording, states
from qmm.types import Batch, rows_of

_RANK = 1e-6  # eigenvalues below this share of the largest are directions that do not move the state


class Flatness(NamedTuple):
    """How much of a circuit's outputs still answers to its weights."""

    circuit: str
    n_qubits: int
    weights: int
    slope: float
    """Root mean square of d output / d weight, per radian."""
    flat_layers: tuple[str, ...]
    """Layers whose own slope is below the limit."""
    limit: float

    @property
    def is_plateau(self) -> bool:
        return self.slope < self.limit

    @property
    def shots(self) -> float:
        """For each of a shift rule's two values, until one derivative stands out of the noise: 1 / (2 slope**2)."""
        return math.inf if self.slope == 0 else 1 / (2 * self.slope**2)

    def __str__(self) -> str:
        """In words, with what to try."""
        whole = f"{self.circuit} ({self.n_qubits} qubits, {self.weights} weights)"
        tell = "a flat layer" if not self.is_plateau else "a barren plateau"
        what = f"turning a weight of {whole} by a radian changes an output by {self.slope:.2g} (rms)"
        if self.is_plateau:
            many = "no number of shots shows it" if self.slope == 0 else f"about {self.shots:,.0f} shots show one derivative"
            what += f", below {self.limit:g}; {many}"
        else:
            what += f", but of layer {', '.join(self.flat_layers)} by less than {self.limit:g}"
        return (
            f"{tell}: {what}. Try another start (qmm.initialisers.SmallAngle, IdentityBlocks, AdaInit, or WarmStart from a "
            "classical counterpart), observables of one or two qubits in place of such of all, fewer layers or qubits, an "
            "entangler that joins fewer of them, or layers that join one after the other (qmm.training.LayerwiseGrowth)"
        )


class Circuits(NamedTuple):
    """Circuits of a model with the angles of a few samples."""

    evaluations: dict[str, Evaluation]
    missing: list[str]
    """Those that no sample was run through."""

    @classmethod
    def of(cls, module: nn.Module, tape: Sequence[Evaluation], rows: int) -> "Circuits":
        """The circuits with weights of a module, as a pass that was recorded used them; where it ran others in their place
        (with gates left out, say), at the same inputs."""
        found, missing = dict[str, Evaluation](), list[str]()
        for name, (circuit, weights) in weighted_circuits(module).items():
            same = [e for e in tape if e.circuit is circuit and len(e.inputs)]
            alike = same or [e for e in tape if e.circuit.circuit.inputs == circuit.circuit.inputs and len(e.inputs)]
            if alike:
                inputs = torch.cat([e.inputs.detach() for e in alike])[:rows]
                own = [e.weights.detach() for e in same if e.weights.ndim == 2]
                found[name] = Evaluation(circuit, inputs, torch.cat(own)[:rows] if own else weights.detach())
                continue
            parts = cls._parts(name, circuit, tape, rows)
            found |= parts
            missing += [] if parts else [name]
        return cls(found, missing)

    @staticmethod
    def _parts(name: str, circuit: CompiledCircuit, tape: Sequence[Evaluation], rows: int) -> dict[str, Evaluation]:
        """What ran of a circuit that no sample had all registers of, "fusion[vision+audio]": its first evaluations."""
        found: dict[str, Evaluation] = {}
        for e in tape:
            own = e.circuit.circuit
            if len(e.inputs) and own.weights and set(own.weights) < set(circuit.circuit.weights):
                weights = e.weights.detach()
                angles = e.inputs.detach()[:rows], weights[:rows] if weights.ndim == 2 else weights
                found.setdefault(f"{name}[{'+'.join(registers_of(own))}]", Evaluation(e.circuit, *angles))
        return found


def read_circuit(evaluation: Evaluation, data_size: int) -> dict[str, float]:
    """By name: what the engine tells of a circuit, exactly, at these inputs and weights."""
    circuit, *angles, _ = evaluation
    inputs, weights = (own.to("cpu", torch.float64) for own in angles)
    n_weights = weights.shape[-1]
    found: dict[str, float] = {}
    squares = output_gradients(circuit, inputs, weights).square().mean((0, 1))
    found["output_gradient"] = float(squares.mean().sqrt())
    for layer, own in weight_layers(circuit).items():
        found[f"output_gradient/layer_{layer}"] = float(squares[own].mean().sqrt())
    quantum = torch.linalg.eigvalsh(4 * fubini_study(circuit, inputs, weights, mean=True)).clamp(min=0)
    found["quantum_fisher/mean"], found["quantum_fisher/largest"] = float(quantum.mean()), float(quantum[-1])
    found["directions/quantum"] = float((quantum > _RANK * quantum[-1]).sum() / n_weights)
    fisher = classical_fisher(circuit, inputs, weights).mean(0)
    found["classical_fisher/mean"] = float(fisher.trace() / n_weights)
    found["directions/effective_dimension"] = local_effective_dimension(fisher, data_size) / n_weights
    with torch.no_grad():
        vectors = states(circuit, inputs, weights)
    found["entanglement/meyer_wallach"] = float(meyer_wallach(vectors.numpy()).mean())
    for name, bits in between_registers(circuit, vectors).items():
        found[f"entanglement/{name}"] = float(bits.mean())
    found["spread/weights"] = float(angle_spread(weights.reshape(-1, 1)))
    if inputs.shape[1]:
        found["spread/inputs"] = float(angle_spread(inputs).mean())
    return found


def flatness(name: str, circuit: CompiledCircuit, readings: Mapping[str, float], limit: float) -> Flatness:
    """Of what `read_circuit` found."""
    layers = {key.rpartition("_")[2]: value for key, value in readings.items() if key.startswith("output_gradient/layer_")}
    flat = tuple(layer for layer, slope in layers.items() if slope < limit)
    own = circuit.circuit
    return Flatness(name, own.quantum_circuit.num_qubits, len(own.weights), readings["output_gradient"], flat, limit)


class Tally:
    """Gradients of an epoch's steps: norms of the quantum and the classical part, and the variance of each circuit weight's."""

    def __init__(self, module: nn.Module):
        self._quantum = list(circuit_parameters(module).items())
        known = {id(parameter) for _, parameter in self._quantum}
        self._classical = [p for p in module.parameters() if p.requires_grad and id(p) not in known]
        self._layers = list(_layers(module, dict(self._quantum)))
        self._norms: list[Tensor] = []
        self._steps = 0
        self._mean = self._squares = torch.zeros(())

    def add(self) -> None:
        """Count the gradients that the parameters have now. Nothing waits for a device."""
        quantum = [p.grad.detach() for _, p in self._quantum if p.grad is not None]
        classical = [p.grad.detach() for p in self._classical if p.grad is not None]
        if not quantum and not classical:
            return
        nothing = torch.full((), math.nan, device=(quantum or classical)[0].device)
        norms = [nn.utils.get_total_norm(part).to(nothing) if part else nothing for part in (quantum, classical)]
        self._norms.append(torch.stack(norms))
        if quantum and len(quantum) == len(self._quantum):
            flat = torch.cat([gradient.flatten().to(nothing) for gradient in quantum])
            self._steps += 1  # Welford's sums
            away = flat - self._mean.to(flat)
            self._mean = self._mean.to(flat) + away / self._steps
            self._squares = self._squares.to(flat) + away * (flat - self._mean)

    def readings(self) -> dict[str, float]:
        """By name, means over the steps."""
        if not self._norms:
            return {}
        norms = torch.stack(self._norms).double().cpu()
        columns = zip(("quantum", "classical"), norms.nanmean(0).tolist(), strict=True)
        found = {f"gradient_norm/{name}": norm for name, norm in columns if math.isfinite(norm)}
        shares = norms[:, 0].square() / norms.square().sum(1)
        if shares.isfinite().any():
            found["gradient_share/quantum"] = float(shares.nanmean())
        if self._steps > 1:
            variance = self._squares.double().cpu() / (self._steps - 1)
            starts = dict(zip(dict(self._quantum), _starts(self._quantum), strict=True))
            for name, own_places in self._layers:
                found[name] = float(variance[[starts[p.parameter] + p.element for p in own_places]].mean())
        return found


def _layers(module: nn.Module, parameters: dict[str, nn.Parameter]) -> Iterator[tuple[str, list[Place]]]:
    for name, (circuit, weights) in weighted_circuits(module).items():
        found = places(weights, parameters)
        if found is None:
            continue  # made of parameters in another way, or not trained: no weight has a gradient of its own
        for layer, own in weight_layers(circuit).items():
            yield f"{name}/loss_gradient_variance/layer_{layer}", [found[place] for place in own]


def _starts(parameters: Sequence[tuple[str, nn.Parameter]]) -> list[int]:
    ends = torch.tensor([0, *(p.numel() for _, p in parameters)]).cumsum(0)
    return ends[:-1].tolist()


def is_exact(module: nn.Module) -> bool:
    """Whether all circuits run on the exact engine, so that running them once more costs nothing but time."""
    return all(isinstance(m.backend, ExactBackend | None) for m in module.modules() if isinstance(m, RunsCircuits))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """No dropout, no perturbed circuits, no new running statistics."""
    modes = {inner: inner.training for inner in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for inner, mode in modes.items():
            inner.training = mode


def read_losses(task: Any, batch: Batch) -> tuple[list[Evaluation], dict[str, float]]:
    """What a task of qmm.tasks evaluates on a batch; of every two of its losses, the cosine of their gradients over the
    parameters that both reach, `conflict/quantum/decoder-vision`, of circuits and of the rest."""
    parameters = {name: p for name, p in task.named_parameters() if p.requires_grad}
    quantum = set(circuit_parameters(task))
    with evaluating(task), torch.enable_grad(), recording() as tape:
        losses = task.model.losses(task(batch), batch)
    trained = {name: loss for name, loss in losses.items() if loss.requires_grad}
    if len(trained) < 2 or not parameters:
        return tape, {}
    gradients = {
        name: torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
        for name, loss in trained.items()
    }
    found: dict[str, float] = {}
    for part, wanted in (("quantum", True), ("classical", False)):
        chosen = [place for place, name in enumerate(parameters) if (name in quantum) == wanted]
        own = {name: [rows[place] for place in chosen] for name, rows in gradients.items()}
        found |= {f"conflict/{part}/{pair}": value for pair, value in cosines(own).items()}
    return tape, found


def first_rows(batch: Batch, rows: int) -> Batch:
    """Some samples of a batch, copied: what comes after may change the batch in place."""
    chosen = rows_of(batch, torch.arange(min(rows, len(batch.ids)), device=next(iter(batch.present.values())).device))
    return chosen
