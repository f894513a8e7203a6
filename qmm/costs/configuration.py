"""A configuration of `qmm fit` -> its fusion, built, without encoders, weights from afar, or data."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning import LightningDataModule

from qmm.contracts import Budget, Compressor, Decoder, Fusion
from qmm.errors import InputError
from qmm.model import counterpart_of
from qmm.training.cli import ConfigurationCLI, instantiate

_NAMED = ("vision", "audio", "text")  # the modalities that MultimodalModel has arguments for, in its order


class Entry(NamedTuple):
    """What a compressor hands to the fusion."""

    features: int
    low: float
    high: float


class Configured(NamedTuple):
    """What a configuration says of its fusion."""

    name: str
    fusion: Fusion
    """Built."""
    entries: dict[str, Entry]
    """By modality, in the order of the registers."""
    batch_size: int


def configured_fusion(args: Sequence[str], prog: str = "qmm circuit") -> Configured:
    """From the flags of `qmm fit` (`--config FILE ...`), whose precedence holds. Reads data only where a `counterpart` is as
    large as a decoder of unknown classes makes it.

    Raises InputError where the model is none of ours, or has no fusion.
    """
    return build(parse(args, prog))


def parse(args: Sequence[str], prog: str) -> dict[str, Any]:
    """The whole configuration, checked, as plain data."""
    config = ConfigurationCLI(args, prog).config
    plain = config.as_dict()
    if not plain.get("model"):
        raise InputError("no model: give a configuration, e.g. `--config configs/quickstart.yaml`, or `--ckpt_path FILE`")
    if not _model(plain).get("fusion"):
        raise InputError(f"{plain['model']['class_path']} has no `model` with a `fusion`; give a task of qmm.tasks")
    return plain


def build(plain: Mapping[str, Any], **changes: Any) -> Configured:
    """The fusion of a parsed configuration, with `changes` of its own arguments."""
    model = _model(plain)
    named = {m: model.get(m) for m in _NAMED} | (model.get("others") or {})
    branches = {modality: _arguments(branch) for modality, branch in named.items() if branch}
    if not branches:
        raise InputError("the model has no modality; give it at least one branch (vision, audio, text or others)")
    entries = {m: _entry(branch["compressor"]) for m, branch in branches.items()}
    own = fusion_config(plain)
    fusion = instantiate(Fusion, {**own, "init_args": {**(own.get("init_args") or {}), **changes}})
    widths = {modality: entry.features for modality, entry in entries.items()}
    fusion.build(widths)
    data = plain.get("data") or {}
    if model.get("counterpart"):
        fusion = counterpart_of(fusion, _decoder(model["decoder"], data), widths, model["counterpart"])
    return Configured(plain["name"], fusion, entries, (data.get("init_args") or {}).get("batch_size") or 32)


def counterparts(plain: Mapping[str, Any], **changes: Any) -> list[str]:
    """What the configuration's `counterpart` may be with such a fusion (`build`). Reads data as that does."""
    found = build(plain, **changes).fusion
    return list(found.counterparts(_budget(plain, found)))


def capacity(plain: Mapping[str, Any]) -> int:
    """Parameters of fusion and decoder, frozen ones too: what counterparts are matched in. Reads data as `build`."""
    return _budget(plain, build(plain).fusion).parameters


def _budget(plain: Mapping[str, Any], fusion: Fusion) -> Budget:
    decoder = _decoder(_model(plain)["decoder"], plain.get("data") or {})
    own = sum(p.numel() for p in fusion.parameters())
    return Budget(own + decoder.count_parameters(fusion.out_features), decoder.count_parameters)


def random_features(entries: Mapping[str, Entry], rows: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """(rows, k) by modality, uniform over the range of its compressor."""
    generator = torch.Generator().manual_seed(seed)
    return {
        m: low + (high - low) * torch.rand(rows, features, generator=generator) for m, (features, low, high) in entries.items()
    }


def fusion_config(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """`class_path` and `init_args` of a parsed configuration's fusion."""
    return _model(plain)["fusion"]


def _model(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    return _arguments((plain["model"].get("init_args") or {}).get("model"))


def _arguments(config: Any) -> Mapping[str, Any]:
    """Of a class that a configuration need not name, but may, as checkpoints do; none where it is no configuration."""
    if not isinstance(config, Mapping):
        return {}
    return config["init_args"] if "class_path" in config else config


def _entry(config: Any) -> Entry:
    compressor = instantiate(Compressor, config)
    return Entry(compressor.features, compressor.low, compressor.high)


def _decoder(config: Mapping[str, Any], data: Mapping[str, Any]) -> Decoder:
    """With the classes of the data, as `qmm fit` makes it; these are read, where the configuration does not name them."""
    arguments = dict(config.get("init_args") or {})
    if "classes" in arguments and not arguments["classes"]:
        arguments["classes"] = _classes(data)
    return instantiate(Decoder, {**config, "init_args": arguments})


def _classes(data: Mapping[str, Any]) -> list[str] | None:
    given = (data.get("init_args") or {}).get("classes")
    if given or not data:
        return given
    try:
        return instantiate(LightningDataModule, data).classes
    except (InputError, OSError) as error:
        raise InputError(
            f"how large the counterpart is depends on the number of classes, and the data that names them cannot be read "
            f"({error}); name them, `--model.init_args.model.decoder.init_args.classes [first, second]`"
        ) from error
