"""An encoder out of a checkpoint: the same features, frozen or not, and later checkpoints that need no other file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qmm.encoders import FromCheckpoint, TextEncoder, VectorEncoder
from qmm.errors import InputError
from qmm.feature_cache import encoder_fingerprint
from qmm.loading import load
from qmm.types import Sound


@pytest.fixture
def checkpoint(trained: Path) -> Path:
    return trained / "checkpoints" / "last.ckpt"


def raw(modality: str) -> Any:
    return torch.rand(3, 24, 24) if modality == "vision" else Sound(torch.randn(4000), 8000)


@pytest.mark.parametrize("modality", ["vision", "audio"])
def test_it_is_the_encoder_that_was_trained(checkpoint: Path, modality: str) -> None:
    taken, original = FromCheckpoint(str(checkpoint), modality), load(checkpoint).model.branches[modality].encoder
    sample = raw(modality)
    inputs = taken.preprocess(sample).unsqueeze(0)
    assert torch.equal(inputs, original.preprocess(sample).unsqueeze(0))
    with torch.no_grad():
        assert torch.equal(taken(inputs).pooled, original(inputs).pooled)
    assert taken.dim == original.dim
    share = torch.tensor([0.3])
    assert torch.equal(taken.mix(inputs, inputs + 1, share), original.mix(inputs, inputs + 1, share))


def test_frozen_it_stands_still(checkpoint: Path) -> None:
    taken = FromCheckpoint(str(checkpoint), "vision").train()
    assert taken.frozen
    assert not any(module.training for module in taken.modules())
    trained_on = FromCheckpoint(str(checkpoint), "vision", frozen=False).train()
    assert not trained_on.frozen
    assert all(module.training for module in trained_on.modules())


def test_frozen_statistics_stand_still() -> None:
    inner = VectorEncoder(3)
    inner(torch.randn(9, 3))
    taken = FromCheckpoint(encoder=inner).train()
    before = taken(torch.ones(2, 3)).pooled
    taken(torch.full((50, 3), 7.0))
    assert taken.frozen
    assert torch.equal(taken(torch.ones(2, 3)).pooled, before)
    assert not FromCheckpoint(encoder=VectorEncoder(3), frozen=False).frozen


def test_it_is_described_without_the_file(checkpoint: Path, rebuilt: Callable[..., Any], tmp_path: Path) -> None:
    moved = Path(shutil.copy(checkpoint, tmp_path / "moved.ckpt"))
    taken = FromCheckpoint(str(moved), "vision")
    moved.unlink()
    twin = rebuilt(taken)
    assert encoder_fingerprint(twin) == encoder_fingerprint(taken)
    assert encoder_fingerprint(FromCheckpoint(str(checkpoint), "vision")) == encoder_fingerprint(taken)


def test_a_run_with_cached_features_leaves_a_whole_checkpoint(
    checkpoint: Path, qmm: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    moved = Path(shutil.copy(checkpoint, tmp_path / "moved.ckpt"))
    overlay = tmp_path / "features.yaml"
    overlay.write_text(
        "model:\n  init_args:\n    model:\n      audio: null\n      text: null\n      vision:\n        encoder:\n"
        f"          class_path: qmm.encoders.FromCheckpoint\n          init_args: {{checkpoint: {moved}, modality: vision}}\n"
    )
    qmm("fit", *tiny, "--config", overlay, "--runs", tmp_path, "--name", "fused", "--cache", tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    moved.unlink()
    encoder = load(tmp_path / "fused" / "checkpoints" / "last.ckpt").model.branches["vision"].encoder
    original = load(checkpoint).model.branches["vision"].encoder
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), original.parameters(), strict=True))
    assert encoder.frozen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"checkpoint": "gone.ckpt", "modality": "vision"}, "gone.ckpt does not exist"),
        ({"modality": "vision"}, "needs `checkpoint`"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FromCheckpoint(**arguments)


def test_a_modality_that_the_checkpoint_lacks(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="no encoder for modality 'smell'; it has vision, audio, text"):
        FromCheckpoint(str(checkpoint), "smell")


def test_a_class_of_ones_own_is_handed_over() -> None:
    assert isinstance(FromCheckpoint(encoder=TextEncoder()).encoder, TextEncoder)
