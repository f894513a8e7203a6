"""Dynamics: how a training of circuits fares, epoch by epoch, and a word when it meets a barren plateau."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from qmm.circuit_weights import weighted_circuits
from qmm.errors import InputError
from qmm.quantum import CircuitError, Evaluation, recording
from qmm.training import dynamics_plots
from qmm.training.dynamics_readings import Circuits, Tally, first_rows, flatness, is_exact, read_circuit, read_losses
from qmm.training.run_folder import RunFolder
from qmm.types import Batch


class Dynamics(Callback):
    """Logs, writes (dynamics.csv) and draws (dynamics.png) for each circuit of a training, found by themselves:

    slope of outputs (rms of their derivatives, by layer), quantum and classical Fisher information of a weight, the share of
    directions that move the state and the local effective dimension (arXiv:2112.04807), both as shares of the weights,
    entanglement (Meyer-Wallach; entropies of registers), circular spread of weights and inputs; of each epoch's steps gradient
    norms of the quantum and the classical part and the variance of the loss's gradient by layer; and, for tasks of qmm.tasks
    with several losses, cosines of their gradients. All is exact, at the same samples each time, before the epoch's first step.

    Works with any LightningModule. One that is no task of qmm.tasks, or whose circuits run on shots or a device, is not run
    once more: the angles of its first training step of the epoch serve, and there are no cosines.

    Args:
        every: Epochs between looks at the circuits. Gradient norms are taken of all steps.
        rows: Samples that are looked at.
        plateau: A warning says so, and what to try, when the slope of a circuit's outputs, or of one of its layers, falls
            below this: output per radian; 0.01 takes some 5,000 shots a value to be seen.
        data_size: Of the effective dimension: from how many samples one learns.
        most_qubits: Circuits that have more are left out: their states take too long.
        pictures: Whether to draw.
        folder: Where to write; by default the run's folder, else the logger's, else the trainer's `default_root_dir`.
    """

    def __init__(
        self,
        every: int = 1,
        rows: int = 32,
        plateau: float = 0.01,
        data_size: int = 10_000,
        most_qubits: int = 14,
        pictures: bool = True,
        folder: str | None = None,
    ):
        """Raises InputError for numbers that make no sense."""
        if every < 1 or rows < 1 or plateau < 0 or most_qubits < 1 or data_size < 19:
            given = f"every={every}, rows={rows}, plateau={plateau}, data_size={data_size}, most_qubits={most_qubits}"
            raise InputError(f"{given}; give at least 1, plateau 0 or more, data_size 19 or more")
        self.every, self.rows, self.plateau, self.data_size = every, rows, plateau, data_size
        self.most_qubits, self.pictures, self.folder = most_qubits, pictures, folder
        self.history: list[dict[str, float]] = []
        self.seconds, self._fit_seconds = 0.0, 0.0
        self._told: set[str] = set()
        self._probe: Batch | None = None
        self._tally: Tally | None = None
        self._row: dict[str, float] = {}
        self._open: ExitStack | None = None
        self._tape: list[Evaluation] = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": [dict(row) for row in self.history],
            "told": sorted(self._told),
            "seconds": self.seconds,
            "fit_seconds": self._fit_seconds + time.perf_counter() - self._began if self._running else self._fit_seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history, self._told = list(state_dict["history"]), set(state_dict["told"])
        self.seconds, self._fit_seconds = state_dict["seconds"], state_dict["fit_seconds"]

    _running = False
    _began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began, self._running, self._probe = time.perf_counter(), True, None
        if not weighted_circuits(pl_module):
            rank_zero_warn("Dynamics found no circuit with weights in this model: gradient norms are all it will tell")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with self._timed():
            self._row, self._tally = {"epoch": float(trainer.current_epoch)}, Tally(pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx or trainer.current_epoch % self.every:
            return
        if self._is_ours(pl_module, batch):
            with self._timed():
                if self._probe is None:
                    self._probe = first_rows(batch, self.rows)
                self._look(pl_module)
        else:
            self._open = ExitStack()
            self._tape = self._open.enter_context(recording())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._open is not None:
            self._close()
            with self._timed():
                self._read(pl_module, self._tape)
            self._tape = []

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self._tally is not None:
            with self._timed():
                self._tally.add()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with self._timed():
            if self._tally is not None:
                self._row |= self._tally.readings()
            pl_module.log_dict({f"dynamics/{k}": v for k, v in self._row.items() if k != "epoch"}, rank_zero_only=True)
            self._keep_row()
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with self._timed():
            if self._probe is not None:
                self._row = {"epoch": float(trainer.current_epoch)}
                self._look(pl_module)
                self._keep_row()
            self._write(trainer)
            if trainer.is_global_zero and self.pictures and self.history:
                figure = dynamics_plots.dynamics(self.history, self.plateau)
                figure.savefig(self._home(trainer) / "dynamics.png", dpi=110)
        self._fit_seconds += time.perf_counter() - self._began
        self._running = False
        if trainer.is_global_zero:
            share = self.seconds / max(self._fit_seconds, 1e-9)
            print(f"Dynamics took {self.seconds:.1f} s, {share:.1%} of the training.")

    def _keep_row(self) -> None:
        """In place of one of the same epoch: the last of a training that is continued is the first of what follows."""
        self.history = [row for row in self.history if row["epoch"] != self._row["epoch"]]
        self.history.append(self._row)

    def _is_ours(self, module: Any, batch: Any) -> bool:
        return isinstance(batch, Batch) and hasattr(getattr(module, "model", None), "losses") and is_exact(module)

    def _look(self, module: LightningModule) -> None:
        """A pass of the kept samples, and all that it tells."""
        tape, conflicts = read_losses(module, self._probe)  # type: ignore[arg-type]
        self._row |= conflicts
        self._read(module, tape)

    def _read(self, module: LightningModule, tape: list[Evaluation]) -> None:
        circuits = Circuits.of(module, tape, self.rows)
        for name in circuits.missing:
            self._tell_once(f"{name}/missing", f"Dynamics: no sample was run through {name}, so nothing is told of it")
        for name, evaluation in circuits.evaluations.items():
            n_qubits = evaluation.circuit.circuit.quantum_circuit.num_qubits
            if n_qubits > self.most_qubits:
                advice = f"`most_qubits`={self.most_qubits} leaves it out of Dynamics"
                self._tell_once(f"{name}/large", f"{name} has {n_qubits} qubits, {advice}")
                continue
            try:
                readings = read_circuit(evaluation, self.data_size)
            except CircuitError as error:
                self._tell_once(f"{name}/error", f"Dynamics cannot look at {name}: {error}")
                continue
            found = flatness(name, evaluation.circuit, readings, self.plateau)
            if found.is_plateau or found.flat_layers:
                self._tell_once(f"{name}/plateau" if found.is_plateau else f"{name}/layer", str(found))
            self._row |= {f"{name}/{kind}": value for kind, value in readings.items()}

    def _tell_once(self, key: str, words: str) -> None:
        if key not in self._told:
            self._told.add(key)
            rank_zero_warn(words)

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began

    def _home(self, trainer: Trainer) -> Path:
        if self.folder is not None:
            return Path(self.folder)
        runs = [c for c in trainer.callbacks if isinstance(c, RunFolder)]  # type: ignore[attr-defined]
        return runs[0].folder if runs else Path(trainer.log_dir or trainer.default_root_dir)

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero or not self.history:
            return
        home = self._home(trainer)
        home.mkdir(parents=True, exist_ok=True)
        partial = home / ".dynamics.csv.partial"
        pd.DataFrame(self.history).to_csv(partial, index=False)
        partial.replace(home / "dynamics.csv")
