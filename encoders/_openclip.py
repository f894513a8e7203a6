"""Building open_clip's models, of which each encoder keeps one tower."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from qmm.errors import InputError
from qmm.pretrained import read_json

_TINY_VISION = {"layers": 1, "width": 8, "head_width": 8, "patch_size": 1, "image_size": 1}
_TINY_TEXT = {"layers": 1, "width": 8, "heads": 1, "context_length": 1, "vocab_size": 1}


def named_architecture(name: str, tower: str) -> dict[str, Any]:
    """`embed_dim`, `quick_gelu` and all fields of one tower ("vision_cfg", "text_cfg") of a model that open_clip knows by
    name, or of `local-dir:` a folder, or of `hf-hub:` a repository."""
    import open_clip
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    schema, _, identifier = name.rpartition(":")
    if schema:
        stored = read_json(identifier, "open_clip_config.json")
        config = stored.get("model_cfg") if isinstance(stored, dict) else None
    else:
        config = open_clip.get_model_config(name.replace("/", "-"))
    if config is None:
        raise InputError(
            f"model={name!r}: open_clip knows no such model; try one of open_clip.list_models(), "
            "or local-dir:FOLDER, where the folder holds an open_clip_config.json"
        )
    defaults = asdict({"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg}[tower]())
    return {**defaults, **config[tower], "embed_dim": config["embed_dim"], "quick_gelu": config.get("quick_gelu", False)}


def random_tower(architecture: Mapping[str, Any], tower: str) -> nn.Module:
    """One tower, of random weights, from its fields as `named_architecture` gives them."""
    from open_clip import CustomTextCLIP

    fields = dict(architecture)
    shared = {"embed_dim": fields.pop("embed_dim"), "quick_gelu": fields.pop("quick_gelu", False)}
    towers = {"vision_cfg": _TINY_VISION, "text_cfg": _TINY_TEXT, tower: fields}
    try:
        model = CustomTextCLIP(**shared, **towers)
    except (TypeError, AssertionError) as error:
        raise InputError(f"architecture={dict(architecture)} does not describe an open_clip tower: {error}") from error
    return model.visual if tower == "vision_cfg" else model.text


def pretrained_model(name: str, pretrained: str | None) -> Any:
    """The whole model with its weights; `pretrained` is a tag or a file, None where the name is a folder or repository.

    Raises InputError when there are no such weights.
    """
    import open_clip

    try:
        return open_clip.create_model(name, pretrained, require_pretrained=True, force_custom_text=True, weights_only=True)
    except Exception as error:  # download, archive and shape errors of many kinds; each means the same to the user
        raise InputError(
            f"open_clip cannot load model={name!r} with pretrained={pretrained!r}: {error}. "
            "Give a tag of open_clip.list_pretrained() that this machine can reach, or a file of weights"
        ) from error
