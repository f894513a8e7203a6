"""Predictions in words: a line for a person, plain data for a program. Another kind joins in by `as_line.register`."""

from functools import singledispatch
from typing import Any

from qmm.decoders.classes import ClassPrediction
from qmm.decoders.embeddings import EmbeddingPrediction
from qmm.decoders.mixed import MixedPrediction
from qmm.decoders.sentences import SentencePrediction
from qmm.decoders.values import ValuePrediction


@singledispatch
def as_line(prediction: Any, top: int = 3) -> str:
    """A line for a person; of classes the `top` most probable."""
    return ", ".join(f"{name} {value}" for name, value in prediction._asdict().items())


@as_line.register
def _(prediction: ClassPrediction, top: int = 3) -> str:
    best = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:top]
    return ", ".join(f"{label} {probability:.1%}" for label, probability in best)


@as_line.register
def _(prediction: ValuePrediction, top: int = 3) -> str:
    return f"{prediction.value:.4g}"


@as_line.register
def _(prediction: SentencePrediction, top: int = 3) -> str:
    return f"{prediction.sentence} ({prediction.score:.2f})"


@as_line.register
def _(prediction: EmbeddingPrediction, top: int = 3) -> str:
    return " ".join(f"{number:.4f}" for number in prediction.embedding)


@as_line.register
def _(prediction: MixedPrediction, top: int = 3) -> str:
    return "; ".join(f"{name}: {as_line(part, top)}" for name, part in prediction.parts.items())


def as_plain(prediction: Any) -> dict[str, Any]:
    """A NamedTuple, others inside included, as JSON writes it; of several parts in one, each under its name."""
    fields = prediction.parts if isinstance(prediction, MixedPrediction) else prediction._asdict()
    return {name: as_plain(value) if hasattr(value, "_asdict") else value for name, value in fields.items()}
