"""Noise is what was asked for: measured, within 5 standard errors."""

import math

import numpy as np
import pytest
import torch

from qmm.errors import InputError
from qmm.robustness.noise import NOISES, Spread, content_kind, generator_for, noise_named
from qmm.types import Sound


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_chance_depends_on_seed_sample_modality_and_level_alone() -> None:
    asked = [(0, "a", "vision", 0.2), (1, "a", "vision", 0.2), (0, "b", "vision", 0.2), (0, "a", "audio", 0.2)]
    drawn = [generator_for(*case).random() for case in [*asked, (0, "a", "vision", 0.4)]]
    assert len(set(drawn)) == 5
    assert generator_for(0, "a", "vision", 0.2).random() == drawn[0]
    many = np.array([generator_for(0, str(i), "vision", 0.2).random() for i in range(4000)])
    assert abs(many.mean() - 0.5) < 5 * math.sqrt(1 / 12 / 4000)


@pytest.mark.parametrize("level", [0.02, 0.08])
def test_gaussian_noise_on_pictures_has_the_deviation(level: float) -> None:
    grey = torch.full((3, 100, 100), 0.5)
    noise = NOISES["picture"]["gaussian"](grey, level, rng(), None) - grey
    n = noise.numel()
    assert abs(noise.mean()) < 5 * level / math.sqrt(n)
    assert abs(noise.std() / level - 1) < 5 / math.sqrt(2 * n)
    black = NOISES["picture"]["gaussian"](torch.zeros(3, 100, 100), level, rng(), None)
    assert black.min() == 0
    assert black.max() <= 1


def test_salt_and_pepper_hits_its_share_of_pixels() -> None:
    grey = torch.full((3, 100, 100), 0.5)
    noisy = NOISES["picture"]["salt_and_pepper"](grey, 0.3, rng(), None)
    assert noisy.dtype == grey.dtype
    assert set(noisy.unique().tolist()) == {0.0, 0.5, 1.0}
    assert torch.equal(noisy[0], noisy[1])  # a pixel, not its channels
    hit = (noisy[0] != 0.5).float().mean().item()
    white = (noisy[0] == 1).sum().item() / (noisy[0] != 0.5).sum().item()
    assert abs(hit - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 1e4)
    assert abs(white - 0.5) < 5 * math.sqrt(0.25 / 3000)
    assert not (NOISES["picture"]["salt_and_pepper"](grey, 1.0, rng(), None) == 0.5).any()


def test_blur_has_the_deviation() -> None:
    """Of what a single white pixel becomes: a Gaussian of 0.4 x 61 / 8 pixels."""
    dot = torch.zeros(3, 61, 61)
    dot[:, 30, 30] = 1
    spot = NOISES["picture"]["blur"](dot, 0.4, rng(), None)[0].double()
    places = torch.arange(61) - 30
    variance = float((spot.sum(0) * places**2).sum() / spot.sum())
    assert math.sqrt(variance) == pytest.approx(0.4 * 61 / 8, rel=0.03)  # cut off at 3 standard deviations
    assert NOISES["picture"]["blur"](torch.rand(3, 2, 2), 0.2, rng(), None).shape == (3, 2, 2)


