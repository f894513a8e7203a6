"""Robustness: the callback by which `qmm fit` and `qmm test` measure robustness behind their own evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from qmm.errors import InputError
from qmm.files import write_json
from qmm.robustness.evaluating import Evaluation, points_of, require_supported
from qmm.robustness.picture import picture
from qmm.robustness.plan import LEVELS, Plan
from qmm.training.run_folder import RunFolder


class Robustness(Callback):
    """An overlay measures robustness behind the evaluation of `qmm fit`, `qmm validate` and `qmm test`:

        trainer:
          callbacks+:
            - class_path: qmm.robustness.Robustness
              init_args: {levels: [0, 0.5, 1]}

    `robustness.json` in the run's folder is then a list of {kind, modality, level, metric, value, samples}, as `evaluate` has
    them, `robustness.png` shows it; both are of the split that was evaluated last. Points are kept as they come: a run that was
    killed meanwhile measures the rest. Arguments that do not fit are found before the training. Circuits run where the run's
    do: on a backend that counts, an evaluation for each point is added to what the run has planned.

    Args:
        levels: Of noise, ascending from 0.
        kinds: "noise", "missing"; default: noise, and missing where the model reads several modalities.
        modalities: To disturb; default: all that the model reads. Those that it does not read are passed over, so that arms
            that lack some may share the overlay.
        noise: Modality -> name of its noise, where it is not the first of its kind in `qmm.robustness.NOISES`.
        seed: Of the noise, apart from the run's, so that all seeds of a study are shown the same.
        folder: Where to write; default: the run's folder, else the trainer's `default_root_dir`.
    """

    def __init__(
        self,
        levels: Sequence[float] = LEVELS,
        kinds: list[str] | None = None,
        modalities: list[str] | None = None,
        noise: Mapping[str, str] | None = None,
        seed: int = 0,
        folder: str | None = None,
    ):
        self.plan = Plan(
            tuple(map(float, levels)),
            None if kinds is None else tuple(kinds),
            None if modalities is None else tuple(modalities),
            dict(noise or {}),
            seed,
        )
        self.folder = folder

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Raises InputError for a plan, a task or data that it cannot measure."""
        require_supported(pl_module)
        data: Any = getattr(trainer, "datamodule", None)
        if not hasattr(data, "connect"):
            raise InputError("Robustness evaluates the data module anew; give the trainer one of qmm.data, not data loaders")
        points_of(pl_module, data, self.plan)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.state.fn != "fit":
            self._measure(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._measure(trainer, pl_module, "test")

    def _measure(self, trainer: Trainer, pl_module: Any, split: str) -> None:
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        runs = [callback for callback in trainer.callbacks if isinstance(callback, RunFolder)]  # type: ignore[attr-defined]
        folder = Path(self.folder or (runs[0].folder if runs else trainer.default_root_dir))
        evaluation = Evaluation(pl_module, trainer.datamodule, self.plan, split)  # type: ignore[attr-defined]
        with trainer.precision_plugin.forward_context():
            table = evaluation.run(folder / "robustness" / "points", progress=trainer.progress_bar_callback is not None)
        write_json(folder / "robustness.json", table.to_dict("records"))
        if len(table) and (not runs or runs[0].pictures):
            metric = str(table["metric"].iloc[0])
            picture(table.assign(arm="model", seed=0), metric).savefig(folder / "robustness.png", dpi=110)
