"""The four parts of a model. Each knows its own output width; widths are handed on once, by `build`, in `MultimodalModel`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeVar

from torch import Tensor, nn

from qmm.config import Configurable
from qmm.errors import InputError
from qmm.quantum import Backend, Circuit, CompiledCircuit, Evaluation, Gradient, expectations
from qmm.types import Context, Features

T = TypeVar("T")


class Part(Configurable, nn.Module, ABC):
    """A module that a configuration can name by `class_path` and a checkpoint can describe as plain data."""


class Encoder(Part):
    """Pre-processed inputs of one modality -> Features. The pre-processing that belongs to it comes with it."""

    dim: int
    """D, the width of what `forward` returns."""

    @property
    @abstractmethod
    def preprocess(self) -> Callable[[Any], Tensor]:
        """One raw sample (picture (3, H, W), `Sound`, str, vector) -> its tensor; picklable, runs in the data workers.

        Tensors that differ in their (only) first dimension are padded by the collation, their lengths handed on. Its `repr`
        tells all that changes its result, since cached features are kept by it.
        """

    @abstractmethod
    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Features:
        """(B, ...) and, for inputs of varying length, (B,) -> Features of width `dim`."""

    def mix(self, values: Tensor, others: Tensor, share: Tensor) -> Tensor:
        """Pre-processed inputs (B, ...) blended with others (B, ...) by shares (B,) in [0, 1], for mixup: linear.

        Override where inputs blend otherwise. Raises InputError for token ids, which do not blend.
        """
        if not values.is_floating_point():
            raise InputError(f"{type(self).__name__} takes token ids, which cannot be blended; set `mixup` to 0")
        weight = share.reshape(-1, *[1] * (values.ndim - 1)).to(values.dtype)
        return weight * values + (1 - weight) * others

    @property
    def frozen(self) -> bool:
        """Whether nothing in it is trained: its features may then be computed once."""
        return not any(p.requires_grad for p in self.parameters())

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and not self.frozen)  # a frozen encoder keeps dropout off


class Compressor(Part):
    """(B, D) -> (B, k) angles between `low` and `high`, in radians."""

    features: int
    """k"""
    low: float
    high: float

    @abstractmethod
    def build(self, in_features: int) -> None:
        """Make the parameters for inputs of width D."""

    @abstractmethod
    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, k) in [low, high]"""

    @property
    def needs_fit(self) -> bool:
        """Whether `fit` must run on the training split before `forward` makes sense."""
        return False

    def fit(self, pooled: Iterable[Tensor]) -> None:
        """Fit on the pooled features (b, D) of the training split, batch by batch."""


class Budget(NamedTuple):
    """What a counterpart has to match: parameters of fusion and decoder together."""

    parameters: int
    decoder_parameters: Callable[[int], int]
    """Width of the fused features -> parameters of the decoder that reads them."""


class WeightedCircuit(NamedTuple):
    """A circuit, and the trained weights that it is run with."""

    circuit: CompiledCircuit
    weights: Tensor
    """(W,), in the order of the circuit's weights, attached to the parameters that they are made of."""


class Perturbation(Configurable, ABC):
    """What is done to circuits while they are trained, to regularise them: gates left out, angles that tremble."""

    @abstractmethod
    def perturb(self, evaluation: Evaluation) -> Evaluation:
        """The circuit, inputs (b, n_inputs) and weights, (W,) or (b, W), to run instead, with the same outputs."""


