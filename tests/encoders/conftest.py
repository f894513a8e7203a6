from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from qmm.config import to_config
from qmm.contracts import Encoder


def _built(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"class_path", "init_args"}:
        module, name = value["class_path"].rsplit(".", 1)
        return getattr(import_module(module), name)(**{k: _built(v) for k, v in value["init_args"].items()})
    return value


@pytest.fixture
def rebuilt() -> Callable[[Encoder], Any]:
    """An encoder's plain-data description and its weights -> another encoder, built from these two alone."""

    def rebuild(encoder: Encoder) -> Any:
        twin = _built(to_config(encoder))
        twin.load_state_dict(encoder.state_dict(), strict=True)
        assert [n for n, p in twin.named_parameters() if p.requires_grad] == [
            n for n, p in encoder.named_parameters() if p.requires_grad
        ]
        return twin.eval()

    return rebuild


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_HUB_OFFLINE=1 does, but after the import: no waiting for a hub that is not there."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
