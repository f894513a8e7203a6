"""Vision: pictures (B, 3, H, W) -> Features, through the vision transformers (arXiv:2010.11929) of three libraries."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from transformers import ViTConfig, ViTModel

from qmm.errors import InputError
from qmm.pretrained import architecture_of, load_config, load_model, read_json, read_weights
from qmm.tuning import Tuning
from qmm.types import Features

from ._images import HALF, ImageEncoder, image_preprocess
from ._library import check_choice
from ._openclip import named_architecture, pretrained_model, random_tower
from ._stem import ConvStem, TokenStem

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_SMALL_VIT = {
    "image_size": 64, "patch_size": 8, "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 192, "hidden_dropout_prob": 0.1,
}  # fmt: skip
_SMALL_TORCHVISION = {
    "image_size": 64, "patch_size": 8, "num_layers": 3, "num_heads": 4, "hidden_dim": 96, "mlp_dim": 192, "dropout": 0.1,
}  # fmt: skip
_SMALL_CLIP = {"embed_dim": 96, "image_size": 64, "patch_size": 8, "width": 96, "head_width": 24, "layers": 3, "mlp_ratio": 2.0}

Fit = Literal["crop", "squash"]


class ViTEncoder(ImageEncoder):
    """The `ViTModel` of transformers.

    Args:
        architecture: Fields of `transformers.ViTConfig`; the rest is a small model (64 pixels, 3 layers of width 96), or,
            with `pretrained`, the configuration that comes with the weights.
        pretrained: Hub name or local folder of weights in safetensors.
        tuning: What is trained: "full", "frozen" or "lora".
        lora: With tuning="lora": r, alpha, dropout, target_modules (default: the query and value projections), ...
        stem: Widths of stride-2 convolutions that replace the patch embedding; 2 ** len(stem) must divide the patch size.
        pooling: "cls" for the class token, "mean" for the mean over patches.
        image_size: Side of the pictures in pixels, if not the one of the architecture; positions are interpolated.
        mean: Per channel, subtracted from pictures in [0, 1] (default: as the weights want it, else 0.5).
        std: Per channel, pictures are divided by it (default: as the weights want it, else 0.5).
        fit: "crop": shorter side to size, centre kept. "squash": the whole picture, aspect ratio lost.
        interpolation: "nearest", "bilinear" or "bicubic" (default: as the weights want it, else bilinear).
    """

    lora_targets: ClassVar[list[str]] = ["q_proj", "v_proj"]

    def __init__(
        self,
        architecture: dict[str, Any] | None = None,
        pretrained: str | None = None,
        tuning: Tuning = "full",
        lora: dict[str, Any] | None = None,
        stem: list[int] | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        image_size: int | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        fit: Fit | None = None,
        interpolation: str | None = None,
    ):
        super().__init__()
        check_choice("pooling", pooling, ("cls", "mean"))
        if pretrained is None:
            self.model, own = ViTModel(_vit_config(architecture), add_pooling_layer=False), {}
        else:
            vit_config = load_config(ViTConfig, pretrained, architecture or {})
            self.model = load_model(ViTModel, pretrained, vit_config, add_pooling_layer=False)
            own = _image_settings(pretrained)
        config = self.model.config
        if stem is not None:
            embedding = TokenStem(config.num_channels, stem, config.hidden_size, config.patch_size)
            self.model.embeddings.patch_embeddings = embedding
        self.tune(tuning, lora, fresh=self.model.embeddings.patch_embeddings if stem else None)
        self.pooling, self.dim = pooling, config.hidden_size
        self._interpolate = image_size is not None and image_size != config.image_size
        given = {"mean": mean, "std": std, "fit": fit, "interpolation": interpolation}
        self._preprocess = image_preprocess(image_size or config.image_size, given, own)

    def resolved_arguments(self) -> dict[str, Any]:
        return {"architecture": architecture_of(self.model.config), "pretrained": None, **self.resolved_preprocess()}

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Features:
        """(B, 3, H, W) -> pooled (B, D) and one token for each patch; `lengths` has no meaning here."""
        hidden = self.model(values, interpolate_pos_encoding=self._interpolate).last_hidden_state
        return self.features(hidden[:, 0], hidden[:, 1:])


def _vit_config(architecture: dict[str, Any] | None) -> ViTConfig:
    fields = {**_SMALL_VIT, **(architecture or {})}
    if unknown := [name for name in fields if not hasattr(ViTConfig(), name)]:
        raise InputError(f"architecture: transformers.ViTConfig has no field {', '.join(unknown)}")
    return ViTConfig(**fields)


def _image_settings(source: str) -> dict[str, Any]:
    """Normalisation and resizing from a folder's `preprocessor_config.json`, where there is one."""
    stored = read_json(source, "preprocessor_config.json")
    if not isinstance(stored, dict):
        return {}
    resample = {0: "nearest", 2: "bilinear", 3: "bicubic"}.get(stored.get("resample", 2), "bilinear")
    fit = "crop" if stored.get("do_center_crop") or "shortest_edge" in (stored.get("size") or {}) else "squash"
    mean, std = stored.get("image_mean", HALF), stored.get("image_std", HALF)
    return {"mean": mean, "std": std, "fit": fit, "interpolation": resample}


