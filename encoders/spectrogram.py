"""Waveforms -> log-mel spectrograms, batched, on the device that the waveforms are on."""

import math
import warnings
from typing import Any

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from qmm.contracts import Part
from qmm.errors import InputError

from ._library import length_mask


class LogMel(Part):
    """Log-mel spectrogram in decibels: Slaney's scale and area normalisation, periodic Hann window, frames centred on
    multiples of `hop` with zeros beyond the ends. It equals `librosa.feature.melspectrogram` with librosa's defaults.

    Every waveform is cut, or padded with zeros, to `seconds`, so that the output does not depend on a batch's padding.
    Frames beyond a sound's end are exactly 0 after normalisation, which is the mean.

    Args:
        sample_rate: In Hz; the encoder's pre-processing resamples to it.
        seconds: Length of the window that is looked at; what is longer is cut.
        n_mels: Number of mel bands.
        n_fft: Samples in a Fourier window.
        hop: Samples from one frame to the next.
        f_min: Lowest frequency in Hz.
        f_max: Highest frequency in Hz (default: half the sample rate).
        top_db: Anything this far below a clip's loudest cell, in decibels, is raised to there.
        mean: In decibels; with `std`, a fixed normalisation. Without both, each clip is brought to mean 0, deviation 1.
        std: In decibels.
        frequency_mask: While training, up to so many bands are masked (SpecAugment, arXiv:1904.08779); 0 turns it off.
        time_mask: While training, up to so many frames are masked; 0 turns it off.
        masks: How often each of the two is done.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        seconds: float = 5.0,
        n_mels: int = 64,
        n_fft: int = 1024,
        hop: int = 320,
        f_min: float = 0.0,
        f_max: float | None = None,
        top_db: float = 80.0,
        mean: float | None = None,
        std: float | None = None,
        frequency_mask: int = 0,
        time_mask: int = 0,
        masks: int = 1,
    ):
        super().__init__()
        if (mean is None) != (std is None) or (std is not None and std <= 0):
            raise InputError(
                f"mean={mean}, std={std}: give both, std above 0, or neither, for each clip to be normalised by its own"
            )
        if min(sample_rate, seconds, n_mels, n_fft, hop) <= 0 or min(frequency_mask, time_mask, masks) < 0:
            raise InputError("sample_rate, seconds, n_mels, n_fft and hop must be above 0, the masks at least 0")
        self.sample_rate, self.seconds, self.n_mels, self.hop, self.n_fft = sample_rate, seconds, n_mels, hop, n_fft
        self.f_min, self.f_max, self.mean, self.std = f_min, f_max or sample_rate / 2, mean, std
        self.n_samples = round(seconds * sample_rate)
        self.frequency = torchaudio.transforms.FrequencyMasking(frequency_mask, iid_masks=True) if frequency_mask else None
        self.time = torchaudio.transforms.TimeMasking(time_mask, iid_masks=True) if time_mask else None
        self.masks = masks
        self._make_filters(top_db)

    @property
    def n_frames(self) -> int:
        """Frames of a clip of full length."""
        return math.ceil(self.n_samples / self.hop)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T), (B,) samples -> (B, n_frames, n_mels), and (B,) how many of the frames are real, at least 1."""
        real = length_mask(lengths, waveforms)[:, : self.n_samples]
        waveforms = waveforms[:, : self.n_samples].float() * real
        with torch.autocast(waveforms.device.type, enabled=False):  # half precision has not the range of a power spectrum
            spectrogram = self._log_mel(F.pad(waveforms, (0, self.n_samples - waveforms.shape[1])))
        frames = self._frames(real.sum(1))
        spectrogram = self._normalised(spectrogram, length_mask(frames, spectrogram.mT).unsqueeze(1))
        return self._augmented(spectrogram).mT, frames

    def _make_filters(self, top_db: float) -> None:
        with warnings.catch_warnings(record=True) as caught:  # of bands so narrow that no frequency falls into them
            warnings.simplefilter("always")
            self.mel = torchaudio.transforms.MelSpectrogram(
                self.sample_rate, self.n_fft, hop_length=self.hop, f_min=self.f_min, f_max=self.f_max, n_mels=self.n_mels,
                pad_mode="constant", norm="slaney", mel_scale="slaney",
            )  # fmt: skip
        if caught:
            raise InputError(
                f"n_mels={self.n_mels} is too many for n_fft={self.n_fft}: some bands hold no frequency; take a larger n_fft"
            )
        self.decibel = torchaudio.transforms.AmplitudeToDB("power", top_db=top_db)

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        """(B, n_samples) -> (B, n_mels, n_frames)"""
        mel = self.mel(waveforms)[..., : self.n_frames]
        return self.decibel(mel.unsqueeze(1)).squeeze(1)  # as one-channel clips, so that top_db looks at each alone

    def _frames(self, samples: Tensor) -> Tensor:
        return torch.div(samples + self.hop - 1, self.hop, rounding_mode="floor").clamp(min=1)

    def _normalised(self, spectrogram: Tensor, real: Tensor) -> Tensor:
        """(B, n_mels, n_frames), (B, 1, n_frames) bool"""
        if self.mean is not None and self.std is not None:
            return (spectrogram - self.mean) / self.std * real
        cells = real.sum(-1, keepdim=True) * self.n_mels
        centred = (spectrogram - (spectrogram * real).sum((1, 2), keepdim=True) / cells) * real
        return centred / (centred.square().sum((1, 2), keepdim=True) / cells).sqrt().clamp(min=1e-3)  # silence stays 0

    def _augmented(self, spectrogram: Tensor) -> Tensor:
        if self.training:
            for mask in (self.frequency, self.time):
                for _ in range(self.masks if mask is not None else 0):
                    spectrogram = mask(spectrogram)  # type: ignore[misc]
        return spectrogram


