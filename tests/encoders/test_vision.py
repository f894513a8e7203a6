"""The vision encoders against their libraries' own models."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import VisionTransformer
from transformers import ViTConfig, ViTForImageClassification, ViTModel

from qmm.encoders import OpenClipVisionEncoder, TorchvisionViTEncoder, ViTEncoder
from qmm.errors import InputError

TINY_VIT: dict[str, Any] = {
    "image_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 16,
}  # fmt: skip
TINY_TORCHVISION = {"image_size": 16, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}
TINY_CLIP = {"embed_dim": 12, "image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 2}
ALL = [(ViTEncoder, TINY_VIT, 16), (TorchvisionViTEncoder, TINY_TORCHVISION, 16), (OpenClipVisionEncoder, TINY_CLIP, 12)]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 16, 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small ViT classifier as its author would publish it."""
    ViTForImageClassification(ViTConfig(**TINY_VIT | {"num_labels": 5})).save_pretrained(tmp_path / "vit")
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3, "size": {"height": 16, "width": 16}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(settings))
    return tmp_path / "vit"


@pytest.mark.parametrize("encoder_class", [ViTEncoder, TorchvisionViTEncoder, OpenClipVisionEncoder])
@pytest.mark.parametrize("stem", [None, [8, 16]])
def test_default_reads_its_own_preprocessing(encoder_class: type, stem: list[int] | None) -> None:
    encoder = encoder_class(stem=stem)
    image = pickle.loads(pickle.dumps(encoder.preprocess))(torch.rand(3, 40, 90))
    features = encoder(image.unsqueeze(0))
    assert features.pooled.shape == (1, encoder.dim)
    assert features.tokens.shape == (1, 64, encoder.dim)
    assert features.mask.all()
    assert sum(p.numel() for p in encoder.parameters()) < 300_000


@pytest.mark.parametrize(("encoder_class", "architecture", "dim"), ALL)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_every_parameter_gets_a_gradient(encoder_class: Any, architecture: dict, dim: int, pooling: str, images: Any) -> None:
    """Unused ones would stop distributed training."""
    encoder = encoder_class(architecture=architecture, stem=[4, 8], pooling=pooling)
    assert encoder(images).pooled.shape == (3, dim)
    encoder(images).pooled.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("encoder_class", "architecture", "dim"), ALL)
def test_seed_decides_the_weights(encoder_class: Any, architecture: dict, dim: int, images: torch.Tensor) -> None:
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(encoder_class(architecture=architecture).eval()(images).pooled)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])


@pytest.mark.parametrize(("encoder_class", "architecture", "dim"), ALL)
@pytest.mark.parametrize("tuning", ["full", "frozen", "lora"])
@pytest.mark.parametrize("stem", [None, [4, 8]])
def test_description_and_weights_rebuild_it(
    encoder_class: Any, architecture: dict, dim: int, tuning: str, stem: Any, images: torch.Tensor, rebuilt: Callable
) -> None:
    encoder = encoder_class(architecture=architecture, tuning=tuning, stem=stem, pooling="mean").eval()
    torch.testing.assert_close(rebuilt(encoder)(images).pooled, encoder(images).pooled)


@pytest.mark.parametrize(("encoder_class", "architecture", "dim"), ALL)
def test_tuning_decides_what_is_trained(encoder_class: Any, architecture: dict, dim: int, images: torch.Tensor) -> None:
    full, frozen = encoder_class(architecture=architecture), encoder_class(architecture=architecture, tuning="frozen")
    lora = encoder_class(architecture=architecture, tuning="lora", lora={"r": 2, "alpha": 4}, stem=[4])
    assert all(p.requires_grad for p in full.parameters())
    assert frozen.frozen
    assert not frozen.train().training
    trained = {name for name, p in lora.named_parameters() if p.requires_grad}
    kept = ("lora_", "patch_embeddings.", "conv_proj.", "conv1.")  # the stem has no weights to keep: it is trained too
    assert trained == {name for name, _ in lora.named_parameters() if any(part in name for part in kept)}
    before = lora.eval()(images).pooled
    for name, p in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    assert not torch.allclose(lora(images).pooled, before)


def test_vit_equals_transformers(folder: Path, images: torch.Tensor) -> None:
    reference = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()(images).last_hidden_state
    features = ViTEncoder(pretrained=str(folder)).eval()(images)
    torch.testing.assert_close(features.pooled, reference[:, 0])
    torch.testing.assert_close(features.tokens, reference[:, 1:])
    mean = ViTEncoder(pretrained=str(folder), pooling="mean").eval()(images)
    torch.testing.assert_close(mean.pooled, reference[:, 1:].mean(1))


