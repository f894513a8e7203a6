"""speaker: the part of a decoder that says sentences."""

from typing import Any

from torch import nn

from qmm.contracts import Decoder
from qmm.decoders.sentences import SentenceDecoder
from qmm.errors import InputError


def speaks(module: nn.Module) -> bool:
    """Whether it is a decoder that says sentences, or contains one."""
    return any(isinstance(part, SentenceDecoder) for part in module.modules())


def speaker(decoder: Decoder, outputs: Any) -> tuple[SentenceDecoder, Any]:
    """A SentenceDecoder and its outputs: the decoder itself, or, of several in one, the first part that says sentences.

    Raises InputError where there is none.
    """
    if isinstance(decoder, SentenceDecoder):
        return decoder, outputs
    for name, part in getattr(decoder, "parts", {}).items():
        if isinstance(part, SentenceDecoder):
            return part, outputs[name]
    raise InputError(f"a {type(decoder).__name__} says no sentences; that takes a SentenceDecoder")
