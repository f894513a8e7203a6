"""Reading pretrained weights: a hub name or a local folder, safetensors only, never with remote code."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig
from transformers.utils import logging

from qmm.errors import InputError

_NOT_ARCHITECTURE = ("transformers_version", "architectures", "dtype", "_name_or_path", "id2label", "label2id", "problem_type")


def load_config(config_class: Any, source: str, overrides: Mapping[str, Any]) -> PretrainedConfig:
    """The configuration in a folder or on the hub, `overrides` applied. Raises InputError when there is none."""
    with told_plainly(source), quiet():
        return config_class.from_pretrained(source, trust_remote_code=False, **overrides)


def load_model(model_class: Any, source: str, config: PretrainedConfig, **kwargs: Any) -> Any:
    """The model in a folder or on the hub, in float32, its unused pooler left out.

    Raises InputError when it cannot be read, is not in safetensors, does not fit `config`, or lacks weights.
    """
    with told_plainly(source), quiet():
        safely: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False}
        reporting = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # told below, with the remedy
        model, report = model_class.from_pretrained(source, config=config, dtype=torch.float32, **reporting, **safely, **kwargs)
    if report["mismatched_keys"]:
        names = ", ".join(str(key[0]) for key in sorted(report["mismatched_keys"])[:3])
        raise InputError(
            f"pretrained={source!r} has {len(report['mismatched_keys'])} weights of other shapes than `architecture` asks for "
            f"({names}, ...); set `architecture: null` to take the one that comes with the weights"
        )
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise InputError(
            f"{source} lacks {len(missing)} weights of a {type(model).__name__} ({', '.join(missing[:5])}, ...); "
            "is it of another architecture?"
        )
    return without_pooler(model)


def without_pooler(model: Any) -> Any:
    """The model without the pooler, whose output we do not use and whose weights would never get a gradient."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def architecture_of(config: PretrainedConfig) -> dict[str, Any]:
    """All fields of a configuration that decide how the model computes, as plain data.

    Left out are fields of older versions that weights may come with and that mean nothing to transformers any more.
    """
    known = type(config)()
    return {k: v for k, v in config.to_dict().items() if k not in _NOT_ARCHITECTURE and hasattr(known, k)}


def read_json(source: str, filename: str) -> dict[str, Any] | list[Any] | None:
    """A JSON file that lies beside the weights in a folder or on the hub; None where there is none."""
    if Path(source).is_dir():
        path = Path(source) / filename
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with told_plainly(source):
        try:
            return json.loads(Path(hf_hub_download(source, filename)).read_text(encoding="utf-8"))
        except EntryNotFoundError:
            return None


def read_weights(path: str) -> dict[str, Tensor]:
    """A state dict from a `.safetensors` file, or from a torch file that holds tensors alone."""
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds; each means the same to the user
        raise InputError(
            f"{path}: cannot be read ({error}); expected weights as safetensors, or tensors saved by torch"
        ) from error


@contextmanager
def told_plainly(source: str) -> Iterator[None]:
    """Whatever goes wrong while reading `source` becomes an InputError that names it."""
    if not Path(source).exists() and (source.count("/") > 1 or source.startswith((".", "/", "~"))):
        raise InputError(f"pretrained={source!r}: there is no such folder")
    try:
        yield
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        kind = "local folder" if Path(source).exists() else "hub name (no local folder is called so)"
        raise InputError(
            f"pretrained={source!r}, taken as a {kind}, cannot be loaded: {error} "
            "Give a hub name that this machine can reach, or a folder with config.json and model.safetensors"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """No load report and no bar on the screen: what matters of them is raised as an error."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
