"""The public face of the package."""

import inspect
import subprocess
import sys

import pytest

import qmm.encoders
from qmm.config import Configurable


def test_importing_loads_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'open_clip', 'librosa', 'peft'}"
    code = f"import sys, qmm.encoders; print([*({heavy} & set(sys.modules))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", qmm.encoders.__all__)
def test_every_name_resolves_and_is_documented(name: str) -> None:
    """jsonargparse shows each argument's line of `Args:` in --help."""
    part = getattr(qmm.encoders, name)
    assert part.__doc__
    if issubclass(part, Configurable):
        for argument in list(inspect.signature(part.__init__).parameters.values())[1:]:
            assert f"        {argument.name}: " in part.__doc__, argument
            assert argument.annotation is not inspect.Parameter.empty


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'NoEncoder'"):
        qmm.encoders.NoEncoder  # noqa: B018
