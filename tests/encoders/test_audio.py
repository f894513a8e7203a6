"""ASTEncoder against transformers, and what padding must not change."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, ASTModel

from qmm.encoders import ASTEncoder, LogMel
from qmm.errors import InputError
from qmm.types import Sound

TINY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def small(**arguments: Any) -> ASTEncoder:
    front_end = LogMel(sample_rate=8000, seconds=1.0, n_mels=24, n_fft=512, hop=200)
    return ASTEncoder(
        architecture={**TINY, "patch_size": 8, "frequency_stride": 8, "time_stride": 8}, front_end=front_end, **arguments
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small AST classifier as its author would publish it."""
    config = ASTConfig(**TINY | {"num_mel_bins": 32, "max_length": 64, "num_labels": 3, "patch_size": 16})
    model = ASTForAudioClassification(config)
    torch.nn.init.normal_(model.audio_spectrogram_transformer.embeddings.position_embeddings)
    model.save_pretrained(tmp_path / "ast")
    ASTFeatureExtractor(num_mel_bins=32, max_length=64, mean=-3.0, std=2.0).save_pretrained(tmp_path / "ast")
    return tmp_path / "ast"


@pytest.mark.parametrize("stem", [None, [8, 16]])
def test_default_reads_its_own_preprocessing(stem: list[int] | None) -> None:
    encoder = ASTEncoder(stem=stem)
    waveform = encoder.preprocess(Sound(torch.randn(70_000), 44_100))
    assert len(waveform) == pytest.approx(70_000 * 16_000 / 44_100, abs=1)
    features = encoder(waveform.unsqueeze(0))
    assert features.pooled.shape == (1, encoder.dim)
    assert features.tokens.shape == (1, 4 * 16, encoder.dim)
    assert features.mask.sum() == 4 * 5  # 1.59 s of 5 s: 80 frames


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("stem", [None, [4, 8]])
def test_padding_changes_nothing(pooling: str, stem: list[int] | None) -> None:
    encoder = small(pooling=pooling, stem=stem).eval()
    waveform, lengths = torch.randn(1, 3000), torch.tensor([3000])
    alone = encoder(waveform).pooled
    for padding in (1, 777, 9000):
        for filling in (0.0, 5.0):
            padded = encoder(F.pad(waveform, (0, padding), value=filling), lengths)
            torch.testing.assert_close(padded.pooled, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded.mask.sum(), torch.tensor(3 * 2))


def test_masked_patches_influence_nothing() -> None:
    """Even another content of the padded frames, past the front end, leaves no trace."""
    encoder = small(pooling="mean").eval()
    waveform, lengths = torch.randn(1, 8000), torch.tensor([3000])
    before = encoder(waveform, lengths)
    front_end = encoder.front_end.forward
    encoder.front_end.forward = lambda w, n: (F.pad(front_end(w, n)[0][:, :16], (0, 0, 0, 24), value=9.0), front_end(w, n)[1])
    torch.testing.assert_close(encoder(waveform, lengths).pooled, before.pooled)


def test_long_sounds_are_cut() -> None:
    encoder = small().eval()
    waveform = torch.randn(2, 20_000)
    torch.testing.assert_close(encoder(waveform).pooled, encoder(waveform[:, :8000]).pooled)


def test_spec_augment_acts_in_training_only() -> None:
    front_end = LogMel(sample_rate=8000, seconds=1.0, n_mels=24, n_fft=512, hop=200, frequency_mask=8, time_mask=20, masks=2)
    waveform = torch.randn(4, 8000)
    masked = front_end(waveform)[0] == 0
    assert masked.any()
    assert not torch.equal(masked[0], masked[1])  # each clip its own
    assert not (front_end.eval()(waveform)[0] == 0).any()
    frozen = ASTEncoder(architecture=TINY, front_end=front_end, tuning="frozen").train()
    assert not frozen.front_end.training


def test_every_parameter_gets_a_gradient() -> None:
    encoder = small(stem=[4, 8])
    encoder(torch.randn(3, 8000)).pooled.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_equals_transformers(folder: Path) -> None:
    """Waveform to features: the front end of published weights, batched, and the model."""
    waveforms = [np.random.default_rng(i).normal(size=n).astype(np.float32) for i, n in enumerate((10_000, 7_000, 400))]
    inputs = ASTFeatureExtractor.from_pretrained(folder)(waveforms, sampling_rate=16_000, return_tensors="pt").input_values
    reference = ASTModel.from_pretrained(folder).eval()(inputs)
    encoder = ASTEncoder(pretrained=str(folder)).eval()
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(w) for w in waveforms], batch_first=True)
    lengths = torch.tensor([len(w) for w in waveforms])
    torch.testing.assert_close(encoder.front_end(padded, lengths)[0], inputs, atol=1e-4, rtol=1e-4)
    features = encoder(padded, lengths)
    torch.testing.assert_close(features.pooled, reference.pooler_output, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.tokens, reference.last_hidden_state[:, 2:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_outlives_its_folder(folder: Path, tuning: Any, rebuilt: Callable) -> None:
    encoder = ASTEncoder(pretrained=str(folder), tuning=tuning, lora={"r": 2} if tuning == "lora" else None).eval()
    shutil.rmtree(folder)
    waveform = torch.randn(2, 6000)
    twin = rebuilt(encoder)
    torch.testing.assert_close(twin(waveform).pooled, encoder(waveform).pooled)
    assert twin.preprocess == encoder.preprocess


@pytest.mark.parametrize("tuning", ["full", "frozen", "lora"])
def test_description_and_weights_rebuild_it(tuning: Any, rebuilt: Callable) -> None:
    encoder = small(tuning=tuning, stem=[4], trim_db=30.0).eval()
    waveform = torch.randn(2, 8000)
    torch.testing.assert_close(rebuilt(encoder)(waveform).pooled, encoder(waveform).pooled)


def test_positions_are_interpolated_for_another_front_end(folder: Path, rebuilt: Callable) -> None:
    own = ASTEncoder(pretrained=str(folder)).model.embeddings.position_embeddings.data
    encoder = ASTEncoder(pretrained=str(folder), front_end=LogMel(n_mels=32, seconds=1.2, hop=160)).eval()
    positions = encoder.model.embeddings.position_embeddings.data
    torch.testing.assert_close(positions[:, :2], own[:, :2])
    grid, wider = own[:, 2:].unflatten(1, (2, 5)), positions[:, 2:].unflatten(1, (2, 12))
    torch.testing.assert_close(wider[:, :, 0], grid[:, :, 0])  # the ends stay where they were
    torch.testing.assert_close(wider[:, :, -1], grid[:, :, -1])
    torch.testing.assert_close(wider.mean(2), grid.mean(2), atol=0.1, rtol=0.1)
    waveform = torch.randn(1, 19_200)
    torch.testing.assert_close(rebuilt(encoder)(waveform).pooled, encoder(waveform).pooled)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ASTEncoder(architecture={"max_length": 77}), "leave both to the front end"),
        (lambda: ASTEncoder(architecture={"n_mels": 77}), "no field n_mels"),
        (lambda: ASTEncoder(architecture={"time_stride": 10}, stem=[8]), "do not overlap"),
        (lambda: ASTEncoder(architecture={"patch_size": [8, 4]}), "one whole number"),
        (lambda: ASTEncoder(pretrained="./nowhere"), "no such folder"),
    ],
)
def test_mistakes_are_named(build: Callable, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()
