"""A small set of files of one's own, to break in every way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from qmm.data import ManifestDataModule

Rows = list[dict[str, Any]]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder `set` with pictures p0.png .. p7.png and sounds s0.wav .. s7.wav, each of its own content and size."""
    folder, rng = tmp_path / "set", np.random.default_rng(0)
    folder.mkdir()
    for i in range(8):
        Image.fromarray(rng.integers(0, 256, (8 + i, 9, 3), dtype=np.uint8)).save(folder / f"p{i}.png")
        soundfile.write(folder / f"s{i}.wav", rng.uniform(-0.5, 0.5, 400 + 10 * i), 8000, subtype="PCM_16")
    return folder


@pytest.fixture
def rows() -> Rows:
    """Eight good rows: four to train on, two to validate, two to test; class "a" is even, "b" is odd."""
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    return [
        {
            "id": f"r{i}",
            "split": split,
            "image": f"p{i}.png",
            "audio": f"s{i}.wav",
            "text": f"sentence {i}",
            "label": "ab"[i % 2],
        }
        for i, split in enumerate(splits)
    ]


@pytest.fixture
def make(files: Path) -> Callable[..., ManifestDataModule]:
    """Rows -> the data module of a JSONL manifest beside the files."""

    def write(rows: Rows, **arguments: Any) -> ManifestDataModule:
        path = files / "manifest.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return ManifestDataModule(str(path), **arguments)

    return write
