"""Vectors of digits: every clip gets a picture of its own digit, no picture twice; a description follows the signal."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits_features", repository / "benchmarks" / "digits_features.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pairs_have_one_digit_and_no_picture_twice(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    digits, labels = rng.integers(0, 10, 200), np.repeat(np.arange(10), 60)
    chosen = script.pair(digits, labels)
    assert (labels[chosen] == digits).all()
    assert len(set(chosen.tolist())) == 200
    assert (script.pair(digits, labels) == chosen).all()
    with pytest.raises(ValueError, match="larger sample"):
        script.pair(np.zeros(61, int), labels)


def test_pictures_become_block_means(script: ModuleType) -> None:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:8, 8:12] = 255
    described = script.describe_picture(pixels)
    assert described.shape == (49,)
    assert described[7 * 1 + 2] == 1
    assert described.sum() == 1


def test_sounds_are_told_apart_by_their_quarters_and_not_by_silence_around_them(script: ModuleType) -> None:
    time = np.arange(4000) / 8000
    low, high = np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 2500 * time)
    up, down = (np.concatenate(parts).astype(np.float32) for parts in ((low, high), (high, low)))
    one, other = script.describe_sound(up).reshape(4, 20), script.describe_sound(down).reshape(4, 20)
    assert one.shape == (4, 20)
    apart = np.linalg.norm(one[0] - other[0])
    assert np.linalg.norm(one[0] - other[3]) < 0.4 * apart
    assert np.linalg.norm(one[3] - other[0]) < 0.4 * apart
    silent = np.concatenate([np.zeros(3000, np.float32), up, np.zeros(2000, np.float32)])
    assert np.linalg.norm(script.describe_sound(silent) - one.ravel()) < 0.4 * np.linalg.norm(other - one)
