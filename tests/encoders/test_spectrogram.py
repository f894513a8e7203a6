"""LogMel against librosa. (KaldiLogMel is held against transformers' ASTFeatureExtractor in test_audio.py.)"""

from typing import Any

import librosa
import numpy as np
import pytest
import torch

from qmm.encoders import KaldiLogMel, LogMel
from qmm.errors import InputError


@pytest.mark.parametrize(
    "settings",
    [
        {"sample_rate": 16_000, "n_mels": 64, "n_fft": 1024, "hop": 320},
        {"sample_rate": 22_050, "n_mels": 128, "n_fft": 2048, "hop": 512, "f_min": 50.0, "f_max": 8000.0},
        {"sample_rate": 8_000, "n_mels": 32, "n_fft": 400, "hop": 160, "top_db": 40.0},
    ],
)
def test_equals_librosa(settings: dict[str, Any]) -> None:
    """Slaney's mel scale and norm, periodic Hann, centred frames, zeros beyond the ends; decibels of power."""
    rate, rng = settings["sample_rate"], np.random.default_rng(0)
    time = np.arange(rate) / rate
    sounds = np.stack([np.sin(2 * np.pi * 440 * time), rng.normal(size=rate), 0.01 * np.sin(1000 * time**2)]).astype(np.float32)
    front_end = LogMel(**settings, seconds=1.0, mean=0.0, std=1.0)
    ours, frames = front_end(torch.from_numpy(sounds))
    for sound, spectrogram in zip(sounds, ours, strict=True):
        power = librosa.feature.melspectrogram(
            y=sound, sr=rate, n_fft=settings["n_fft"], hop_length=settings["hop"], n_mels=settings["n_mels"],
            fmin=settings.get("f_min", 0.0), fmax=settings.get("f_max"),
        )[:, : front_end.n_frames]  # fmt: skip
        reference = librosa.power_to_db(power, top_db=settings.get("top_db", 80.0))
        np.testing.assert_allclose(spectrogram.T, reference, atol=2e-2)  # decibels; float32 near the floor
        np.testing.assert_allclose(10 ** (spectrogram.T / 10), 10 ** (reference / 10), rtol=5e-3, atol=1e-6 * power.max())
    assert frames.tolist() == [front_end.n_frames] * 3


def test_a_clip_is_normalised_by_its_real_frames() -> None:
    front_end = LogMel(seconds=1.0)
    spectrogram, frames = front_end(torch.randn(2, 16_000), torch.tensor([16_000, 8_000]))
    assert frames.tolist() == [50, 25]
    for clip, count in zip(spectrogram, frames, strict=True):
        assert clip[:count].mean().item() == pytest.approx(0, abs=1e-4)
        assert clip[:count].std(correction=0).item() == pytest.approx(1, abs=1e-3)
        assert not clip[count:].any()


@pytest.mark.parametrize("length", [1, 100, 16_000])
@pytest.mark.parametrize("front_end", [LogMel(seconds=1.0), KaldiLogMel(seconds=1.0)])
def test_silence_and_short_sounds_stay_finite(front_end: LogMel, length: int) -> None:
    for waveform in (torch.zeros(1, length), torch.randn(1, length)):
        spectrogram, frames = front_end(waveform)
        assert spectrogram.isfinite().all()
        assert frames.item() >= 1
        assert spectrogram.shape == (1, front_end.n_frames, front_end.n_mels)


def test_gradients_reach_the_waveform() -> None:
    waveform = torch.randn(2, 8000, requires_grad=True)
    LogMel(sample_rate=8000, seconds=1.0, n_fft=512, n_mels=20)(waveform)[0].square()[:, :5].sum().backward()
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"n_mels": 200, "n_fft": 256}, "larger n_fft"), ({"mean": 1.0}, "give both"), ({"hop": 0}, "above 0")],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LogMel(**settings)
