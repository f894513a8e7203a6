"""Pre-processing: what comes out, that it travels to workers, and that its repr tells all that changes its result."""

import dataclasses
import pickle
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from qmm.encoders import ImagePreprocess, OpenClipTextPreprocess, SoundPreprocess, TextPreprocess, VectorPreprocess
from qmm.errors import InputError
from qmm.types import Sound

HALF = (0.5, 0.5, 0.5)


@given(height=st.integers(1, 90), width=st.integers(1, 90), fit=st.sampled_from(["crop", "squash"]))
@settings(max_examples=30, deadline=None)
def test_any_picture_becomes_square(height: int, width: int, fit: str) -> None:
    image = torch.rand(3, height, width)
    out = ImagePreprocess(32, HALF, HALF, fit)(image)
    assert out.shape == (3, 32, 32)
    assert out.min() >= -1.001
    assert out.max() <= 1.001


def test_pictures_as_torchvision_prepares_them() -> None:
    image = torch.rand(3, 50, 80)
    steps = [v2.Resize(32, antialias=True), v2.CenterCrop(32), v2.Normalize(HALF, HALF)]
    torch.testing.assert_close(ImagePreprocess(32, HALF, HALF)(image), v2.Compose(steps)(image))
    squash = v2.Compose([v2.Resize((32, 32), antialias=True), v2.Normalize(HALF, HALF)])
    torch.testing.assert_close(ImagePreprocess(32, HALF, HALF, "squash")(image), squash(image))


@given(rate=st.sampled_from([4000, 8000, 11_025, 16_000, 22_050, 44_100, 44_101, 48_000]), length=st.integers(1, 5000))
@settings(max_examples=30, deadline=None)
def test_any_rate_and_length(rate: int, length: int) -> None:
    out = SoundPreprocess(16_000, 0.2)(Sound(torch.ones(length), rate))
    assert out.dtype == torch.float32
    assert 1 <= len(out) <= 3200
    assert len(out) == pytest.approx(min(3200, length * 16_000 / rate), abs=1)


@pytest.mark.parametrize("rate", [44_100, 44_101])  # the second shares no factor with 16 kHz: another resampler
def test_resampling_keeps_a_tone(rate: int) -> None:
    time = torch.arange(rate) / rate
    out = SoundPreprocess(16_000, 1.0)(Sound(torch.sin(2 * torch.pi * 440 * time), rate))
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    torch.testing.assert_close(out[500:-500], expected[500:-500], atol=5e-3, rtol=0)


def test_silence_is_trimmed_on_request() -> None:
    loud = torch.sin(torch.arange(8000) / 3)
    sound = torch.cat([torch.zeros(16_000), loud, torch.zeros(9000)])
    assert len(SoundPreprocess(16_000, 5.0)(Sound(sound, 16_000))) == 33_000
    trimmed = SoundPreprocess(16_000, 5.0, trim_db=40.0)(Sound(sound, 16_000))
    reference = librosa.effects.trim(sound.numpy(), top_db=40.0)[0]
    np.testing.assert_array_equal(trimmed.numpy(), reference)
    assert 8000 <= len(trimmed) < 11_000
    assert len(SoundPreprocess(16_000, 5.0, trim_db=40.0)(Sound(torch.zeros(500), 16_000))) >= 1


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_bytes_of_any_text(text: str) -> None:
    ids = TextPreprocess(256)(text)
    assert ids.dtype == torch.int64
    assert ids.tolist() == [byte + 3 for byte in text.encode()] + [1]
    assert TextPreprocess(5)(text).tolist() == [*ids.tolist()[:-1][:4], 1]


@pytest.mark.parametrize("text", ["", "a </s>", "<pad>", "</s></s>", "a dog"])
def test_texts_that_look_like_special_tokens(text: str) -> None:
    assert len(TextPreprocess(64)(text)) == len(text) + 1
    ids = OpenClipTextPreprocess(12)(text)
    assert ids[0] == 49_406
    assert ids[-1] == 49_407
    assert len(OpenClipTextPreprocess(4)("one two three four five six")) == 4


def test_vectors() -> None:
    assert VectorPreprocess(3)(np.arange(3)).dtype == torch.float32
    with pytest.raises(InputError, match=r"\(4,\); expected \(3,\)"):
        VectorPreprocess(3)([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("preprocess", "raw"),
    [
        (ImagePreprocess(8, HALF, HALF), torch.zeros(4, 8, 8)),
        (ImagePreprocess(8, HALF, HALF), torch.zeros(3, 8, 8, dtype=torch.uint8)),
        (SoundPreprocess(8000, 1.0), Sound(torch.zeros(0), 8000)),
        (SoundPreprocess(8000, 1.0), Sound(torch.zeros(2, 9), 8000)),
        (TextPreprocess(9), None),
        (OpenClipTextPreprocess(9), 3.0),
    ],
)
def test_mistakes_are_named(preprocess: Any, raw: Any) -> None:
    with pytest.raises(InputError, match="expected"):
        preprocess(raw)


@pytest.mark.parametrize(
    ("preprocess", "changes"),
    [
        (
            ImagePreprocess(8, HALF, HALF),
            {"size": 9, "mean": (0, 0, 0), "std": (1, 1, 1), "fit": "squash", "interpolation": "bicubic"},
        ),
        (SoundPreprocess(8000, 1.0), {"sample_rate": 9000, "seconds": 2.0, "trim_db": 30.0}),
        (TextPreprocess(9, "{}"), {"max_length": 8, "tokenizer_json": "{ }"}),
        (OpenClipTextPreprocess(9), {"max_length": 8}),
        (VectorPreprocess(9), {"dim": 8}),
    ],
)
def test_repr_tells_everything(preprocess: Any, changes: dict[str, Any]) -> None:
    assert pickle.loads(pickle.dumps(preprocess)) == preprocess
    for name, value in changes.items():
        assert repr(dataclasses.replace(preprocess, **{name: value})) != repr(preprocess)
    assert set(changes) == {f.name for f in dataclasses.fields(preprocess) if f.init}
