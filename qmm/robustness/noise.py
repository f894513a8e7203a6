"""Noise on one raw sample: a picture, a sound, a sentence or a vector, from level 0 (untouched) to level 1."""

import hashlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.suggestions import did_you_mean
from qmm.types import Sound

VERSION = 1
"""Raise it with any change of what noise is drawn: results are kept by it."""
PIECE = 0.05
"""Seconds of a sound that `dropout` silences together: shorter than a syllable, longer than a frame of any front end."""
BLUR = 1 / 8
"""Standard deviation of `blur` at level 1, as a share of the picture's shorter side: what is left are a few spots of colour."""


class Spread(NamedTuple):
    """Of each entry of the vectors of a modality, over the data set."""

    mean: Tensor
    """(D,)"""
    deviation: Tensor
    """(D,) standard deviation"""


Disturb = Callable[[Any, float, np.random.Generator, Spread | None], Any]
"""Raw content, a level above 0, where chance comes from, and for vectors their spread -> disturbed content."""


def generator_for(seed: int, sample: str, modality: str, level: float) -> np.random.Generator:
    """Chance that depends on these four alone: not on the batch, the order, the model, or what else is disturbed."""
    entropy = hashlib.sha256(repr((VERSION, seed, sample, modality, float(level))).encode()).digest()
    return np.random.default_rng(int.from_bytes(entropy, "big"))


def gaussian_picture(raw: Tensor, level: float, rng: np.random.Generator, _: Spread | None = None) -> Tensor:
    """Normal noise on every channel of every pixel, its standard deviation `level` of full scale; cut to [0, 1]."""
    return (raw + level * _normal(raw, rng)).clamp(0, 1)


def salt_and_pepper(raw: Tensor, level: float, rng: np.random.Generator, _: Spread | None = None) -> Tensor:
    """Each pixel turns black or white, equally often, with probability `level`."""
    hit, white = rng.random((2, *raw.shape[-2:]))
    return torch.where(torch.from_numpy(hit < level), torch.from_numpy(white < 0.5).to(raw.dtype), raw)


def blur(raw: Tensor, level: float, rng: np.random.Generator, _: Spread | None = None) -> Tensor:
    """A Gaussian blur whose standard deviation is `level` / 8 of the shorter side; nothing is drawn."""
    from torchvision.transforms.v2 import functional as F

    deviation = level * BLUR * min(raw.shape[-2:])
    reach = min(math.ceil(3 * deviation), min(raw.shape[-2:]) - 1)
    return raw if reach < 1 else F.gaussian_blur(raw, [2 * reach + 1] * 2, [deviation] * 2)


def white_noise(raw: Sound, level: float, rng: np.random.Generator, _: Spread | None = None) -> Sound:
    """Sound and white noise, mixed 1 - level : level in amplitude, as loud together as the sound was.

    The signal-to-noise ratio is exactly 20 log10((1 - level) / level) dB in every sample: 12 dB at 0.2, 0 dB at 0.5, -12 dB at
    0.8, nothing but noise at 1. Silence stays silent.
    """
    noise = _normal(raw.waveform, rng)
    loudness = _rms(raw.waveform)
    share = level / math.hypot(1 - level, level)
    kept = (1 - level) / math.hypot(1 - level, level)
    return Sound(kept * raw.waveform + share * noise * loudness / _rms(noise).clamp_min(1e-12), raw.sample_rate)


def sound_dropout(raw: Sound, level: float, rng: np.random.Generator, _: Spread | None = None) -> Sound:
    """Each piece of 50 ms is silent with probability `level`."""
    piece = max(1, round(PIECE * raw.sample_rate))
    kept = rng.random(-(-len(raw.waveform) // piece)) >= level
    return Sound(raw.waveform * torch.from_numpy(np.repeat(kept, piece)[: len(raw.waveform)]), raw.sample_rate)


def drop_words(raw: str, level: float, rng: np.random.Generator, _: Spread | None = None) -> str:
    """Each word is left out with probability `level`: an empty sentence at 1."""
    words = raw.split()
    return " ".join(word for word, chance in zip(words, rng.random(len(words)), strict=True) if chance >= level)


def replace_characters(raw: str, level: float, rng: np.random.Generator, _: Spread | None = None) -> str:
    """Each character but white space is replaced with probability `level`, by any letter from a to z."""
    chances, letters = rng.random(len(raw)), rng.integers(26, size=len(raw))
    drawn = zip(raw, chances, letters, strict=True)
    return "".join(chr(97 + letter) if chance < level and not old.isspace() else old for old, chance, letter in drawn)


def gaussian_vector(raw: Any, level: float, rng: np.random.Generator, spread: Spread | None) -> Tensor:
    """Normal noise on every entry, its standard deviation `level` times the entry's own over the training split."""
    values = torch.as_tensor(raw, dtype=torch.float32)
    return values + level * _spread(spread).deviation * _normal(values, rng)


def vector_dropout(raw: Any, level: float, rng: np.random.Generator, spread: Spread | None) -> Tensor:
    """Each entry is replaced with probability `level` by its mean over the training split."""
    values = torch.as_tensor(raw, dtype=torch.float32)
    return torch.where(torch.from_numpy(rng.random(values.shape) < level), _spread(spread).mean, values)


NOISES: dict[str, dict[str, Disturb]] = {
    "picture": {"gaussian": gaussian_picture, "salt_and_pepper": salt_and_pepper, "blur": blur},
    "sound": {"white_noise": white_noise, "dropout": sound_dropout},
    "text": {"words": drop_words, "characters": replace_characters},
    "vector": {"gaussian": gaussian_vector, "dropout": vector_dropout},
}
"""Kind of content -> name -> noise; the first one is the default."""
UNBOUNDED = (gaussian_picture, gaussian_vector)
"""Those that have levels above 1, too."""


def content_kind(raw: Any) -> str:
    """What a raw sample is, a key of `NOISES`. Raises InputError for anything else."""
    if isinstance(raw, str):
        return "text"
    if isinstance(raw, Sound):
        return "sound"
    shape = tuple(getattr(raw, "shape", ()))
    if len(shape) == 3 and shape[0] == 3:
        return "picture"
    if len(shape) == 1:
        return "vector"
    raise InputError(
        f"no noise for a {type(raw).__name__} of shape {shape}; expected a picture (3, H, W), a Sound, a str or a vector (D,)"
    )


def noise_named(name: str | None, kind: str, modality: str) -> tuple[str, Disturb]:
    """Its name, the default's where none is given, and the noise. Raises InputError for one that such content does not have."""
    offered = NOISES[kind]
    name = next(iter(offered)) if name is None else name
    if name not in offered:
        listed = ", ".join(offered)
        raise InputError(f"noise of {modality}: {name!r} is none of a {kind}'s: {listed}{did_you_mean(name, offered)}")
    return name, offered[name]


def _normal(like: Tensor, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32))


def _rms(waveform: Tensor) -> Tensor:
    return waveform.square().mean().sqrt()


def _spread(spread: Spread | None) -> Spread:
    if spread is None:
        raise InputError("noise on vectors needs their spread; see qmm.robustness.disturbing.spread_of")
    return spread
