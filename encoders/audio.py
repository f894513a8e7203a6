"""Audio: waveforms (B, T) -> Features, through the audio spectrogram transformer (arXiv:2104.01778) on log-mel spectrograms."""

import math
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ASTConfig, ASTModel

from qmm.errors import InputError
from qmm.pretrained import architecture_of, load_config, load_model, read_json
from qmm.tuning import Tuning
from qmm.types import Features

from ._library import LibraryEncoder, check_choice, masked_mean
from ._stem import SpectrogramStem
from .preprocess import SoundPreprocess
from .spectrogram import KaldiLogMel, LogMel

_SMALL = {
    "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 192, "hidden_dropout_prob": 0.1,
    "patch_size": 16, "frequency_stride": 16, "time_stride": 16,
}  # fmt: skip


class ASTEncoder(LibraryEncoder):
    """The `ASTModel` of transformers on a log-mel front end.

    Its numbers of bands and frames follow from the front end, rounded up to whole patches. Patches that lie beyond a
    sound's end are masked, so that they influence nothing; published AST weights were trained without, and load so.

    Args:
        architecture: Fields of `transformers.ASTConfig`; the rest is a small model (3 layers of width 96, patches of
            16 x 16 that do not overlap), or, with `pretrained`, the configuration that comes with the weights.
        pretrained: Hub name or local folder of weights in safetensors.
        front_end: Waveforms to spectrograms (default: `LogMel()`; with `pretrained`, `KaldiLogMel`, as the weights want it).
        tuning: What is trained: "full", "frozen" or "lora".
        lora: With tuning="lora": r, alpha, dropout, target_modules (default: the query and value projections), ...
        stem: Widths of stride-2 convolutions that replace the patch embedding; patches must not overlap, and 2 ** len(stem)
            must divide their size.
        pooling: "cls" for the mean of AST's two class tokens, "mean" for the mean over real patches.
        trim_db: Silence this many decibels below the loudest part is cut off at both ends (default: none is).
        mask_padding: Whether patches beyond a sound's end are masked (default: yes, but not with `pretrained`).
    """

    lora_targets: ClassVar[list[str]] = ["q_proj", "v_proj"]

    def __init__(
        self,
        architecture: dict[str, Any] | None = None,
        pretrained: str | None = None,
        front_end: LogMel | None = None,
        tuning: Tuning = "full",
        lora: dict[str, Any] | None = None,
        stem: list[int] | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        trim_db: float | None = None,
        mask_padding: bool | None = None,
    ):
        super().__init__()
        check_choice("pooling", pooling, ("cls", "mean"))
        if pretrained is None:
            self.front_end = front_end or LogMel()
            self.model = ASTModel(_ast_config(architecture, self.front_end))
        else:
            ast_config = load_config(ASTConfig, pretrained, architecture or {})
            self.front_end = front_end or _own_front_end(pretrained, ast_config)
            self.model = _fitted_to(self.front_end, load_model(ASTModel, pretrained, ast_config))
        config = self.model.config
        if stem is not None:
            if not config.frequency_stride == config.time_stride == config.patch_size:
                raise InputError(
                    "a stem needs patches that do not overlap: frequency_stride and time_stride equal to patch_size"
                )
            self.model.embeddings.patch_embeddings = SpectrogramStem(1, stem, config.hidden_size, config.patch_size)
        self.tune(tuning, lora, fresh=self.model.embeddings.patch_embeddings if stem else None)
        self.pooling, self.dim, self.trim_db = pooling, config.hidden_size, trim_db
        self.mask_padding = pretrained is None if mask_padding is None else mask_padding

    @property
    def preprocess(self) -> SoundPreprocess:
        return SoundPreprocess(self.front_end.sample_rate, self.front_end.seconds, self.trim_db)

    def resolved_arguments(self) -> dict[str, Any]:
        return {
            "architecture": architecture_of(self.model.config),
            "pretrained": None,
            "front_end": self.front_end,
            "mask_padding": self.mask_padding,
        }

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Features:
        """(B, T) at the front end's rate, (B,) -> pooled (B, D) and one token for each patch, bands outermost."""
        spectrogram, frames = self.front_end(values, lengths)
        config: Any = self.model.config
        missing_frames, missing_bands = config.max_length - spectrogram.shape[1], config.num_mel_bins - spectrogram.shape[2]
        spectrogram = F.pad(spectrogram, (0, missing_bands, 0, missing_frames))
        mask = self._patch_mask(frames)
        attended = F.pad(mask, (2, 0), value=True) if self.mask_padding else None
        hidden = self.model(spectrogram, attention_mask=attended).last_hidden_state
        patches = hidden[:, 2:]
        pooled = hidden[:, :2].mean(1) if self.pooling == "cls" else masked_mean(patches, mask)
        return Features(pooled, patches, mask)

    def mix(self, values: Tensor, others: Tensor, share: Tensor) -> Tensor:
        """Sounds (B, T) brought to one loudness and blended so that `share` (B,) is a share of the power (arXiv:1711.10282)."""
        own, other = (x / x.square().mean(1, keepdim=True).sqrt().clamp(min=1e-5) for x in (values, others))
        weight = share.unsqueeze(1)
        return torch.where(weight < 1, weight.sqrt() * own + (1 - weight).sqrt() * other, values)

    def _patch_mask(self, frames: Tensor) -> Tensor:
        """(B,) real frames -> (B, T) bool, True where a patch holds at least one of them (all, if padding is attended to)."""
        bands, steps = _grid(self.model.config)
        starts = torch.arange(steps, device=frames.device) * self.model.config.time_stride
        real = starts < frames.unsqueeze(1) if self.mask_padding else torch.ones_like(starts < frames.unsqueeze(1))
        return real.repeat(1, bands)


