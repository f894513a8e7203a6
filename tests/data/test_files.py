"""Pictures and sounds in every form that they come in, and the ways in which they are broken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from qmm.data import read_picture, read_sound
from qmm.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (12, 10), dtype=np.uint16)
WAVE = RNG.uniform(-0.8, 0.8, 800).astype(np.float32)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def chw(pixels: np.ndarray) -> torch.Tensor:
    return torch.tensor(pixels.astype(np.float32) / 255).permute(2, 0, 1)


def assert_rgb(got: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-6) -> None:
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)


def test_rgb(tmp_path: Path) -> None:
    assert_rgb(read_picture(save(tmp_path / "a.png", Image.fromarray(PIXELS))), chw(PIXELS))


def test_greyscale_and_black_and_white(tmp_path: Path) -> None:
    grey = PIXELS[..., 0]
    assert_rgb(read_picture(save(tmp_path / "a.png", Image.fromarray(grey))), chw(np.stack([grey] * 3, -1)))
    bits = (grey > 127).astype(np.uint8) * 255
    assert_rgb(read_picture(save(tmp_path / "b.png", Image.fromarray(grey > 127))), chw(np.stack([bits] * 3, -1)))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bits_keep_all_their_levels(tmp_path: Path, suffix: str) -> None:
    got = read_picture(save(tmp_path / f"a.{suffix}", Image.fromarray(GREY16)))
    expected = torch.tensor(GREY16.astype(np.float32) / 65535).expand(3, -1, -1)
    assert_rgb(got, expected)


def test_float_tiff(tmp_path: Path) -> None:
    values = RNG.random((6, 5), dtype=np.float32)
    assert_rgb(read_picture(save(tmp_path / "a.tiff", Image.fromarray(values))), torch.tensor(values).expand(3, -1, -1))
    path = save(tmp_path / "b.tiff", Image.fromarray(values * 3))
    with pytest.raises(InputError, match=r"mode 'F' with values outside of \[0, 1\]: save it with 8 or 16 bits"):
        read_picture(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    alpha = RNG.integers(0, 256, (12, 10, 1), dtype=np.uint8)
    colours = PIXELS if mode == "RGBA" else PIXELS[..., :1]
    got = read_picture(save(tmp_path / "a.png", Image.fromarray(np.concatenate([colours, alpha], -1))))
    share = alpha.astype(np.float64) / 255
    expected = np.broadcast_to(colours * share + 255 * (1 - share), (12, 10, 3))
    assert_rgb(got, torch.tensor(expected / 255).permute(2, 0, 1).float(), tolerance=1.01 / 255)


def test_a_palette_and_its_transparent_colour(tmp_path: Path) -> None:
    image = Image.fromarray(RNG.integers(0, 4, (6, 5), dtype=np.uint8)).convert("P")
    palette = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
    image.putpalette(palette.tobytes())
    places = np.asarray(image)
    assert_rgb(read_picture(save(tmp_path / "a.png", image)), chw(palette[places]))
    clear = palette.copy()
    clear[2] = 255
    assert_rgb(read_picture(save(tmp_path / "b.png", image, transparency=2)), chw(clear[places]))
    assert_rgb(read_picture(save(tmp_path / "c.png", image, transparency=bytes([255, 255, 0, 255]))), chw(clear[places]))


def test_cmyk(tmp_path: Path) -> None:
    """Cyan, magenta, yellow take away red, green, blue."""
    inks = np.zeros((8, 24, 4), dtype=np.uint8)
    for ink in range(3):
        inks[:, 8 * ink : 8 * (ink + 1), ink] = 255
    expected = 255 - inks[..., :3]
    got = read_picture(save(tmp_path / "a.tiff", Image.frombytes("CMYK", (24, 8), inks.tobytes())))
    assert_rgb(got, chw(expected))
    jpeg = save(tmp_path / "a.jpg", Image.frombytes("CMYK", (24, 8), inks.tobytes()), quality=100, subsampling=0)
    assert_rgb(read_picture(jpeg), chw(expected), tolerance=4 / 255)


def test_a_picture_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # orientation: turn by 90 degrees clockwise
    got = read_picture(save(tmp_path / "a.png", Image.fromarray(PIXELS), exif=exif))
    assert_rgb(got, chw(np.rot90(PIXELS, -1).copy()))


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "bmp"])
def test_a_truncated_picture(tmp_path: Path, suffix: str) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = save(tmp_path / f"a.{suffix}", noise)
    assert read_picture(path).shape == (3, 64, 64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"a\.{suffix}: .*(truncated|not a picture)"):
        read_picture(path)


def test_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png: no such file; correct the path"):
        read_picture(tmp_path / "none.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match=r"empty\.png: the file is empty \(0 bytes\)"):
        read_picture(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text\.png: not a picture that Pillow reads"):
        read_picture(tmp_path / "text.png")
    with pytest.raises(InputError, match="no such file"):
        read_picture(tmp_path)


def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(InputError, match=r"a\.png: .*DecompressionBombError"):
        read_picture(path)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1 / 127),
        ("a.wav", "PCM_16", 1 / 32767),
        ("a.wav", "FLOAT", 1e-7),
        ("a.wav", "DOUBLE", 1e-7),
        ("a.flac", "PCM_24", 1e-6),
        ("a.aiff", "PCM_16", 1 / 32767),
    ],
)
def test_sounds(tmp_path: Path, name: str, subtype: str, tolerance: float) -> None:
    soundfile.write(tmp_path / name, WAVE, 11025, subtype=subtype)
    sound = read_sound(tmp_path / name)
    assert sound.sample_rate == 11025
    assert sound.waveform.dtype == torch.float32
    torch.testing.assert_close(sound.waveform, torch.tensor(WAVE), atol=tolerance, rtol=0)


def test_an_ogg_sound(tmp_path: Path) -> None:
    tone = np.sin(np.arange(8000) * 0.3).astype(np.float32) * 0.5
    soundfile.write(tmp_path / "a.ogg", tone, 8000)
    got = read_sound(tmp_path / "a.ogg").waveform
    assert got.shape == (8000,)
    assert (got - torch.tensor(tone)).norm() < 0.1 * np.linalg.norm(tone)  # Vorbis is lossy


def test_all_channels_are_mixed(tmp_path: Path) -> None:
    channels = RNG.uniform(-1, 1, (500, 3)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", channels, 8000, subtype="FLOAT")
    torch.testing.assert_close(read_sound(tmp_path / "a.wav").waveform, torch.tensor(channels.mean(axis=1)))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_truncated_sound(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, RNG.uniform(-0.5, 0.5, 40000), 8000)
    assert len(read_sound(path).waveform) == 40000
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"{name}: .*truncated"):
        read_sound(path)


def test_a_wav_with_chunks_before_and_after_its_data(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, WAVE, 8000, subtype="PCM_16")
    content = path.read_bytes()
    odd = b"junk\x03\x00\x00\x00abc\x00"  # padded to an even length
    body = content[8:36] + odd + content[36:] + b"LIST\x04\x00\x00\x00abcd"
    path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    assert len(read_sound(path).waveform) == 800


def test_a_streamed_wav_with_an_unknown_length(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, WAVE, 8000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    path.write_bytes(content)
    assert len(read_sound(path).waveform) == 800


def test_sounds_with_nothing_or_nonsense_in_them(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "zero.wav", np.zeros(0), 8000)
    with pytest.raises(InputError, match=r"zero\.wav: a sound of zero length"):
        read_sound(tmp_path / "zero.wav")
    for value in (np.nan, np.inf):
        broken = WAVE.copy()
        broken[[3, 7]] = value
        soundfile.write(tmp_path / "nan.wav", broken, 8000, subtype="FLOAT")
        with pytest.raises(InputError, match=r"nan\.wav: 2 of 800 samples are NaN or infinite"):
            read_sound(tmp_path / "nan.wav")
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(InputError, match=r"text\.wav: not a sound that soundfile reads"):
        read_sound(tmp_path / "text.wav")
    with pytest.raises(InputError, match="no such file"):
        read_sound(tmp_path / "none.wav")
