"""The different contents of a modality, decoded once each: which are equal, which are blank, and fingerprints."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import librosa
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from torch import Tensor
from tqdm.auto import tqdm

from qmm.errors import InputError
from qmm.types import Sound

Kind = Literal["picture", "sound", "vector", "sentence", "other"]
Floats = NDArray[np.floating[Any]]

SOUND_RATE = 8000
_THREADS = 4  # decoding waits for the disk as much as for the processor
_SILENCE = 1e-4  # of full scale: three steps of 16 bits
_FLAT = 1 / 255  # the range of a picture's values that no eye sees


class Content(NamedTuple):
    """What one or more rows hold."""

    rows: list[int]
    digest: str
    """Of what was decoded: a picture saved anew without loss has the same."""
    blank: str | None
    """Why nothing can be learned from it; None where something can."""
    fingerprint: Any
    """A vector (D,), or a sentence; None where it is blank, or of an unknown kind."""
    detail: Floats | None
    """A picture's thumbnail, to confirm what its hash suggests."""


class Contents(NamedTuple):
    """All of a modality."""

    modality: str
    kind: Kind
    items: list[Content]
    unreadable: dict[int, str]
    """Row -> why."""


def read_contents(source: Any, modality: str, rows: Sequence[int]) -> Contents:
    """Of these rows of a source (qmm.data.Source, or one like it), which must have the modality; a progress bar on the way."""
    by_key: dict[str, list[int]] = {}
    unreadable: dict[int, str] = {}
    for row in rows:
        try:
            by_key.setdefault(source.key(modality, row), []).append(row)
        except (OSError, InputError) as error:
            unreadable[row] = str(error)

    def decode(row: int) -> tuple[Kind, Content] | str:
        try:
            raw = source.raw(modality, row)
        except (OSError, InputError) as error:
            return str(error)
        return look(raw, source.key(modality, row))

    kind: Kind = "other"
    by_digest: dict[str, Content] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        looked = pool.map(decode, [own[0] for own in by_key.values()])
        bar = tqdm(looked, f"reading {modality}", len(by_key), unit="content", leave=False, delay=1)
        for own, found in zip(by_key.values(), bar, strict=True):
            if isinstance(found, str):
                unreadable |= dict.fromkeys(own, found)
                continue
            kind, content = found
            by_digest.setdefault(content.digest, content._replace(rows=[])).rows.extend(own)
    return Contents(modality, kind, list(by_digest.values()), unreadable)


def look(raw: Any, key: str) -> tuple[Kind, Content]:
    """What a source's `raw` hands out, fingerprinted; `key` stands in for the digest of what is of no known kind."""
    if isinstance(raw, Sound):
        return "sound", _sound(raw.waveform.numpy(), raw.sample_rate)
    if isinstance(raw, Tensor) and raw.ndim == 3:
        return "picture", _picture(raw.permute(1, 2, 0).numpy())
    if isinstance(raw, Tensor) and raw.ndim == 1:
        vector = raw.numpy().astype(np.float32)
        blank = "all its numbers are equal" if len(vector) > 1 and np.ptp(vector) == 0 else None
        return "vector", Content([], _digest(vector.shape, vector), blank, None if blank else vector, None)
    if isinstance(raw, str):
        plain = " ".join(raw.casefold().split())
        return "sentence", Content([], _digest(plain), None if plain else "it is empty", plain or None, None)
    return "other", Content([], key, None, None, None)


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return digest.hexdigest()


def _picture(pixels: Floats) -> Content:
    """(H, W, 3) in [0, 1]. The hash: signs of the lowest 8 x 8 cosine frequencies against their median ("pHash")."""
    whole = np.round(pixels * 255).astype(np.uint8)
    digest = _digest(whole.shape, whole)
    if np.ptp(pixels) < _FLAT:
        return Content([], digest, "it has one colour", None, None)
    image = Image.fromarray(whole)
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float32)
    low = dctn(grey, norm="ortho")[:8, :8].ravel()[1:]  # without the mean
    bits = np.where(low > np.median(low), 1, -1).astype(np.float32)
    thumbnail = np.asarray(image.resize((32, 32), Image.Resampling.BOX), np.float32) / 255
    return Content([], digest, None, bits, thumbnail)


def _sound(waveform: Floats, rate: int) -> Content:
    """The fingerprint: log-mel energies of the part that is not silent, 32 bands x 16 stretches, whatever gain and rate."""
    digest = _digest(rate, waveform.astype(np.float32))
    if np.abs(waveform).max(initial=0) < _SILENCE:
        return Content([], digest, "it is silent", None, None)
    heard = audible(waveform, rate)
    heard = np.pad(heard, (0, max(0, 512 - len(heard))))
    mel = librosa.feature.melspectrogram(y=heard, sr=SOUND_RATE, n_fft=512, hop_length=64, n_mels=32, fmin=80)
    decibels = librosa.power_to_db(mel, ref=np.max, top_db=60)
    edges = np.linspace(0, decibels.shape[1], 17)
    stretches = [decibels[:, int(a) : max(int(b), int(a) + 1)].mean(axis=1) for a, b in pairwise(edges)]
    fingerprint = np.stack(stretches).ravel()
    return Content([], digest, None, (fingerprint - fingerprint.mean()).astype(np.float32), None)


def audible(waveform: Floats, rate: int) -> NDArray[np.float32]:
    """At 8 kHz, without what is 40 dB below the loudest at both ends; its energy is 1."""
    plain = librosa.resample(waveform.astype(np.float32), orig_sr=rate, target_sr=SOUND_RATE)
    heard = librosa.effects.trim(plain, top_db=40, frame_length=512, hop_length=64)[0]
    return (heard / max(float(np.linalg.norm(heard)), 1e-12)).astype(np.float32)
