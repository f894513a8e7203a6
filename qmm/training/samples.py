"""SampleLogger: what a model that speaks says of the same few samples, epoch by epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch.utils.data import DataLoader

from qmm.decoders.speaker import speaker, speaks
from qmm.errors import InputError
from qmm.training import plots
from qmm.types import Batch


class Said(NamedTuple):
    """What was said of a sample in an epoch."""

    id: str
    prompt: str
    references: list[str]
    sentence: str
    score: float

    @property
    def asked(self) -> str:
        """The prompt, if there is one, and what is true."""
        return " ".join(filter(None, [self.prompt, *self.references[:1]]))


class SampleLogger(Callback):
    """After every validation of a fit: sentences of a few samples of the split "val", always the same, beside their references.

    They stand in TensorBoard, as text and beside picture and spectrogram, and in `samples.md` and `samples.png` of the run's
    folder. Sentences are generated as `qmm predict` would. Runs in the first process only.

    Args:
        folder: The run's folder.
        count: How many samples, spread evenly over the split.
        pictures: Whether anything is drawn.
    """

    def __init__(self, folder: str, count: int = 4, pictures: bool = True):
        self.folder, self.count, self.pictures = Path(folder), count, pictures
        self.said: dict[str, list[dict[str, Any]]] = {}
        """By id, what was said in each epoch."""

    def state_dict(self) -> dict[str, Any]:
        return {"said": self.said}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.said = state_dict["said"]

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Raises InputError for a model that says nothing."""
        if not speaks(pl_module):
            raise InputError(
                f"a SampleLogger shows sentences, and a {type(pl_module.model.decoder).__name__} says none; leave it out"
            )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero or not self.count:
            return
        batch = self._batch(trainer)
        if batch is None:
            return
        rows = list(self._speak(pl_module, batch))
        for row in rows:
            self.said.setdefault(row.id, []).append({"epoch": trainer.current_epoch, **row._asdict()})
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "samples.md").write_text(self._as_markdown())
        picture = self._draw(trainer, rows) if self.pictures else None
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("samples", "\n\n".join(map(_as_text, rows)), trainer.global_step)
                if picture is not None:
                    logger.experiment.add_image("samples", picture, trainer.global_step, dataformats="HWC")

    def _batch(self, trainer: Trainer) -> Batch | None:
        data: Any = getattr(trainer, "datamodule", None)
        loader = data.val_dataloader() if data is not None else None
        if not isinstance(loader, DataLoader):
            return None
        dataset: Any = loader.dataset
        count = min(self.count, len(dataset))
        return loader.collate_fn([dataset[i * len(dataset) // count] for i in range(count)])

    def _speak(self, pl_module: Any, batch: Batch) -> Iterator[Said]:
        batch = pl_module.transfer_batch_to_device(batch, pl_module.device, 0)
        with torch.no_grad():
            decoder, prefix = speaker(pl_module.model.decoder, pl_module(batch).prediction)
            said = decoder.predict(prefix)
        prompts = batch.prompts or [""] * len(batch.ids)
        for name, prompt, references, own in zip(batch.ids, prompts, batch.targets[decoder.target], said, strict=True):
            yield Said(name, prompt, list(references), own.sentence, own.score)

    def _draw(self, trainer: Trainer, rows: list[Said]) -> np.ndarray | None:
        """The picture (H, W, 3) that `samples.png` now holds: drawn once, since drawing takes longer than writing."""
        data: Any = getattr(trainer, "datamodule", None)
        if not hasattr(data, "raw_sample"):
            return None
        shown = [plots.Example(data.raw_sample(row.id), f"{row.id}: {row.asked}\n→ {row.sentence}") for row in rows]
        plots.examples(shown).savefig(self.folder / "samples.png", dpi=110)
        with Image.open(self.folder / "samples.png") as picture:
            return np.asarray(picture.convert("RGB"))

    def _as_markdown(self) -> str:
        lines = ["# What the model says of the same samples, epoch by epoch", ""]
        if self.pictures:
            lines += ["![the samples and what was said of them last](samples.png)", ""]
        for name, epochs in self.said.items():
            lines += [f"## {name}", ""]
            if epochs[-1]["prompt"]:
                lines += [f"Asked: {epochs[-1]['prompt']}", ""]
            lines += [f"- {reference}" for reference in epochs[-1]["references"]]
            lines += ["", "| epoch | the model | mean log probability |", "|---|---|---|"]
            lines += [f"| {row['epoch']} | {_cell(row['sentence'])} | {row['score']:.2f} |" for row in epochs] + [""]
        return "\n".join(lines)


def _as_text(row: Said) -> str:
    """Markdown, as TensorBoard shows it."""
    return f"**{row.id}**: {row.asked}  \n→ {row.sentence} ({row.score:.2f})"


def _cell(sentence: str) -> str:
    return " ".join(sentence.replace("|", "\\|").split())
