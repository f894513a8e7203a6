"""RangeCompressor: a known range becomes a range of angles, and nothing else happens."""

import math
from typing import Any

import pytest
import torch

from qmm.encoders import RangeCompressor
from qmm.errors import InputError


def test_ends_go_to_ends_and_what_lies_between_in_proportion() -> None:
    compressor = RangeCompressor(2, least=-2.0, most=6.0, low=-1.0, high=3.0)
    compressor.build(2)
    angles = compressor(torch.tensor([[-2.0, 6.0], [0.0, 2.0], [-9.0, 9.0]]))
    torch.testing.assert_close(angles, torch.tensor([[-1.0, 3.0], [0.0, 1.0], [-1.0, 3.0]]))


def test_training_changes_nothing() -> None:
    compressor = RangeCompressor(3)
    compressor.build(3)
    values = torch.rand(20, 3) * 2 - 1
    angles = compressor.train()(values)
    assert not list(compressor.parameters())
    assert not list(compressor.buffers())
    assert not compressor.needs_fit
    torch.testing.assert_close(angles, (1 + values) * math.pi / 2)
    torch.testing.assert_close(compressor.eval()(values[:1]), angles[:1])
    assert compressor(torch.ones(1, 3)).double().max() <= math.pi  # float32's pi is larger


@pytest.mark.parametrize(
    "arguments",
    [{"features": 0}, {"features": 1, "most": -1.0}, {"features": 1, "low": 4.0}, {"features": 1, "most": math.nan}],
)
def test_what_is_no_range(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="least < most and low < high, all finite"):
        RangeCompressor(**arguments)


def test_every_feature_is_kept() -> None:
    with pytest.raises(InputError, match="2 angles of 5 features"):
        RangeCompressor(2).build(5)
