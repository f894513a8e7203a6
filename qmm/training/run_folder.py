"""RunFolder: everything a run leaves behind, in one folder that a person can read."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed
from lightning import Callback, LightningDataModule, Trainer
from matplotlib.figure import Figure

from qmm.files import write_json
from qmm.model import MultimodalModel
from qmm.training import plots
from qmm.training.effort import Stopwatch, peak_memory_bytes
from qmm.training.reports import Report, report_for
from qmm.types import Batch

VERSIONED = ("qmm", "torch", "lightning", "transformers", "qiskit", "numpy")


class RunFolder(Callback):
    """Writes, after `fit`: learning curves, the circuit's drawing, rows left out; after an evaluation, in a folder named after
    its split: metrics.json, the table and the pictures of its decoder's report (`qmm.training.reports`), a few examples.

    Args:
        folder: The run's folder.
        n_examples: How many right and how many wrong samples to show.
        pictures: Whether anything is drawn; numbers and tables are always written.
    """

    def __init__(self, folder: str, n_examples: int = 3, pictures: bool = True):
        self.folder, self.n_examples, self.pictures = Path(folder), n_examples, pictures
        self.history: list[dict[str, float]] = []
        self.effort = Stopwatch()
        self.lines: list[str] = []
        """What the last evaluation has to show in words."""
        self._report: Report | None = None
        self._rows: list[pd.DataFrame] = []
        self._validated = False

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "effort": self.effort.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]
        self.effort.load_state_dict(state_dict["effort"])

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        data: Any = getattr(trainer, "datamodule", None)
        skipped = [s._asdict() for s in getattr(data, "skipped", [])]
        dropped = getattr(data, "dropped", {})  # by split: rows that have none of the model's modalities
        write_json(self.folder / "skipped.json", {"count": len(skipped), "rows": skipped, "dropped": dropped})
        circuits = pl_module.model.fusion.circuits() if self.pictures else {}
        for name, circuit in circuits.items():
            from qmm.circuits import draw  # Qiskit's drawer, only where there is something to draw

            file = "circuit.png" if len(circuits) == 1 else f"circuit_{name}.png"
            self._save(draw(circuit.quantum_circuit), self.folder / file)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._validated = False
        self.effort.start()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn != "fit":
            self._conclude(trainer, pl_module, "val")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.effort.stop()
        kinds = (
            "train/",
            "angles/",
            "quantum/",
            *(("val/",) if self._validated else ()),
        )  # Lightning keeps numbers of older validations
        numbers = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(kinds)}
        if not self.history or self.history[-1]["epoch"] != trainer.current_epoch:  # one continued from its end ends it again
            self.history.append({"epoch": trainer.current_epoch, **numbers})

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero and self.history:
            pd.DataFrame(self.history).to_csv(self.folder / "history.csv", index=False)
            if self.pictures:
                self._save(plots.learning_curves(self.history), self.folder / "learning_curves.png")

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._rows, self._validated = [], True
        self._report = report_for(pl_module.model.decoder, getattr(trainer, "datamodule", None))

    on_test_start = on_validation_start

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if trainer.state.fn != "fit" and self._report is not None:
            self._rows.append(self._report.rows(batch, outputs["scores"]))

    on_test_batch_end = on_validation_batch_end

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._conclude(trainer, pl_module, "test")

    def _conclude(self, trainer: Trainer, pl_module: Any, split: str) -> None:
        table = _of_all_processes(pd.concat(self._rows, ignore_index=True))
        if not trainer.is_global_zero or self._report is None:
            return
        table = _with_groups(self._report.finish(table), getattr(trainer, "datamodule", None))
        folder = self.folder / split
        folder.mkdir(parents=True, exist_ok=True)
        metrics = {k.split("/", 1)[1]: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(f"{split}/")}
        write_json(
            folder / "metrics.json",
            {"split": split, "samples": len(table), "metrics": metrics, **self._facts(trainer, pl_module)},
        )
        table.to_parquet(folder / "predictions.parquet")
        self.lines = self._report.lines(table)
        if not self.pictures:
            return
        for name, picture in self._report.pictures(table).items():
            self._save(picture, folder / f"{name}.png")
        shown = self._examples(trainer, table)
        if shown:
            self._save(plots.examples(shown), folder / "examples.png")

    def _examples(self, trainer: Trainer, table: pd.DataFrame) -> list[plots.Example]:
        data: Any = getattr(trainer, "datamodule", None)
        if not hasattr(data, "raw_sample"):
            return []
        error = table["error"].to_numpy()
        best, worst = np.argsort(error, kind="stable"), np.argsort(-error, kind="stable")
        wrong = [i for i in worst if not table["right"].iloc[i]][: self.n_examples]
        right = [i for i in best if table["right"].iloc[i]]
        right = right[:: max(1, len(right) // max(1, self.n_examples))][: self.n_examples]  # from the surest to the barest
        right = right or [i for i in best if i not in wrong][: self.n_examples]  # the least wrong
        chosen = [table.iloc[int(i)] for i in [*right, *wrong]]
        return [
            plots.Example(data.raw_sample(row["id"]), f"{row['id']}: {row['summary']}", bool(row["right"])) for row in chosen
        ]

    def _facts(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        return {
            "epochs": len(self.history) or None,
            "fit_seconds": round(self.effort.seconds, 2) or None,
            "fit_cpu_seconds": round(self.effort.cpu_seconds, 2) or None,
            "fit_joules": round(self.effort.joules, 1) or None,
            "peak_memory_bytes": peak_memory_bytes(),
            "parameters": count_parameters(pl_module.model),
            "train_samples": _train_samples(getattr(trainer, "datamodule", None)),
            "skipped": len(getattr(getattr(trainer, "datamodule", None), "skipped", [])),
            "threads": torch.get_num_threads(),  # sums round differently with another number
            "seed": int(os.environ["PL_GLOBAL_SEED"]) if "PL_GLOBAL_SEED" in os.environ else None,
            "versions": {name: version(name) for name in VERSIONED} | {"python": platform.python_version()},
        }

    def _save(self, figure: Figure, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)


def count_parameters(model: MultimodalModel) -> dict[str, int]:
    """All, trained, and those of fusion and decoder, which counterparts are matched in; `_total` counts frozen ones too.

    Of a decoder that holds a language model only its readers count as decoder; numbers that one fitted otherwise than by
    gradients (`fitted_parameters`) count as its own.
    """
    fitted = getattr(model.decoder, "fitted_parameters", 0)
    parts = {"": list(model.parameters()), "fusion": list(model.fusion.parameters()), "decoder": list(model.decoder.readers())}
    own = {name: 0 if name == "fusion" else fitted for name in parts}
    sizes = {name: own[name] + sum(p.numel() for p in part) for name, part in parts.items()}
    trained = {name: own[name] + sum(p.numel() for p in part if p.requires_grad) for name, part in parts.items()}
    return {
        "total": sizes[""],
        "trained": trained[""],
        **{name: trained[name] for name in ("fusion", "decoder")},
        **{f"{name}_total": sizes[name] for name in ("fusion", "decoder")},
    }


def _train_samples(data: Any) -> int | None:
    """None for data that is none of ours, which need not know."""
    rows = data.rows if isinstance(data, LightningDataModule) and hasattr(data, "rows") else None
    return len(rows["train"]) if isinstance(rows, Mapping) and "train" in rows else None


def _with_groups(table: pd.DataFrame, data: Any) -> pd.DataFrame:
    """Also what must not be torn from each sample, such as its speaker, where the data knows: for statistics over groups."""
    groups = data.sample_groups(table["id"].tolist()) if hasattr(data, "sample_groups") else None
    return table if groups is None else table.assign(group=groups)


def _of_all_processes(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of all processes, each sample once: distributed samplers repeat some to make even shares."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return table
    tables: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(tables, table)
    return pd.concat(tables, ignore_index=True).drop_duplicates("id", ignore_index=True)
