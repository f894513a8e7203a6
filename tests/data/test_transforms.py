"""Augmentation: valid outputs, reproducible, nothing changed in place, and each knob does what it says."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmm.config import to_config
from qmm.data import PictureAugmentation, SoundAugmentation
from qmm.errors import InputError
from qmm.types import Sound

PICTURE = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
SOUND = Sound(torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 0.1, 8000)
STILL: dict[str, Any] = {"flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
QUIET: dict[str, Any] = {"gain": 0.0, "shift": 0.0, "noise": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_picture_stays_a_picture(seed: int) -> None:
    augment = PictureAugmentation(scale=(0.1, 1.0), hue=0.2, erase=0.5)
    before = PICTURE.clone()
    got = augment(PICTURE, seeded(seed))
    assert got.shape == PICTURE.shape
    assert got.dtype == torch.float32
    assert 0 <= got.min() <= got.max() <= 1
    assert torch.equal(PICTURE, before)
    assert torch.equal(got, pickle.loads(pickle.dumps(augment))(PICTURE, seeded(seed)))
    assert not torch.equal(got, augment(PICTURE, seeded(seed + 1)))


def test_chance_comes_from_the_generator_alone() -> None:
    first = PictureAugmentation(erase=1.0)(PICTURE, seeded()), SoundAugmentation()(SOUND, seeded())
    torch.manual_seed(99)
    np.random.seed(99)  # the global state is what must not matter
    second = PictureAugmentation(erase=1.0)(PICTURE, seeded()), SoundAugmentation()(SOUND, seeded())
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1].waveform, second[1].waveform)


def test_the_knobs_of_a_picture() -> None:
    assert torch.allclose(PictureAugmentation(scale=(1.0, 1.0), ratio=1.0, **STILL)(PICTURE, seeded()), PICTURE)
    flipped = PictureAugmentation(scale=(1.0, 1.0), ratio=1.0, **{**STILL, "flip": 1.0})(PICTURE, seeded())
    assert torch.allclose(flipped, PICTURE.flip(-1))
    assert PictureAugmentation(size=16)(PICTURE, seeded()).shape == (3, 16, 16)
    erased = PictureAugmentation(scale=(1.0, 1.0), ratio=1.0, erase=1.0, **STILL)(PICTURE, seeded())
    changed = (erased != PICTURE).any(0)
    assert 0.01 < changed.float().mean() < 0.3
    assert (erased[:, changed] == 0.5).all()
    darker = PictureAugmentation(scale=(1.0, 1.0), ratio=1.0, **{**STILL, "brightness": 0.5})
    factors = [(darker(PICTURE * 0.5, seeded(s)).mean() / (PICTURE * 0.5).mean()).item() for s in range(30)]
    assert 0.5 <= min(factors) < 0.7 < 1.3 < max(factors) <= 1.5


def test_a_crop_keeps_the_share_that_it_says() -> None:
    """A picture whose red is its own x coordinate shows how wide each crop was."""
    ramp = torch.linspace(0, 1, 200).expand(3, 200, 200)
    crop = PictureAugmentation(scale=(0.25, 0.25), ratio=1.0, **STILL)
    spans = [(lambda p: (p.max() - p.min()).item())(crop(ramp, seeded(s))) for s in range(20)]
    assert all(abs(span - 0.5) < 0.03 for span in spans)


@given(st.integers(0, 2**31), st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_a_sound_stays_a_sound(seed: int, length: int) -> None:
    sound = Sound(SOUND.waveform[:length], 8000)
    before = sound.waveform.clone()
    got = SoundAugmentation(crop=0.01, noise=1.0)(sound, seeded(seed))
    assert got.waveform.shape == (min(length, 80),)
    assert got.waveform.dtype == torch.float32
    assert got.waveform.isfinite().all()
    assert got.sample_rate == 8000
    assert torch.equal(sound.waveform, before)


def test_the_knobs_of_a_sound() -> None:
    assert torch.equal(SoundAugmentation(**QUIET)(SOUND, seeded()).waveform, SOUND.waveform)
    louder = SoundAugmentation(**{**QUIET, "gain": 6.0})
    gains = [20 * (louder(SOUND, seeded(s)).waveform.norm() / SOUND.waveform.norm()).log10().item() for s in range(40)]
    assert -6.001 <= min(gains) < -4 < 4 < max(gains) <= 6.001
    shifted = SoundAugmentation(**{**QUIET, "shift": 0.5})(SOUND, seeded()).waveform
    assert not torch.equal(shifted, SOUND.waveform)
    assert torch.equal(shifted.sort().values, SOUND.waveform.sort().values)
    noisy = SoundAugmentation(**{**QUIET, "noise": 1.0}, noise_level=(12.0, 12.0))(SOUND, seeded()).waveform
    ratio = 20 * (SOUND.waveform.norm() / (noisy - SOUND.waveform).norm()).log10().item()
    assert ratio == pytest.approx(12, abs=0.01)


def test_a_background(tmp_path: Path) -> None:
    tone = np.sin(np.arange(600) * 0.3).astype(np.float32) * 0.5
    soundfile.write(tmp_path / "tone.wav", tone, 8000, subtype="FLOAT")
    mix = SoundAugmentation(**QUIET, background=str(tmp_path), background_probability=1.0, noise_level=(0.0, 0.0))
    added = mix(SOUND, seeded()).waveform - SOUND.waveform
    assert added.norm() == pytest.approx(SOUND.waveform.norm().item(), rel=1e-4)
    spectrum = torch.fft.rfft(added).abs()
    assert abs(int(spectrum.argmax()) - 0.3 / (2 * np.pi) * 1000) < 3
    with pytest.raises(InputError, match=r"tone\.wav: background at 8000 Hz, the sound has 16000 Hz"):
        mix(Sound(SOUND.waveform, 16000), seeded())
    with pytest.raises(InputError, match="no folder with WAV, FLAC, Ogg or MP3 files"):
        SoundAugmentation(background=str(tmp_path / "none"))


def test_arguments_are_checked_and_recorded() -> None:
    with pytest.raises(InputError, match=r"crop scale \[0.5, 0.2\], ratio"):
        PictureAugmentation(scale=(0.5, 0.2))
    with pytest.raises(InputError, match=r"hue in \[0, 0.5\]"):
        PictureAugmentation(hue=0.6)
    with pytest.raises(InputError, match="noise_level from least to greatest"):
        SoundAugmentation(noise_level=(20.0, 10.0))
    assert to_config(PictureAugmentation(size=16)) == {
        "class_path": "qmm.data.transforms.PictureAugmentation",
        "init_args": {"size": 16},
    }
