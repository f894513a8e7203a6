"""One raw sample -> the tensor its encoder reads. Frozen dataclasses: picklable, and their repr is the whole truth."""

import hashlib
import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from qmm.errors import InputError
from qmm.types import Sound


@dataclass(frozen=True)
class ImagePreprocess:
    """Picture (3, H, W), float in [0, 1] -> (3, size, size), normalised by channel.

    `fit="crop"` brings the shorter side to `size` and keeps the centre, `fit="squash"` keeps the whole picture and gives up
    its aspect ratio. Resizing is antialiased.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str = "crop"
    interpolation: str = "bilinear"

    def __call__(self, image: Tensor) -> Tensor:
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as F

        if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
            raise InputError(f"a picture is {tuple(image.shape)} of {image.dtype}; expected (3, H, W), float in [0, 1]")
        size = [self.size, self.size] if self.fit == "squash" else [self.size]
        image = F.resize(image, size, interpolation=InterpolationMode(self.interpolation), antialias=True)
        return F.normalize(F.center_crop(image, [self.size, self.size]), list(self.mean), list(self.std))


@dataclass(frozen=True)
class SoundPreprocess:
    """Sound -> (T,) float32 at `sample_rate` Hz, at most `seconds` long.

    With `trim_db`, what is that many decibels below the loudest part is first cut off at both ends.
    """

    sample_rate: int
    seconds: float
    trim_db: float | None = None

    def __call__(self, sound: Sound) -> Tensor:
        waveform, rate = sound.waveform, int(sound.sample_rate)
        if waveform.ndim != 1 or len(waveform) == 0:
            raise InputError(f"a sound has shape {tuple(waveform.shape)}; expected (T,), mono, with T of at least 1")
        waveform = waveform.float()
        if self.trim_db is not None:
            waveform = _trimmed(waveform, self.trim_db)
        waveform = _resampled(waveform[: math.ceil(self.seconds * rate)], rate, self.sample_rate)
        return waveform[: round(self.seconds * self.sample_rate)].contiguous()


def _trimmed(waveform: Tensor, trim_db: float) -> Tensor:
    import librosa

    kept = torch.from_numpy(librosa.effects.trim(waveform.numpy(), top_db=trim_db)[0])
    return kept if len(kept) else waveform  # nothing but silence stays as it is


def _resampled(waveform: Tensor, rate: int, target: int) -> Tensor:
    if rate == target:
        return waveform
    divisor = math.gcd(rate, target)
    if (rate // divisor) * (target // divisor) > 10_000_000:  # torchaudio's filter table has that many entries
        import librosa

        return torch.from_numpy(librosa.resample(waveform.numpy(), orig_sr=rate, target_sr=target, res_type="soxr_hq"))
    from torchaudio.functional import resample

    return resample(waveform, rate, target)


@dataclass(frozen=True)
class TextPreprocess:
    """str -> (T,) int64 token ids, special tokens included, at most `max_length`; never empty, not even for "".

    `tokenizer_json` is the content of a `tokenizer.json`; without it, text is read byte by byte, as ByT5 does.
    """

    max_length: int
    tokenizer_json: str | None = field(default=None, repr=False)
    tokenizer_sha256: str = field(default="", init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.tokenizer_json.encode()).hexdigest() if self.tokenizer_json else "bytes"
        object.__setattr__(self, "tokenizer_sha256", digest)

    def __call__(self, text: str) -> Tensor:
        _check_text(text)
        if self.tokenizer_json is None:
            encoding = _byte_tokenizer()(text, truncation=True, max_length=self.max_length, split_special_tokens=True)
            return torch.tensor(encoding["input_ids"], dtype=torch.int64)
        return torch.tensor(_tokenizer(self.tokenizer_json, self.max_length).encode(text).ids, dtype=torch.int64)


@dataclass(frozen=True)
class OpenClipTextPreprocess:
    """str -> (T,) int64 ids of open_clip's own byte-pair encoding, from start to end of text, at most `max_length`."""

    max_length: int

    def __call__(self, text: str) -> Tensor:
        _check_text(text)
        tokenizer = _clip_tokenizer()
        ids = tokenizer(text, context_length=self.max_length)[0]
        return ids[: int((ids == tokenizer.eot_token_id).int().argmax()) + 1]


@dataclass(frozen=True)
class VectorPreprocess:
    """Numbers of shape (dim,) -> (dim,) float32."""

    dim: int

    def __call__(self, vector: Any) -> Tensor:
        values = torch.as_tensor(vector, dtype=torch.float32)
        if values.shape != (self.dim,):
            raise InputError(f"a vector has shape {tuple(values.shape)}; expected ({self.dim},), as the encoder's `dim` says")
        return values


def _check_text(text: Any) -> None:
    if not isinstance(text, str):
        raise InputError(f"a text is a {type(text).__name__}; expected a string")


@lru_cache(maxsize=1)
def _byte_tokenizer() -> Any:
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


@lru_cache(maxsize=1)
def _clip_tokenizer() -> Any:
    from open_clip import SimpleTokenizer

    return SimpleTokenizer()


@lru_cache(maxsize=8)
def _tokenizer(tokenizer_json: str, max_length: int) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer
