"""MixedDecoder: fused features -> several answers at once, a decoder for each."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qmm.contracts import Decoder
from qmm.decoders.classes import ClassDecoder
from qmm.errors import InputError
from qmm.types import Context, rows_of


class MixedPrediction(NamedTuple):
    parts: dict[str, Any]
    """By part, the prediction of its decoder."""


class MixedDecoder(Decoder):
    """One fused vector, several decoders, each with a target of its own; the loss is the weighted sum of theirs.

    A sample that lacks a part's target (class -1, value NaN, no reference sentence) takes no part in that part's loss, which is
    the mean over the others of the batch, 0 where there are none. Outputs and scores are dictionaries by part.

    Args:
        parts: Decoders by name; the names head their metrics, losses and columns.
        weights: What each part's loss is multiplied by, above 0; default 1 each.
        classes: Handed on to every `ClassDecoder` that names none of its own; the command line takes them from the data.
    """

    def __init__(self, parts: dict[str, Decoder], weights: dict[str, float] | None = None, classes: list[str] | None = None):
        super().__init__()
        _check(parts, weights or {})
        self.parts: Mapping[str, Decoder] = nn.ModuleDict(parts)  # type: ignore[assignment]
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in parts}
        self.classes = classes
        self.target = next(iter(parts.values())).target
        for part in parts.values():
            if isinstance(part, ClassDecoder) and not part.classes and classes is not None:
                part.name_classes(classes)

    @property
    def attends(self) -> bool:
        """Whether one of the parts looks at the encoders' tokens."""
        return any(getattr(part, "attends", False) for part in self.parts.values())

    def build(self, in_features: int, widths: Mapping[str, int] | None = None) -> None:
        for part in self.parts.values():
            part.build(in_features, widths)

    def spawn(self, in_features: int) -> "MixedDecoder":
        """A read-out of one part's target: of the first that names classes, else of the first there is."""
        classes = [name for name, part in self.parts.items() if isinstance(part, ClassDecoder)]
        name = (classes or list(self.parts))[0]
        return MixedDecoder({name: self.parts[name].spawn(in_features)})

    def count_parameters(self, in_features: int) -> int:
        return sum(part.count_parameters(in_features) for part in self.parts.values())

    def readers(self) -> Iterable[nn.Parameter]:
        return chain.from_iterable(part.readers() for part in self.parts.values())

    def forward(self, features: Tensor, context: Context | None = None) -> dict[str, Any]:
        """(B, F) -> every part's outputs."""
        return {name: part(features, context) for name, part in self.parts.items()}

    def loss(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> Tensor:
        return torch.stack(list(self.losses(outputs, targets).values())).sum()

    def losses(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """`decoder_` and a part's name -> its weighted loss."""
        losses = {}
        for name, part in self.parts.items():
            where = self.having(name, targets)
            if where.any():
                loss = part.loss(*(rows_of(value, where) for value in (outputs[name], dict(targets))))
            else:
                loss = _nothing(outputs[name])
            losses[f"decoder_{name}"] = self.weights[name] * loss
        return losses

    def having(self, name: str, targets: Mapping[str, Any]) -> Tensor:
        """(B,) bool, True for the samples that have the target of that part; raises InputError when the data has no such."""
        target = self.parts[name].target
        if target not in targets:
            there = ", ".join(targets) or "none"
            raise InputError(
                f"the part {name!r} learns the target {target!r}, which the data does not have (it has: {there}); "
                "have the data module read it, or leave the part out"
            )
        return has_target(targets[target])

    def score(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Every part's scores."""
        return {name: part.score(outputs[name]) for name, part in self.parts.items()}

    def predict(self, outputs: Mapping[str, Any]) -> list[MixedPrediction]:
        columns = [part.predict(outputs[name]) for name, part in self.parts.items()]
        return [MixedPrediction(dict(zip(self.parts, row, strict=True))) for row in zip(*columns, strict=True)]


def has_target(target: Tensor | Sequence[Any]) -> Tensor:
    """(B,) bool: a class index from 0, a number, at least one sentence."""
    if isinstance(target, Tensor):
        return target >= 0 if not target.is_floating_point() else ~target.isnan()
    return torch.tensor([bool(value) for value in target], dtype=torch.bool)


def _nothing(outputs: Any) -> Tensor:
    """0, that a gradient can be taken of."""
    first = outputs if isinstance(outputs, Tensor) else next(value for value in outputs if isinstance(value, Tensor))
    return first.sum() * 0


def _check(parts: Mapping[str, Decoder], weights: Mapping[str, float]) -> None:
    if not parts:
        raise InputError("a MixedDecoder needs at least one decoder in `parts`, by name, as in {label: ..., sentence: ...}")
    for name, part in parts.items():
        if not name.isidentifier() or name == "id" or hasattr(nn.ModuleDict, name):  # predictions have an id of their own
            raise InputError(f"a part of a MixedDecoder cannot be called {name!r}; take a word such as 'label' or 'sentence'")
        if isinstance(part, MixedDecoder):
            raise InputError(f"the part {name!r} is itself a MixedDecoder; name its parts beside the others")
    for name, weight in weights.items():
        if name not in parts:
            raise InputError(f"a weight is given for {name!r}, which is no part of the MixedDecoder; parts: {', '.join(parts)}")
        if not (weight > 0 and math.isfinite(weight)):
            raise InputError(f"the weight of {name!r} is {weight}, expected a number above 0; leave the part out to drop it")
