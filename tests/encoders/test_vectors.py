"""VectorEncoder and the running statistics it shares with the compressors."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from qmm.encoders import VectorEncoder
from qmm.errors import InputError


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), scale=st.floats(-3, 3).map(lambda e: 10.0**e))
@settings(max_examples=40, deadline=None)
def test_statistics_are_those_of_all_training_samples(sizes: list[int], scale: float) -> None:
    """Batches of any size, one included, in any order; equal to scikit-learn's on the whole."""
    data = scale * torch.randn(sum(sizes), 5) + torch.tensor([0.0, 100 * scale, -scale, 7.0, 0.0])
    data[:, 4] = 3.25  # never varies
    encoder = VectorEncoder(5, clip=0.0)
    for batch in data.split(sizes):
        encoder(batch)
    expected = torch.from_numpy(StandardScaler().fit_transform(data.double().numpy())).float()
    torch.testing.assert_close(encoder.eval()(data).pooled, expected, atol=1e-2, rtol=1e-2)


def test_evaluation_learns_nothing() -> None:
    encoder = VectorEncoder(3)
    encoder(torch.randn(50, 3))
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    encoder.eval()(100 * torch.randn(50, 3))
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_outliers_and_constant_columns_stay_tame() -> None:
    encoder = VectorEncoder(2)
    train = torch.stack([torch.randn(100), torch.full((100,), 4.0)], 1)
    encoder(train)
    pooled = encoder.eval()(torch.tensor([[1e6, 4.0], [0.0, 5.0]])).pooled
    assert pooled[0, 0] == 10
    assert pooled[0, 1] == 0
    assert pooled[1, 1] == 1


def test_it_is_never_frozen_while_it_standardises() -> None:
    encoder = VectorEncoder(3)
    assert not encoder.frozen
    assert encoder.train().training
    assert VectorEncoder(3, standardize=False).frozen


def test_hidden_layers(rebuilt: Callable) -> None:
    encoder = VectorEncoder(6, hidden=[8, 4], dropout=0.5)
    data = torch.randn(20, 6)
    assert encoder(data).pooled.shape == (20, encoder.dim) == (20, 4)
    encoder(data).pooled.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    assert (encoder.eval()(data).pooled < 0).any()  # the last layer is linear
    assert torch.equal(rebuilt(encoder)(data).pooled, encoder(data).pooled)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="at least 1"):
        VectorEncoder(3, hidden=[0])
    with pytest.raises(InputError, match=r"expected \(B, 3\)"):
        VectorEncoder(3)(torch.zeros(2, 4))
