"""What encoders on a library's transformer share: tuning, pooling, and a description that needs no folder of weights."""

import inspect
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from qmm.contracts import Encoder
from qmm.errors import InputError

Tuning = Literal["full", "frozen", "lora"]


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
        if tuning not in ("full", "frozen", "lora"):
            raise InputError(f"tuning={tuning!r}: expected 'full', 'frozen' or 'lora'")
        if lora is not None and tuning != "lora":
            raise InputError(f"lora={lora} is given, but tuning={tuning!r}; set tuning='lora', or leave lora out")
        if tuning == "full":
            return
        self.model.requires_grad_(False)
        if tuning == "lora":
            _add_lora(self.model, {"target_modules": self.lora_targets, **(lora or {})})
            if fresh is not None:
                fresh.requires_grad_(True)
        self.train()  # of a frozen encoder: dropout off from the start, as ever after


def _add_lora(model: nn.Module, lora: dict[str, Any]) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    names = {"alpha": "lora_alpha", "dropout": "lora_dropout"}
    try:
        inject_adapter_in_model(LoraConfig(**{names.get(k, k): v for k, v in lora.items()}), model)
    except (TypeError, ValueError) as error:
        expected = "r, alpha, dropout, target_modules, or other fields of peft.LoraConfig"
        raise InputError(f"lora={lora} cannot be applied: {error}. Expected {expected}") from error


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