def test_vit_reads_how_pictures_are_prepared(folder: Path) -> None:
    preprocess = ViTEncoder(pretrained=str(folder)).preprocess
    assert (preprocess.size, preprocess.fit, preprocess.interpolation) == (16, "squash", "bicubic")
    image = torch.full((3, 30, 20), 0.5)
    torch.testing.assert_close(preprocess(image)[:, 0, 0], torch.tensor([0.4 / 0.4, 0.3 / 0.5, 0.2 / 0.6]))


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_vit_outlives_its_folder(folder: Path, tuning: str, images: torch.Tensor, rebuilt: Callable) -> None:
    encoder = ViTEncoder(pretrained=str(folder), tuning=tuning).eval()
    for name, p in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    shutil.rmtree(folder)
    twin = rebuilt(encoder)
    assert twin.preprocess == encoder.preprocess
    torch.testing.assert_close(twin(images).pooled, encoder(images).pooled)


def test_vit_reads_other_sizes_by_interpolation(folder: Path) -> None:
    encoder = ViTEncoder(pretrained=str(folder), image_size=32).eval()
    image = torch.rand(2, 3, 32, 32)
    assert encoder.preprocess.size == 32
    reference = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()(image, interpolate_pos_encoding=True)
    torch.testing.assert_close(encoder(image).pooled, reference.last_hidden_state[:, 0])


def test_torchvision_equals_torchvision(tmp_path: Path, images: torch.Tensor) -> None:
    reference = VisionTransformer(**TINY_TORCHVISION, num_classes=7).eval()
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    torch.save(reference.state_dict(), tmp_path / "weights.pt")
    reference.heads = torch.nn.Identity()
    for name in ("weights.safetensors", "weights.pt"):
        encoder = TorchvisionViTEncoder(architecture=TINY_TORCHVISION, pretrained=str(tmp_path / name)).eval()
        torch.testing.assert_close(encoder(images).pooled, reference(images))


def test_torchvision_by_name() -> None:
    with torch.device("meta"):
        encoder = TorchvisionViTEncoder("vit_b_16")
    assert encoder.dim == 768
    assert encoder.preprocess.size == 224
    assert encoder.config_arguments()["architecture"]["num_heads"] == 12


def test_torchvision_unpickles_nothing(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Path))
    with pytest.raises(InputError, match="cannot be read"):
        TorchvisionViTEncoder(pretrained=str(tmp_path / "weights.pt"))


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    """A small open_clip model in the form of its `local-dir:` schema."""
    vision = {k: v for k, v in TINY_CLIP.items() if k != "embed_dim"}
    text = {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    config = {"embed_dim": 12, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    model = open_clip.CLIP(**config)
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}})
    )
    return tmp_path


def test_open_clip_equals_open_clip(clip_folder: Path, images: torch.Tensor, rebuilt: Callable) -> None:
    reference = open_clip.create_model(f"local-dir:{clip_folder}").eval().encode_image(images)
    encoder = OpenClipVisionEncoder(f"local-dir:{clip_folder}").eval()
    torch.testing.assert_close(encoder(images).pooled, reference)
    assert (encoder.preprocess.fit, encoder.preprocess.mean) == ("squash", (0.5, 0.5, 0.5))
    shutil.rmtree(clip_folder)
    twin = rebuilt(encoder)
    torch.testing.assert_close(twin(images).pooled, reference)
    assert twin.preprocess == encoder.preprocess


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ViTEncoder(pretrained="/no/such/folder"), "no such folder"),
        (lambda: ViTEncoder(pretrained="nobody/nothing"), "hub name"),
        (lambda: ViTEncoder(architecture={"hiden_size": 3}), "no field hiden_size"),
        (lambda: ViTEncoder(stem=[4, 8, 16, 32]), "give 1 to 3 widths"),
        (lambda: ViTEncoder(tuning="lora", lora={"rank": 3}), "rank"),
        (lambda: ViTEncoder(tuning="lora", lora={"target_modules": ["nowhere"]}), "nowhere"),
        (lambda: ViTEncoder(lora={"r": 3}), "set tuning='lora'"),
        (lambda: ViTEncoder(tuning="half"), "'full', 'frozen' or 'lora'"),
        (lambda: ViTEncoder(pooling="max"), "one of 'cls', 'mean'"),
        (lambda: ViTEncoder(std=[0.0, 1.0, 1.0]), "std above 0"),
        (lambda: TorchvisionViTEncoder("resnet18"), "no vision transformer"),
        (lambda: TorchvisionViTEncoder("vit_z_1"), "vit_z_1"),
        (lambda: TorchvisionViTEncoder(pretrained="IMAGENET1K_V1"), "neither a file nor weights"),
        (lambda: OpenClipVisionEncoder("ViT-Z-1"), "knows no such model"),
        (lambda: OpenClipVisionEncoder("RN50"), "no plain vision transformer"),
        (lambda: OpenClipVisionEncoder("ViT-B-32", pretrained="no-such-tag"), "no-such-tag"),
        (lambda: OpenClipVisionEncoder(architecture={"with": 3}), "does not describe"),
    ],
)
@pytest.mark.usefixtures("offline")
def test_mistakes_are_named(build: Callable, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


def test_a_folder_that_lacks_weights_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"lacks|cannot be loaded"):
        ViTEncoder(pretrained=str(folder), architecture={"num_hidden_layers": 3})