class RunsCircuits(nn.Module):
    """A module whose circuits run wherever they are told to. None of what says so is part of its state."""

    backend: Backend | None = None
    """None: exactly."""
    gradient: Gradient | None = None
    """How values are differentiated; None: the backend's own way."""
    perturbations: Sequence[Perturbation] = ()
    """Applied one after the other, in training alone."""

    def run_on(self, backend: Backend | None = None, gradient: Gradient | None = None) -> Self:
        """Run its circuits, and those of modules inside it, there from now on; by default exactly. Parameters stay."""
        for module in self.modules():
            if isinstance(module, RunsCircuits):
                module.backend, module.gradient = backend, gradient
        return self

    def expectations(self, circuit: CompiledCircuit, inputs: Tensor, weights: Tensor) -> Tensor:
        """(b, n_outputs) of one of its circuits on its backend: inputs (b, n_inputs), weights (W,) or (b, W)."""
        if self.training:
            for perturbation in self.perturbations:
                circuit, inputs, weights, _ = perturbation.perturb(Evaluation(circuit, inputs, weights))
        return expectations(circuit, inputs, weights, self.backend, self.gradient)

    def weighted_circuits(self) -> dict[str, WeightedCircuit]:
        """Its own circuits by name, with all modalities present, and their weights; not those of modules inside it.

        Optimisers, initialisers and instruments for circuits find what they work on by it (`qmm.circuit_weights`).
        """
        return {}

    def together(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The results of tasks that do not need each other; where circuits travel in jobs, those of all tasks travel in one."""
        return [task() for task in tasks] if self.backend is None else self.backend.together(tasks)


class Fusion(Part, RunsCircuits):
    """Angles by modality -> (B, F). A modality that a sample lacks has no influence on its row."""

    out_features: int
    """F"""

    @abstractmethod
    def build(self, widths: Mapping[str, int]) -> None:
        """Make the parameters for angles of these widths; the order of `widths` is the order of the registers."""

    @abstractmethod
    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) angles and (B,) bool by modality -> (B, F)"""

    def circuits(self, present: Collection[str] | None = None) -> dict[str, Circuit]:
        """The circuits that fuse the modalities in `present` (default: all of them), by name; none for a classical member."""
        return {}

    def initial_layout(self, present: Collection[str] | None = None) -> list[int] | None:
        """The physical qubits of those of its circuit, if it was laid out for a device; None leaves that to the transpiler."""
        return None

    def counterparts(self, budget: Budget) -> dict[str, "Fusion"]:
        """Fusions by name, not yet built, to compare this one with: of the same capacity, computed from the budget.

        A name ends in `-below` and `-above` where whole numbers do not allow a match within 5 %.
        """
        return {}


class Decoder(Part):
    """Fused features (B, F) -> what the user asked for."""

    target: str
    """Name of the target that it learns."""

    @abstractmethod
    def build(self, in_features: int, widths: Mapping[str, int] | None = None) -> None:
        """Make the parameters for features of width F. `widths`: those of the encoders by modality, for a decoder that attends
        to their tokens."""

    @abstractmethod
    def spawn(self, in_features: int) -> "Decoder":
        """A linear decoder of the same targets, built for other features: a branch's auxiliary read-out."""

    @abstractmethod
    def count_parameters(self, in_features: int) -> int:
        """How many of `readers` there are after `build(in_features)`: what fusions are matched in."""

    def readers(self) -> Iterable[nn.Parameter]:
        """The parameters that read fused features: all of them, unless it contains a model with a life of its own."""
        return self.parameters()

    @abstractmethod
    def forward(self, features: Tensor, context: Context | None = None) -> Any:
        """(B, F) -> raw outputs: logits (B, C), values (B, 1), ..."""

    @abstractmethod
    def loss(self, outputs: Any, targets: Mapping[str, Any]) -> Tensor:
        """Scalar, the mean over the batch."""

    def losses(self, outputs: Any, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Scalars by name, weighted, whose sum is `loss`: more than one where several decoders are trained together."""
        return {"decoder": self.loss(outputs, targets)}

    @abstractmethod
    def score(self, outputs: Any) -> Any:
        """Outputs as metrics compare them with targets: probabilities (B, C), values (B,), B sentences."""

    @abstractmethod
    def predict(self, outputs: Any) -> list[Any]:
        """Outputs in the user's terms: a list of B NamedTuples."""