def _ast_config(architecture: dict[str, Any] | None, front_end: LogMel) -> ASTConfig:
    fields = {**_SMALL, **(architecture or {})}
    if unknown := [name for name in fields if not hasattr(ASTConfig(), name)]:
        raise InputError(f"architecture: transformers.ASTConfig has no field {', '.join(unknown)}")
    made = {"num_mel_bins": front_end.n_mels, "max_length": front_end.n_frames}
    if small := {k: fields[k] for k in made if fields.get(k, made[k]) < made[k]}:
        raise InputError(f"architecture={small} is less than what the front end makes, {made}; leave both to the front end")
    return ASTConfig(**{**_whole_patches(ASTConfig(**fields), front_end), **fields})


def _whole_patches(config: Any, front_end: LogMel) -> dict[str, int]:
    """Bands and frames of the front end, rounded up so that patches cover them all."""
    patch = config.patch_size
    if not isinstance(patch, int):
        raise InputError(f"patch_size={patch}: expected one whole number, for square patches")

    def covered(size: int, stride: int) -> int:
        return patch + max(0, math.ceil((size - patch) / stride)) * stride

    return {
        "num_mel_bins": covered(front_end.n_mels, config.frequency_stride),
        "max_length": covered(front_end.n_frames, config.time_stride),
    }


def _own_front_end(source: str, config: Any) -> LogMel:
    """What the weights were trained on, from `preprocessor_config.json` where there is one."""
    stored = read_json(source, "preprocessor_config.json")
    settings = stored if isinstance(stored, dict) else {}
    names = {"sampling_rate": "sample_rate", "mean": "mean", "std": "std"}
    given = {ours: settings[theirs] for theirs, ours in names.items() if theirs in settings}
    return KaldiLogMel(n_mels=config.num_mel_bins, seconds=config.max_length / 100, **given)


def _fitted_to(front_end: LogMel, model: Any) -> Any:
    """The model with its grid of positions interpolated, where the front end makes another number of bands or frames."""
    config = model.config
    before, whole = _grid(config), _whole_patches(config, front_end)
    if front_end.n_mels != config.num_mel_bins:
        config.num_mel_bins = whole["num_mel_bins"]
    if front_end.n_frames != config.max_length:
        config.max_length = whole["max_length"]
    if _grid(config) == before:
        return model
    positions = model.embeddings.position_embeddings.data
    grid = positions[:, 2:].mT.unflatten(2, before)
    grid = F.interpolate(grid, _grid(config), mode="bilinear", align_corners=False).flatten(2).mT
    model.embeddings.position_embeddings = nn.Parameter(torch.cat([positions[:, :2], grid], 1))
    return model


def _grid(config: Any) -> tuple[int, int]:
    """Patches along frequency and time."""
    bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    return bands, (config.max_length - config.patch_size) // config.time_stride + 1