class TorchvisionViTEncoder(ImageEncoder):
    """The `VisionTransformer` of torchvision, its classification head left out.

    Args:
        name: A model of torchvision, such as "vit_b_16"; without it, a small one (64 pixels, 3 layers of width 96).
        architecture: Arguments of `torchvision.models.VisionTransformer`; with `name`, image_size and dropout only.
        pretrained: A local file of weights (safetensors, or tensors saved by torch), or, with `name`, the name of
            torchvision weights to download, such as "IMAGENET1K_V1" or "DEFAULT".
        tuning: What is trained: "full", "frozen" or "lora".
        lora: With tuning="lora": r, alpha, dropout, target_modules (default: the two layers of each MLP, since
            torchvision keeps query, key and value in one matrix), ...
        stem: Widths of stride-2 convolutions that replace the patch embedding; 2 ** len(stem) must divide the patch size.
        pooling: "cls" for the class token, "mean" for the mean over patches.
        mean: Per channel, subtracted from pictures in [0, 1] (default: ImageNet's).
        std: Per channel, pictures are divided by it (default: ImageNet's).
        fit: "crop": shorter side to size, centre kept. "squash": the whole picture, aspect ratio lost.
        interpolation: "nearest", "bilinear" or "bicubic".
    """

    lora_targets: ClassVar[list[str]] = ["mlp.0", "mlp.3"]

    def __init__(
        self,
        name: str | None = None,
        architecture: dict[str, Any] | None = None,
        pretrained: str | None = None,
        tuning: Tuning = "full",
        lora: dict[str, Any] | None = None,
        stem: list[int] | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        fit: Fit | None = None,
        interpolation: str | None = None,
    ):
        super().__init__()
        check_choice("pooling", pooling, ("cls", "mean"))
        self.model = _torchvision_vit(name, architecture)
        if pretrained is not None:
            weights = {k: v for k, v in _torchvision_weights(name, pretrained).items() if not k.startswith("heads.")}
            try:
                self.model.load_state_dict(weights)
            except RuntimeError as error:
                raise InputError(f"pretrained={pretrained!r} does not fit the architecture: {error}") from error
        if stem is not None:
            self.model.conv_proj = ConvStem(3, stem, self.model.hidden_dim, self.model.patch_size)
        self.tune(tuning, lora, fresh=self.model.conv_proj if stem else None)
        self.pooling, self.dim = pooling, self.model.hidden_dim
        given = {"mean": mean, "std": std, "fit": fit, "interpolation": interpolation}
        self._preprocess = image_preprocess(self.model.image_size, given, _IMAGENET)

    def resolved_arguments(self) -> dict[str, Any]:
        model = self.model
        layers = model.encoder.layers
        names = ("image_size", "patch_size", "hidden_dim", "mlp_dim", "dropout", "attention_dropout")
        architecture = {k: getattr(model, k) for k in names} | {"num_layers": len(layers), "num_heads": layers[0].num_heads}
        return {"name": None, "architecture": architecture, "pretrained": None, **self.resolved_preprocess()}

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Features:
        """(B, 3, H, W) -> pooled (B, D) and one token for each patch; `lengths` has no meaning here."""
        model = self.model
        patches = model._process_input(values)  # torchvision's own forward stops at the class token
        hidden = model.encoder(torch.cat([model.class_token.expand(len(patches), -1, -1), patches], 1))
        return self.features(hidden[:, 0], hidden[:, 1:])


def _torchvision_vit(name: str | None, architecture: dict[str, Any] | None) -> Any:
    from torchvision import models

    try:
        if name is None:
            model = models.VisionTransformer(**{**_SMALL_TORCHVISION, **(architecture or {})})
        else:
            model = models.get_model(name, weights=None, **(architecture or {}))
    except (TypeError, ValueError, AssertionError) as error:
        raise InputError(f"torchvision cannot build name={name!r} with architecture={architecture}: {error}") from error
    if not isinstance(model, models.VisionTransformer):
        raise InputError(f"name={name!r} is no vision transformer of torchvision; it has vit_b_16, vit_b_32, vit_l_16, ...")
    model.heads = torch.nn.Sequential()
    return model


