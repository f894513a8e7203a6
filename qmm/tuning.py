"""What of a pretrained model is trained: all of it, nothing, or low-rank adapters (LoRA, arXiv:2106.09685) by peft."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from qmm.errors import InputError

Tuning = Literal["full", "frozen", "lora"]


def tune(model: nn.Module, tuning: Tuning, lora: dict[str, Any] | None, targets: Sequence[str]) -> None:
    """Set what of `model` requires a gradient. With LoRA, linear layers that end in one of `targets` get adapters, unless
    `lora` (r, alpha, dropout, target_modules, or other fields of peft.LoraConfig) names others.

    Raises InputError for an unknown `tuning`, and for adapters that cannot be applied.
    """
    if tuning not in ("full", "frozen", "lora"):
        raise InputError(f"tuning={tuning!r}: expected 'full', 'frozen' or 'lora'")
    if lora is not None and tuning != "lora":
        raise InputError(f"lora={lora} is given, but tuning={tuning!r}; set tuning='lora', or leave lora out")
    if tuning == "full":
        return
    model.requires_grad_(False)
    if tuning == "lora":
        _add_lora(model, {"target_modules": list(targets), **(lora or {})})


def _add_lora(model: nn.Module, lora: dict[str, Any]) -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, whose matrix lies the other way round

    names = {"alpha": "lora_alpha", "dropout": "lora_dropout"}
    targets = lora["target_modules"]
    wanted = (targets,) if isinstance(targets, str) else tuple(targets)
    transposed = any(isinstance(layer, Conv1D) and name.endswith(wanted) for name, layer in model.named_modules())
    try:
        config = LoraConfig(**{"fan_in_fan_out": transposed, **{names.get(k, k): v for k, v in lora.items()}})
        inject_adapter_in_model(config, model)
    except (TypeError, ValueError) as error:
        expected = "r, alpha, dropout, target_modules, or other fields of peft.LoraConfig"
        raise InputError(f"lora={lora} cannot be applied: {error}. Expected {expected}") from error
