"""load: a checkpoint -> the task it was saved from, built from plain data."""

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning import LightningModule
from sklearn.base import BaseEstimator
from torch import nn

from qmm.config import Configurable
from qmm.errors import InputError
from qmm.suggestions import did_you_mean, exported_classes
from qmm.training.checkpoints import check_shapes, read_checkpoint

TRUSTED = ("qmm", "torch.nn", "torchvision.transforms", "torchaudio.transforms", "sklearn")
"""Packages whose classes a checkpoint may name; any other needs the caller's consent."""


def load(checkpoint: str | Path, allow: Collection[str] = ()) -> Any:
    """The trained task, in evaluation mode, on the CPU.

    `allow` names further packages or modules whose classes the checkpoint may build, e.g. `("my_lab.models",)`. Nothing is
    unpickled. Raises InputError when the file is damaged, names a class of another package, or does not fit its own
    configuration.
    """
    content = read_checkpoint(checkpoint)
    if "qmm" not in content:
        raise InputError(f"checkpoint {checkpoint} carries no qmm configuration; was it saved from a qmm.tasks task?")
    task = build(content["qmm"]["task"], allow)
    if not isinstance(task, LightningModule):
        raise InputError(f"checkpoint {checkpoint} describes a {type(task).__name__}, expected a LightningModule")
    check_shapes(task.state_dict(), content["state_dict"])
    task.load_state_dict(content["state_dict"])
    return task.eval()


def build(config: Any, allow: Collection[str] = ()) -> Any:
    """The object that `qmm.config.to_config` described."""
    if isinstance(config, list):
        return [build(item, allow) for item in config]
    if not isinstance(config, dict):
        return config
    if set(config) != {"class_path", "init_args"}:
        return {key: build(value, allow) for key, value in config.items()}
    arguments = {key: build(value, allow) for key, value in config["init_args"].items()}
    return find_class(config["class_path"], allow)(**arguments)


def find_class(path: str, allow: Collection[str] = ()) -> type:
    """The class of that name, if it is of a trusted package and a part of a model or of its data."""
    module, _, name = path.rpartition(".")
    if not any(module == package or module.startswith(f"{package}.") for package in (*TRUSTED, *allow)):
        root = module.split(".")[0]
        raise InputError(
            f"the checkpoint wants to build {path}, which is not of {', '.join(TRUSTED)}; "
            f"if you trust it, allow it: load(..., allow=[{root!r}]), or --allow {root}"
        )
    found = getattr(import_module(module), name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module | Configurable | BaseEstimator)):
        meant = did_you_mean(name, exported_classes(module))
        raise InputError(f"the checkpoint names {path}, which is no part of a model or its data{meant}")
    return found