@pytest.mark.parametrize(("level", "decibels"), [(0.2, 12.04), (0.5, 0.0), (0.8, -12.04)])
def test_white_noise_has_the_signal_to_noise_ratio(level: float, decibels: float) -> None:
    n = 80_000
    sound = torch.sin(torch.arange(n) * 0.05) * 0.3
    noisy, rate = NOISES["sound"]["white_noise"](Sound(sound, 8000), level, rng(), None)
    assert rate == 8000
    share = float(noisy @ sound / (sound @ sound))  # by regression, knowing nothing of how it was mixed
    rest = noisy - share * sound
    ratio = 10 * math.log10(share**2 * float(sound.square().mean()) / float(rest.square().mean()))
    margin = 5 * 20 / math.log(10) * level / (1 - level) / math.sqrt(n)
    assert abs(ratio - decibels) < margin + 0.01
    assert float(noisy.square().mean().sqrt()) == pytest.approx(float(sound.square().mean().sqrt()), rel=5 / math.sqrt(n))
    spectrum = torch.fft.rfft(rest).abs().square()
    halves = float(spectrum[: n // 4].mean() / spectrum[n // 4 :].mean())
    assert abs(halves - 1) < 5 * math.sqrt(2 / (n // 4))  # white


def test_sounds_end_in_noise_or_silence() -> None:
    sound = Sound(torch.sin(torch.arange(8000) * 0.05), 8000)
    noise = NOISES["sound"]["white_noise"](sound, 1.0, rng(), None).waveform
    assert abs(torch.corrcoef(torch.stack([noise, sound.waveform]))[0, 1]) < 5 / math.sqrt(8000)
    silence = Sound(torch.zeros(100), 8000)
    assert not NOISES["sound"]["white_noise"](silence, 0.5, rng(), None).waveform.any()
    assert not NOISES["sound"]["dropout"](sound, 1.0, rng(), None).waveform.any()


def test_dropout_of_sounds_silences_pieces_of_50_ms() -> None:
    sound = Sound(torch.ones(8000 * 40 - 7), 8000)
    kept = NOISES["sound"]["dropout"](sound, 0.25, rng(), None).waveform
    pieces = [set(kept[i : i + 400].tolist()) for i in range(0, len(kept), 400)]
    assert all(len(piece) == 1 for piece in pieces)
    silent = sum(piece == {0.0} for piece in pieces) / len(pieces)
    assert abs(silent - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 800)


def test_words_are_left_out_and_characters_replaced() -> None:
    text = " ".join(f"w{i}" for i in range(4000))
    left = NOISES["text"]["words"](text, 0.4, rng(), None).split()
    assert abs(len(left) / 4000 - 0.6) < 5 * math.sqrt(0.24 / 4000)
    assert left == sorted(left, key=lambda word: int(word[1:]))
    assert NOISES["text"]["words"](text, 1.0, rng(), None) == ""
    assert NOISES["text"]["words"]("", 0.5, rng(), None) == ""
    text = "X Y " * 4000
    changed = NOISES["text"]["characters"](text, 0.4, rng(), None)
    assert [c.isspace() for c in changed] == [c.isspace() for c in text]
    share = sum(c.islower() for c in changed) / 8000
    assert abs(share - 0.4) < 5 * math.sqrt(0.24 / 8000)
    assert set(changed) - {"X", "Y", " "} == set("abcdefghijklmnopqrstuvwxyz")


def test_vectors_get_noise_in_units_of_their_own_spread() -> None:
    spread = Spread(torch.tensor([1.0, -7.0, 3.0]), torch.tensor([10.0, 0.1, 0.0]))
    raw = torch.tensor([2.0, 5.0, 3.0])
    noisy = torch.stack([NOISES["vector"]["gaussian"](raw, 0.5, rng(i), spread) for i in range(4000)]) - raw
    assert noisy.std(0)[:2] == pytest.approx([5.0, 0.05], rel=5 / math.sqrt(8000))
    assert not noisy[:, 2].any()
    dropped = torch.stack([NOISES["vector"]["dropout"](raw, 0.3, rng(i), spread) for i in range(4000)])
    for place in range(2):
        assert set(dropped[:, place].tolist()) == {raw[place].item(), spread.mean[place].item()}
    share = (dropped[:, 0] == 1.0).float().mean().item()
    assert abs(share - 0.3) < 5 * math.sqrt(0.21 / 4000)


def test_noise_is_found_by_what_the_content_is() -> None:
    contents = {"text": "a", "sound": Sound(torch.zeros(3), 8000), "picture": torch.rand(3, 4, 5), "vector": torch.rand(7)}
    assert {kind: content_kind(raw) for kind, raw in contents.items()} == {kind: kind for kind in NOISES}
    with pytest.raises(InputError, match=r"no noise for a Tensor of shape \(2, 3\)"):
        content_kind(torch.rand(2, 3))
    assert noise_named(None, "sound", "audio")[0] == "white_noise"
    with pytest.raises(InputError, match="noise of audio: 'dropouts' is none of a sound's: white_noise, dropout; did you mean"):
        noise_named("dropouts", "sound", "audio")
