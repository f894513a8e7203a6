"""Augmentation of raw training samples: small picklable callables, all chance from the generator they are given."""

import math
from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as V

from qmm.config import Configurable
from qmm.errors import InputError
from qmm.types import Sound

from .files import read_sound


class Augmentation(Configurable, ABC):
    """A raw sample and a generator -> a changed sample of the same kind."""

    @abstractmethod
    def __call__(self, raw: Any, generator: Generator) -> Any: ...


class PictureAugmentation(Augmentation):
    """Random resized crop, flip, colour jitter and erasing of a picture (3, H, W) in [0, 1].

    Args:
        scale: Least and greatest share of the picture's area that a crop keeps, in (0, 1].
        ratio: Greatest change of a crop's aspect ratio, at least 1.
        size: Side of the square result in pixels; default: the picture's own height and width.
        flip: Probability of a mirror image.
        brightness: Greatest relative change; 0 switches it off, as with the three that follow.
        contrast: Greatest relative change.
        saturation: Greatest relative change.
        hue: Greatest shift, in turns of the colour circle, at most 0.5.
        erase: Probability that a rectangle of 2 to 25 % of the area turns grey.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.5, 1.0),
        ratio: float = 4 / 3,
        size: int | None = None,
        flip: float = 0.5,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.0,
        erase: float = 0.0,
    ):
        if not 0 < scale[0] <= scale[1] <= 1 or ratio < 1:
            raise InputError(f"crop scale {list(scale)}, ratio {ratio}: expected 0 < least <= greatest <= 1, ratio >= 1")
        if max(brightness, contrast, saturation) > 1 or hue > 0.5 or min(brightness, contrast, saturation, hue) < 0:
            raise InputError("brightness, contrast and saturation lie in [0, 1], hue in [0, 0.5]")
        self.scale, self.ratio, self.size, self.flip = scale, ratio, size, flip
        self.jitter = {V.adjust_brightness: brightness, V.adjust_contrast: contrast, V.adjust_saturation: saturation}
        self.hue, self.erase = hue, erase

    def __call__(self, raw: Tensor, generator: Generator) -> Tensor:
        picture = self._crop(raw, generator)
        if _uniform(generator) < self.flip:
            picture = V.horizontal_flip(picture)
        for adjust, strength in self.jitter.items():
            if strength:
                picture = adjust(picture, _uniform(generator, 1 - strength, 1 + strength))
        if self.hue:
            picture = V.adjust_hue(picture, _uniform(generator, -self.hue, self.hue))
        return self._erase(picture, generator) if _uniform(generator) < self.erase else picture

    def _crop(self, picture: Tensor, generator: Generator) -> Tensor:
        height, width = picture.shape[-2:]
        top, left, rows, columns = _rectangle(height, width, self.scale, self.ratio, generator)
        size = [height, width] if self.size is None else [self.size, self.size]
        return V.resized_crop(picture, top, left, rows, columns, size, antialias=True).clamp_(0, 1)

    def _erase(self, picture: Tensor, generator: Generator) -> Tensor:
        top, left, rows, columns = _rectangle(picture.shape[-2], picture.shape[-1], (0.02, 0.25), 3.0, generator)
        return V.erase(picture, top, left, rows, columns, picture.new_full((3, 1, 1), 0.5))


class SoundAugmentation(Augmentation):
    """Gain, shift, crop and noise of a `Sound`.

    Args:
        gain: Greatest change of level, in dB, either way.
        shift: Greatest shift round the clock, as a share of the sound's length; what leaves at one end comes in at the other.
        crop: Length of a random cut, in seconds; shorter sounds stay as they are. Default: no cut.
        noise: Probability of adding noise, of a colour between white and brown.
        noise_level: Least and greatest signal-to-noise ratio, in dB; of backgrounds as well.
        background: Folder of sounds, at the same sample rate, to mix in.
        background_probability: How often to mix one in.
    """

    def __init__(
        self,
        gain: float = 6.0,
        shift: float = 0.5,
        crop: float | None = None,
        noise: float = 0.5,
        noise_level: tuple[float, float] = (10.0, 40.0),
        background: str | None = None,
        background_probability: float = 0.5,
    ):
        if not 0 <= shift <= 1 or noise_level[0] > noise_level[1] or gain < 0 or (crop is not None and crop <= 0):
            raise InputError("expected gain >= 0, 0 <= shift <= 1, crop > 0 and noise_level from least to greatest")
        self.gain, self.shift, self.crop = gain, shift, crop
        self.noise, self.noise_level, self.background_probability = noise, noise_level, background_probability
        self.backgrounds = [] if background is None else _list_sounds(background)

    def __call__(self, raw: Sound, generator: Generator) -> Sound:
        waveform, rate = raw
        waveform = waveform.roll(round(_uniform(generator, -self.shift, self.shift) * len(waveform)))
        length = len(waveform) if self.crop is None else min(len(waveform), round(self.crop * rate))
        waveform = waveform[_start(len(waveform), length, generator) :][:length]
        if self.backgrounds and _uniform(generator) < self.background_probability:
            waveform = self._mix(waveform, self._background(length, rate, generator), generator)
        if _uniform(generator) < self.noise:
            waveform = self._mix(waveform, _coloured_noise(length, generator), generator)
        return Sound(waveform * 10 ** (_uniform(generator, -self.gain, self.gain) / 20), rate)

    def _mix(self, waveform: Tensor, noise: Tensor, generator: Generator) -> Tensor:
        ratio = 10 ** (_uniform(generator, *self.noise_level) / 20)
        return waveform + noise * waveform.norm() / (ratio * noise.norm().clamp_min(1e-12))

    def _background(self, length: int, rate: int, generator: Generator) -> Tensor:
        path = self.backgrounds[int(_uniform(generator) * len(self.backgrounds))]
        waveform, own_rate = _read_once(path)
        if own_rate != rate:
            raise InputError(f"{path}: background at {own_rate} Hz, the sound has {rate} Hz; resample the backgrounds")
        waveform = waveform.repeat(-(-length // len(waveform)))
        return waveform[_start(len(waveform), length, generator) :][:length]


@lru_cache(maxsize=256)
def _read_once(path: Path) -> Sound:
    return read_sound(path)


def _list_sounds(folder: str) -> list[Path]:
    found = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3"))
    if not found:
        raise InputError(f"background {folder!r}: no folder with WAV, FLAC, Ogg or MP3 files; correct the path")
    return found


def _uniform(generator: Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def _start(length: int, wanted: int, generator: Generator) -> int:
    return min(int(_uniform(generator) * (length - wanted + 1)), length - wanted)


def _rectangle(
    height: int, width: int, scale: tuple[float, float], ratio: float, generator: Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random rectangle: area by `scale`, aspect ratio within a factor of `ratio`."""
    area = height * width * _uniform(generator, *scale)
    aspect = math.exp(_uniform(generator, -math.log(ratio), math.log(ratio))) * width / height
    columns = max(1, min(width, round(math.sqrt(area * aspect))))
    rows = max(1, min(height, round(math.sqrt(area / aspect))))
    return _start(height, rows, generator), _start(width, columns, generator), rows, columns


def _coloured_noise(length: int, generator: Generator) -> Tensor:
    """Noise whose amplitude falls with frequency to a power between 0 (white) and 1 (brown)."""
    spectrum = torch.view_as_complex(torch.randn(length // 2 + 1, 2, generator=generator))
    falling = torch.arange(len(spectrum), dtype=torch.float32).clamp_min(1).pow(-_uniform(generator))
    return torch.fft.irfft(spectrum * falling, n=length)
