"""AtomicCheckpointIO: a checkpoint on disk is whole or not there, and nothing in it is unpickled."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH

from qmm.errors import InputError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames; reads plain data and tensors only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        torch.save(checkpoint, partial)
        os.replace(partial, path)

    def load_checkpoint(self, path: _PATH, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(path, map_location)


def read_checkpoint(path: _PATH, map_location: Any = "cpu") -> dict[str, Any]:
    """Raises InputError when the file is missing, truncated, or holds more than tensors and plain data."""
    if not Path(path).is_file():
        raise InputError(f"checkpoint {path} does not exist; give the path of a .ckpt file")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises many kinds, some with the advice to unpickle
        raise InputError(
            f"{path} cannot be read as a checkpoint: it is truncated, of another kind, or holds pickled objects, which qmm "
            "never unpickles; give a .ckpt file that qmm wrote"
        ) from error


def check_shapes(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
    """Raises InputError naming the first tensors in which a checkpoint differs from the model it is meant for."""
    wrong = [f"{k}: model {tuple(v.shape)}, checkpoint {tuple(found[k].shape)}" for k, v in expected.items()
             if k in found and isinstance(v, torch.Tensor) and v.shape != found[k].shape]  # fmt: skip
    wrong += [f"{k}: not in the checkpoint" for k in expected if k not in found]
    wrong += [f"{k}: not in the model" for k in found if k not in expected]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise InputError(
            f"the checkpoint belongs to another model ({'; '.join(wrong[:4])}{more}); "
            "use the configuration it was trained with, or train anew under another --name"
        )
