"""Shared fixtures."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture
def real_data() -> Path:
    """The folder of the real data; skips the test where there is none."""
    folder = Path(os.environ.get("QMM_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: $QMM_DATA is unset and {folder.name}/ is not beside the repository")
    return folder
