"""What encoders on a library's transformer share: tuning, pooling, and a description that needs no folder of weights."""

import inspect
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from qmm.contracts import Encoder
from qmm.errors import InputError
from qmm.tuning import Tuning, tune


class LibraryEncoder(Encoder):
    """An encoder around `self.model`, whose blocks belong to a library.

    A checkpoint holds its weights and `config_arguments`; both together rebuild it where its folder of weights is gone.
    """

    model: Any
    lora_targets: ClassVar[list[str]]
    """Names of the linear layers that LoRA adapts when `lora` names none."""

    @abstractmethod
    def resolved_arguments(self) -> dict[str, Any]:
        """Arguments that differ from those given because by now their content is known: architecture, tokenizer, ..."""

    def config_arguments(self) -> dict[str, Any]:
        accepted = inspect.signature(type(self).__init__).parameters  # a subclass may fix some of them
        resolved = {k: v for k, v in self.resolved_arguments().items() if k in accepted}
        return super().config_arguments() | resolved

    def tune(self, tuning: Tuning, lora: dict[str, Any] | None, fresh: nn.Module | None = None) -> None:
        """Decide what in `self.model` is trained. With LoRA, `fresh` (a stem that no pretrained weights know) is too."""
        tune(self.model, tuning, lora, self.lora_targets)
        if tuning == "lora" and fresh is not None:
            fresh.requires_grad_(True)
        self.train()  # of a frozen encoder: dropout off from the start, as ever after


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """(B, T, D), (B, T) bool -> (B, D), the mean over real tokens; 0 where there are none."""
    weights = mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


def length_mask(lengths: Tensor | None, values: Tensor) -> Tensor:
    """(B,) lengths, (B, T, ...) -> (B, T) bool; all True where `lengths` is None."""
    if lengths is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return torch.arange(values.shape[1], device=values.device) < lengths.to(values.device).unsqueeze(1)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises InputError unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"{name}={value!r}: expected one of {', '.join(map(repr, choices))}")
