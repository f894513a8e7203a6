"""FromCheckpoint: the encoder of one modality, as an earlier training left it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from qmm.contracts import Encoder
from qmm.errors import InputError
from qmm.loading import load
from qmm.types import Features


class FromCheckpoint(Encoder):
    """The encoder, pre-processing included, that a checkpoint of qmm holds for a modality.

        encoder:
          class_path: qmm.encoders.FromCheckpoint
          init_args: {checkpoint: runs/av_scenes_vision/checkpoints/last.ckpt, modality: vision}

    The file is read as `qmm.load` reads it: nothing is unpickled, and only classes of trusted packages are built. An encoder of
    a class of your own is handed over in Python: `FromCheckpoint(encoder=load(path, allow=[...]).model.branches[m].encoder)`.
    Checkpoints written later hold the encoder itself, so they do not need the file.

    Args:
        checkpoint: A .ckpt file of a qmm task.
        modality: Whose encoder to take: vision, audio, text or another name that its model has.
        frozen: Keep it as it is, statistics and dropout too, so that its features can be cached; or train it on.
        encoder: In place of a checkpoint, the encoder itself; not looked at where there is a checkpoint.
    """

    def __init__(
        self, checkpoint: str | None = None, modality: str | None = None, frozen: bool = True, encoder: Encoder | None = None
    ):
        super().__init__()
        if checkpoint is not None:
            encoder = _read(checkpoint, modality)
        if encoder is None:
            raise InputError("FromCheckpoint needs `checkpoint`, a .ckpt file of a qmm task, and `modality`")
        self.encoder, self._frozen = encoder, frozen
        if frozen:
            self.encoder.requires_grad_(False)
        self.dim = self.encoder.dim
        self.train()

    def config_arguments(self) -> dict[str, Any]:
        """The encoder in place of the file that it came from."""
        return {"encoder": self.encoder, "frozen": self._frozen}

    @property
    def preprocess(self) -> Callable[[Any], Tensor]:
        return self.encoder.preprocess

    @property
    def frozen(self) -> bool:
        return self._frozen or self.encoder.frozen

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Features:
        return self.encoder(values, lengths)

    def mix(self, values: Tensor, others: Tensor, share: Tensor) -> Tensor:
        return self.encoder.mix(values, others, share)


def _read(checkpoint: str, modality: str | None) -> Encoder:
    branches = load(checkpoint).model.branches
    if modality not in branches:
        raise InputError(f"checkpoint {checkpoint} has no encoder for modality {modality!r}; it has {', '.join(branches)}")
    return branches[modality].encoder
