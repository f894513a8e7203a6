"""A small real study, run as a user runs it, on data whose truth is known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qmm.study.statistics import claims


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """Three arms. `same` reads the columns of `signal` in another order, which changes no model's chances, on whatever data;
    `noise` knows nothing of the label."""
    rng = np.random.default_rng(0)
    label = np.arange(240) % 2
    signal = rng.normal(0, 1, (240, 6)) + 0.5 * (2 * label[:, None] - 1)
    split = np.array(["train"] * 120 + ["val"] * 40 + ["test"] * 80)
    columns: dict[str, Any] = {"signal": signal, "same": signal[:, ::-1], "noise": rng.normal(0, 1, (240, 6))}
    columns = {name: values.astype(np.float32) for name, values in columns.items()}
    np.savez(tmp_path / "d.npz", **columns, label=label, split=split)
    encoder = {"class_path": "qmm.encoders.VectorEncoder", "init_args": {"dim": 6, "hidden": [16, 16]}}
    compressor = {"class_path": "qmm.encoders.LinearCompressor", "init_args": {"features": 3}}
    model = {
        "text": {"encoder": encoder, "compressor": compressor},
        "fusion": {"class_path": "qmm.fusion.QuantumFusion", "init_args": {"layers": 2}},
        "decoder": {"class_path": "qmm.decoders.ClassDecoder"},
    }
    data = {"path": str(tmp_path / "d.npz"), "columns": {"text": "signal"}, "classes": ["no", "yes"], "batch_size": 40}
    base = {
        "trainer": {"max_epochs": 15, "enable_progress_bar": False, "log_every_n_steps": 1, "accelerator": "cpu"},
        "model": {"class_path": "qmm.tasks.MultimodalClassification", "init_args": {"learning_rate": 0.03, "model": model}},
        "data": {"class_path": "qmm.data.VectorsDataModule", "init_args": data},
        "pictures": False,
    }
    arms: dict[str, list[Any]] = {"signal": []}
    arms |= {arm: [{"data": {"init_args": {"columns": {"text": arm}}}}] for arm in ("same", "noise")}
    path = tmp_path / "planted.yaml"
    path.write_text(json.dumps({"configs": [base], "arms": arms, "seeds": 4, "counterparts": False}))
    return path


@pytest.mark.slow
def test_the_planted_difference_is_found_and_the_absent_one_is_not(
    qmm: Callable[..., Any], study_file: Path, tmp_path: Path
) -> None:
    done = qmm("study", "--config", study_file, "--folder", tmp_path / "study", "--jobs", 2)
    table = pd.read_parquet(tmp_path / "study" / "results.parquet")
    found = {claim.other: claim for claim in claims(table, ["signal", "same", "noise"], "accuracy")}
    assert found["noise"].verdict == "higher"
    assert found["noise"].seeds.mean > 0.2
    assert found["same"].verdict == "no evidence of a difference"
    assert found["same"].seeds.error > 0
    for claim in found.values():
        assert claim.samples is not None
        assert claim.samples.low <= claim.seeds.mean <= claim.samples.high
        assert claim.in_words() in done.stdout
    assert found["noise"].samples is not None
    assert found["noise"].samples.low > 0
    assert "their smallest p value after Holm's adjustment is 0.25; 7 seeds would do" in done.stderr