def _torchvision_weights(name: str | None, source: str) -> dict[str, Tensor]:
    if Path(source).is_file():
        return read_weights(source)
    from torchvision import models

    try:
        return models.get_model_weights(name or "")[source].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # unknown names, and downloads that fail in many ways
        raise InputError(
            f"pretrained={source!r} is neither a file nor weights of torchvision's {name!r} that can be fetched: {error}"
        ) from error


class OpenClipVisionEncoder(ImageEncoder):
    """The vision transformer of open_clip's image tower (arXiv:2103.00020); `dim` is the width of the joint space.

    Args:
        model: A model that open_clip knows, such as "ViT-B-32", or "local-dir:FOLDER", or "hf-hub:NAME"; without it, a
            small one (64 pixels, 3 layers of width 96).
        architecture: `embed_dim`, `quick_gelu` and fields of `open_clip.CLIPVisionCfg`; only without `pretrained`.
        pretrained: True weights: a tag of open_clip ("laion2b_s34b_b79k") or a local file. Folders and hub names bring theirs.
        tuning: What is trained: "full", "frozen" or "lora".
        lora: With tuning="lora": r, alpha, dropout, target_modules (default: the two layers of each MLP, since
            open_clip keeps query, key and value in one matrix), ...
        stem: Widths of stride-2 convolutions that replace the patch embedding; 2 ** len(stem) must divide the patch size.
        pooling: "cls" for what the tower itself pools, "mean" for the mean over patches.
        mean: Per channel, subtracted from pictures in [0, 1] (default: as the weights want it).
        std: Per channel, pictures are divided by it (default: as the weights want it).
        fit: "crop": shorter side to size, centre kept. "squash": the whole picture, aspect ratio lost.
        interpolation: "nearest", "bilinear" or "bicubic" (default: as the weights want it, else bicubic).
    """

    lora_targets: ClassVar[list[str]] = ["c_fc", "c_proj"]

    def __init__(
        self,
        model: str | None = None,
        architecture: dict[str, Any] | None = None,
        pretrained: str | None = None,
        tuning: Tuning = "full",
        lora: dict[str, Any] | None = None,
        stem: list[int] | None = None,
        pooling: Literal["cls", "mean"] = "cls",
        mean: list[float] | None = None,
        std: list[float] | None = None,
        fit: Fit | None = None,
        interpolation: str | None = None,
    ):
        super().__init__()
        check_choice("pooling", pooling, ("cls", "mean"))
        self._architecture = {**(named_architecture(model, "vision_cfg") if model else _SMALL_CLIP), **(architecture or {})}
        if pretrained is not None or (model is not None and ":" in model):
            if model is None or architecture:
                raise InputError("pretrained weights of open_clip need `model`, and take no `architecture`")
            visual = pretrained_model(model, pretrained).visual
        else:
            visual = random_tower(self._architecture, "vision_cfg")
        own = _open_clip_settings(visual)
        width = visual.conv1.out_channels
        if stem is not None:
            visual.conv1 = ConvStem(3, stem, width, visual.patch_size[0])
        visual.output_tokens = True
        self.model = visual
        self.tune(tuning, lora, fresh=visual.conv1 if stem else None)
        self.pooling, self.dim = pooling, visual.output_dim
        given = {"mean": mean, "std": std, "fit": fit, "interpolation": interpolation}
        self._preprocess = image_preprocess(visual.image_size[0], given, own)

    def resolved_arguments(self) -> dict[str, Any]:
        return {"model": None, "architecture": self._architecture, "pretrained": None, **self.resolved_preprocess()}

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Features:
        """(B, 3, H, W) -> pooled (B, D) and one token for each patch, both in the joint space; `lengths` has no meaning."""
        pooled, patches = self.model(values)
        return self.features(pooled, patches @ self.model.proj)


def _open_clip_settings(visual: Any) -> dict[str, Any]:
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from open_clip.transformer import VisionTransformer

    if not isinstance(visual, VisionTransformer) or visual.pool_type == "none" or visual.attn_pool is not None:
        raise InputError("this open_clip model has no plain vision transformer for its image tower; take a ViT-... model")
    if visual.image_size[0] != visual.image_size[1]:
        raise InputError(f"this open_clip model reads pictures of {visual.image_size}; only square ones are supported")
    stored = getattr(visual, "preprocess_cfg", None) or {}
    fit = {"squash": "squash"}.get(stored.get("resize_mode", "shortest"), "crop")
    mean, std = stored.get("mean", OPENAI_DATASET_MEAN), stored.get("std", OPENAI_DATASET_STD)
    return {"mean": mean, "std": std, "fit": fit, "interpolation": stored.get("interpolation", "bicubic")}
