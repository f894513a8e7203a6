"""Pictures and sounds from files: whatever Pillow and soundfile read, in one form."""

import io
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image, ImageOps
from torch import Tensor

from qmm.errors import InputError
from qmm.types import Sound


class FileError(InputError):
    """A file that cannot be used; `reason` is the message without the file's name."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def read_picture(path: str | Path) -> Tensor:
    """(3, H, W) float32 in [0, 1]: RGB, turned upright by its EXIF tag, transparency laid over white.

    Raises InputError when the file is missing, truncated, no picture, or too large to be one (Pillow's bomb limit).
    """
    return picture_tensor(decode_picture(Path(path)))


def read_sound(path: str | Path) -> Sound:
    """The mean of all channels, float32, full scale 1, at the file's own sample rate.

    Raises InputError when the file is missing, truncated, no sound, holds no sample, or one that is NaN or infinite.
    """
    return sound_tensor(*decode_sound(Path(path)))


def picture_tensor(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8, or float32 in [0, 1] -> (3, H, W) float32 in [0, 1]; always a copy."""
    tensor = torch.tensor(pixels).permute(2, 0, 1).contiguous().float()
    return tensor.div_(255) if pixels.dtype == np.uint8 else tensor


def sound_tensor(waveform: np.ndarray, sample_rate: int) -> Sound:
    return Sound(torch.from_numpy(waveform.copy()), sample_rate)


def check_file(path: Path) -> None:
    """Raises FileError unless there is a file, with something in it."""
    if not path.is_file():
        raise FileError(path, "no such file; correct the path, or remove the row")
    if path.stat().st_size == 0:
        raise FileError(path, "the file is empty (0 bytes); replace it, or remove the row")


def check_picture(path: Path) -> None:
    """Read the header alone."""
    check_file(path)
    _open_picture(path).close()


def check_sound(path: Path) -> None:
    """Read the header alone."""
    check_file(path)
    _open_sound(path).close()


def decode_picture(path: Path) -> np.ndarray:
    """(H, W, 3): uint8, or float32 in [0, 1] where the file holds more than 8 bits a channel."""
    check_file(path)
    with _open_picture(path) as image:
        try:
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
        except Exception as error:  # Pillow's decoders raise almost anything at broken data
            raise FileError(path, f"the picture cannot be decoded ({error}); it may be truncated: replace it") from error


def _open_picture(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except Exception as error:  # as above; among them DecompressionBombError
        reason = f"not a picture that Pillow reads ({type(error).__name__}: {error})"
        raise FileError(path, f"{reason}; replace it, or save it as PNG or JPEG") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image).astype(np.float32) / (1 if image.mode == "F" else 65535)
        if not (grey.min() >= 0 and grey.max() <= 1):  # false for NaN as well
            expected = "[0, 1]" if image.mode == "F" else "0 to 65535"
            raise ValueError(f"mode {image.mode!r} with values outside of {expected}: save it with 8 or 16 bits a channel")
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def decode_sound(path: Path) -> tuple[np.ndarray, int]:
    """(T,) float32 and the sample rate in Hz."""
    check_file(path)
    with _open_sound(path) as file:
        declared = file.frames
        try:
            samples = file.read(dtype="float32", always_2d=True)
        except Exception as error:
            raise FileError(path, f"the sound cannot be decoded ({error}); it may be truncated: replace it") from error
    if len(samples) < declared or _is_cut(path):
        raise FileError(path, f"the sound is truncated (only {len(samples)} samples are left); replace it")
    if len(samples) == 0:
        raise FileError(path, "a sound of zero length; replace it, or remove the row")
    waveform = samples.mean(axis=1)
    if not np.isfinite(waveform).all():
        count = int((~np.isfinite(waveform)).sum())
        raise FileError(path, f"{count} of {len(waveform)} samples are NaN or infinite; replace the file")
    return waveform, file.samplerate


def _open_sound(path: Path) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(path)
    except Exception as error:
        raise FileError(path, f"not a sound that soundfile reads ({error}); replace it, or save it as WAV or FLAC") from error


def _is_cut(path: Path) -> bool:
    """libsndfile reads what is left of a truncated WAV or Ogg file and says nothing, so look at their own marks."""
    content = path.read_bytes()
    if content[:4] == b"OggS":
        return not content[content.rfind(b"OggS") + 5] & 4  # the last page lacks the end-of-stream flag
    if content[:4] == b"RIFF":
        return _wav_is_cut(content)
    return False


def _wav_is_cut(content: bytes) -> bool:
    """Whether the data chunk promises more than there is; a recorder that could not seek back wrote 0 or the maximum."""
    stream = io.BytesIO(content)
    stream.seek(12)
    while len(header := stream.read(8)) == 8:
        size = int.from_bytes(header[4:], "little")
        if header[:4] == b"data":
            return size < 2**31 - 1 - 2**16 and stream.tell() + size > len(content)
        stream.seek(size + size % 2, io.SEEK_CUR)
    return True