class KaldiLogMel(LogMel):
    """The log-mel energies that published AST weights were trained on: Kaldi's, as `transformers.ASTFeatureExtractor`
    makes them, but batched. Windows of 25 ms every 10 ms, mean removed, pre-emphasis 0.97, natural logarithm.

    Args:
        sample_rate: In Hz.
        seconds: Length of the window that is looked at; AST's own is 10.24.
        n_mels: Number of mel bands.
        mean: Subtracted (default: AudioSet's).
        std: What is left is divided by twice this (default: AudioSet's).
        frequency_mask: While training, up to so many bands are masked (SpecAugment); 0 turns it off.
        time_mask: While training, up to so many frames are masked; 0 turns it off.
        masks: How often each of the two is done.
    """

    filters: Tensor
    window: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        seconds: float = 10.24,
        n_mels: int = 128,
        mean: float = -4.2677393,
        std: float = 4.5689974,
        frequency_mask: int = 0,
        time_mask: int = 0,
        masks: int = 1,
    ):
        n_fft = 2 ** math.ceil(math.log2(sample_rate * 25 // 1000))
        super().__init__(
            sample_rate, seconds, n_mels, n_fft=n_fft, hop=sample_rate // 100, f_min=20.0,
            mean=mean, std=std, frequency_mask=frequency_mask, time_mask=time_mask, masks=masks,
        )  # fmt: skip

    def _make_filters(self, top_db: float) -> None:
        from torchaudio.compliance.kaldi import get_mel_banks

        self.frame = self.sample_rate * 25 // 1000
        bank: Any = get_mel_banks(self.n_mels, self.n_fft, float(self.sample_rate), self.f_min, self.f_max, 0.0, 0.0, 1.0)[0]
        self.register_buffer("filters", F.pad(bank, (0, 1)).T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(self.frame, periodic=False), persistent=False)

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        missing = self.frame - self.hop  # so that a clip of full length has n_frames of them
        frames = F.pad(waveforms, (0, missing)).unfold(-1, self.frame, self.hop)[:, : self.n_frames]
        frames = frames - frames.mean(-1, keepdim=True)
        frames = frames - 0.97 * torch.cat([frames[..., :1], frames[..., :-1]], -1)
        power = torch.fft.rfft(frames * self.window, self.n_fft).abs().square()
        return (power @ self.filters).clamp(min=torch.finfo(torch.float32).eps).log().mT

    def _frames(self, samples: Tensor) -> Tensor:
        """Kaldi keeps whole windows only."""
        return (torch.div(samples - self.frame, self.hop, rounding_mode="floor") + 1).clamp(min=1)

    def _normalised(self, spectrogram: Tensor, real: Tensor) -> Tensor:
        """Frames beyond the end are 0 BEFORE normalisation: so were those that the weights have seen."""
        return (spectrogram * real - self.mean) / (2 * self.std)  # type: ignore[operator]
