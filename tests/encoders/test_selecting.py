"""SelectingCompressor: the features named, standardised as scikit-learn does it, in the order named."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.preprocessing import StandardScaler

from qmm.encoders import SelectingCompressor
from qmm.errors import InputError


def test_the_chosen_features_standardised_and_squashed() -> None:
    torch.manual_seed(0)
    data = torch.randn(400, 6) * torch.tensor([1.0, 50.0, 1.0, 0.01, 1.0, 1.0]) + 7
    compressor = SelectingCompressor([3, 1], low=-1.0, high=2.0, gain=0.7)
    compressor.build(6)
    for rows in data.split(50):
        compressor(rows)
    scaled = StandardScaler().fit_transform(data.double().numpy())[:, [3, 1]]
    expected = torch.from_numpy(-1 + 3 * norm.cdf(0.7 * scaled)).float()
    assert compressor.features == 2
    assert not list(compressor.parameters())
    # 400 samples lie within the window of the running statistics: they are those of all samples
    torch.testing.assert_close(compressor.eval()(data), expected, atol=1e-4, rtol=0)


def test_gradients_reach_the_chosen_features_alone() -> None:
    torch.manual_seed(0)
    data = torch.randn(20, 5, requires_grad=True)
    compressor = SelectingCompressor([4, 0])
    compressor.build(5)
    compressor(data).square().sum().backward()
    assert data.grad is not None
    assert data.grad.abs().sum(0).gt(0).tolist() == [True, False, False, False, True]


def test_one_sample_and_a_feature_that_never_varies() -> None:
    compressor = SelectingCompressor([0, 1])
    compressor.build(2)
    angles = compressor(torch.tensor([[5.0, 1.0]] * 10))
    np.testing.assert_allclose(angles.numpy(), math.pi / 2, rtol=1e-6)
    assert compressor(torch.tensor([[5.0, 3.0]])).isfinite().all()


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "features=0"),
        ([1, 1], r"\[1\] are negative or named twice"),
        ([0, -1], r"\[-1\] are negative"),
        ([2, 6], r"\[6\] of"),
    ],
)
def test_what_cannot_be_chosen(indices: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SelectingCompressor(indices).build(6)
