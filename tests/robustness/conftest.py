"""A planted truth: `signal` tells the class, `noise` knows nothing of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer

from qmm import Branch, MultimodalModel
from qmm.data import VectorsDataModule
from qmm.decoders import ClassDecoder
from qmm.encoders import LinearCompressor, VectorEncoder
from qmm.fusion import ConcatFusion, QuantumFusion
from qmm.tasks import MultimodalClassification

Planted = Callable[..., VectorsDataModule]


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 rows to train on, 500 to test. Entries of `signal` are of different sizes, one of `noise` is constant."""
    rng = np.random.default_rng(0)
    label = np.arange(1100) % 2
    signal = rng.normal(0, 1, (1100, 2)) * [0.3, 1] + np.outer(2 * label - 1, [1, 0])
    noise = rng.normal(0, 1, (1100, 2)) * [1, 0] + [0, 5]
    path = tmp_path_factory.mktemp("planted") / "d.npz"
    arrays: dict[str, Any] = {"signal": signal * [10, 0.1], "noise": noise}
    split = np.array(["train"] * 600 + ["test"] * 500)
    value = signal[:, 0] + 0.1 * rng.normal(0, 1, 1100)
    arrays = {name: values.astype(np.float32) for name, values in arrays.items()}
    np.savez(path, **arrays, label=label, value=value, split=split)
    return path


@pytest.fixture(scope="session")
def planted(vectors: Path) -> Planted:
    """`planted(batch_size=32, ...)`: the data module."""

    def make(**arguments: Any) -> VectorsDataModule:
        kinds: dict[str, Any] = {} if arguments.get("regression") else {"classes": ["no", "yes"]}
        return VectorsDataModule(str(vectors), {"signal": "signal", "noise": "noise"}, **{**kinds, **arguments})

    return make


def make_task(
    quantum: bool, kind: Any = MultimodalClassification, decoder: Any = None, read: tuple[str, ...] = ("signal", "noise")
) -> Any:
    torch.manual_seed(0)
    branches = {name: Branch(VectorEncoder(2), LinearCompressor(2)) for name in read}
    fusion = QuantumFusion(2) if quantum else ConcatFusion(4, 4)
    return kind(MultimodalModel(fusion, decoder or ClassDecoder(["no", "yes"]), others=branches), learning_rate=0.05)


def fitted(task: Any, data: VectorsDataModule, folder: Path, epochs: int = 8) -> Any:
    options: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
    )
    options |= {"max_epochs": epochs, "accelerator": "cpu", "limit_val_batches": 0, "default_root_dir": folder}
    Trainer(log_every_n_steps=1, **options).fit(task, datamodule=data)
    return task


@pytest.fixture(scope="session")
def learned(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A quantum task that has learned to tell the class."""
    return fitted(make_task(quantum=True), planted(batch_size=64), tmp_path_factory.mktemp("learned"))
