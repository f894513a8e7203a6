"""FeatureCache: a frozen encoder's features on disk, so that later epochs and studies skip the encoder."""

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from qmm.config import to_config
from qmm.contracts import Encoder
from qmm.errors import InputError
from qmm.types import Features

logger = logging.getLogger(__name__)

_STALE_SECONDS = 3600
"""A temporary file older than this was left by a writer that was killed."""


def encoder_fingerprint(encoder: Encoder) -> str:
    """64 hexadecimal digits that change with the encoder's weights, class, configuration and pre-processing."""
    digest = hashlib.sha256(json.dumps(to_config(encoder), sort_keys=True).encode())
    digest.update(repr(encoder.preprocess).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


class FeatureCache:
    """Features by content key (the sha256 of a file's bytes, of a text, of a vector), in `folder/<fingerprint>`.

    Every `put` writes one safetensors shard, whole or not at all, under a name of its own; so a process may be killed at any
    moment, and several may write at once. A damaged shard is reported, removed, and its rows count as missing.

        cache = FeatureCache("cache", encoder_fingerprint(encoder))
        for keys in batches_of(cache.missing(all_keys)):
            cache.put(keys, encoder(*inputs_of(keys)))
        cache[key].pooled  # (D,)
    """

    def __init__(self, folder: str | Path, fingerprint: str, tokens: bool = False):
        """`tokens`: whether tokens and their mask are kept as well, where the encoder has them; in a folder of its own."""
        self.tokens = tokens
        self.folder = Path(folder) / (f"{fingerprint[:40]}-tokens" if tokens else fingerprint[:40])
        self._rows: dict[str, tuple[str, int]] = {}
        self._shards: dict[str, dict[str, Tensor]] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the feature cache cannot use the folder {self.folder}: {error}; choose another one") from error
        self._sweep()
        self.refresh()

    def refresh(self) -> None:
        """Take in what other processes have written since."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in self._shards:
                self._take_in(path)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that still have to be computed, each once, in the order given."""
        self.refresh()
        return [key for key in dict.fromkeys(keys) if key not in self._rows]

    def put(self, keys: Sequence[str], features: Features) -> None:
        """Keep B rows. Raises InputError when keys and rows differ in number."""
        if len(keys) != len(features.pooled):
            raise InputError(f"{len(keys)} keys for {len(features.pooled)} rows of features; give one key a row")
        if not keys:
            return
        tensors = {"pooled": features.pooled}
        if self.tokens and features.tokens is not None:
            everything = torch.ones(features.tokens.shape[:2], dtype=torch.bool)
            tensors |= {"tokens": features.tokens, "mask": everything if features.mask is None else features.mask}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"keys": json.dumps(list(keys)), "sha256": _checksum(list(keys), tensors)}
        name = uuid.uuid4().hex
        temporary, path = self.folder / f"{name}.tmp", self.folder / f"{name}.safetensors"
        save_file(tensors, temporary, metadata)
        os.replace(temporary, path)
        self._take_in(path)

    def __getitem__(self, key: str) -> Features:
        """One sample's features: pooled (D,), and with `tokens` tokens (T, D) and mask (T,), padding cut off.

        Raises KeyError for a key that is not there.
        """
        name, row = self._rows[key]
        shard = self._shards[name]
        if "tokens" not in shard:
            return Features(shard["pooled"][row].clone())
        mask = shard["mask"][row]
        end = int(mask.nonzero()[-1]) + 1 if mask.any() else 0
        return Features(shard["pooled"][row].clone(), shard["tokens"][row, :end].clone(), mask[:end].clone())

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "folder": self.folder}  # a worker process maps the shards itself

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _rows={}, _shards={})
        self.refresh()

    def _take_in(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as shard:
                metadata = shard.metadata() or {}
                tensors = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118 (it is no dict)
            keys = json.loads(metadata.get("keys", "[]"))
            if metadata.get("sha256") != _checksum(keys, tensors):
                raise SafetensorError("its content does not match its checksum")
        except (SafetensorError, json.JSONDecodeError) as error:
            logger.warning("removing the damaged feature cache shard %s (%s); its rows will be computed again", path, error)
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:  # another process found it damaged first
            return
        self._shards[path.name] = tensors
        self._rows.update((key, (path.name, row)) for row, key in enumerate(keys))

    def _sweep(self) -> None:
        for path in self.folder.glob("*.tmp"):
            try:
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
            except FileNotFoundError:  # another process swept it
                continue


def _checksum(keys: list[str], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(keys).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
