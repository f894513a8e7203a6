"""On a backend that sends jobs, circuits that do not need each other travel together."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from qmm.contracts import Fusion
from qmm.fusion import (
    ConcatFusion,
    LCUFusion,
    MixtureFusion,
    MultiEncoderFusion,
    QuantumFusion,
    QuantumSelfAttention,
    SuperpositionFusion,
)
from qmm.quantum import ExactEstimator
from qmm.quantum.execution import PrimitiveBackend

WIDTHS = {"vision": 2, "audio": 2, "text": 1}
PRESENT = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 0], [1, 0, 1]], dtype=torch.bool)


class Counting(ExactEstimator):
    """Counts its jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = 0

    def run(self, pubs: Any, *, precision: float | None = None) -> Any:
        self.jobs += 1
        return super().run(pubs, precision=precision)


@pytest.mark.parametrize(
    ("make", "jobs"),
    [
        (lambda: QuantumFusion(1), 1),
        (lambda: SuperpositionFusion(1), 1),
        (lambda: LCUFusion(1), 1),
        (lambda: QuantumSelfAttention(layers=2), 2),  # the second layer's tokens are what the first one makes
        (lambda: MultiEncoderFusion(2), 2),  # the main circuit's angles are what the encoders read out
        (lambda: MixtureFusion({"a": QuantumFusion(1), "b": QuantumSelfAttention(2), "c": ConcatFusion(4, 3)}), 2),
    ],
)
def test_jobs_are_as_many_as_what_follows_from_what(make: Callable[[], Fusion], jobs: int) -> None:
    torch.manual_seed(0)
    fusion, estimator = make(), Counting()
    fusion.build(WIDTHS)
    angles = {m: 3 * torch.rand(len(PRESENT), k) for m, k in WIDTHS.items()}
    present = dict(zip(WIDTHS, PRESENT.unbind(1), strict=True))
    with torch.no_grad():
        exact = fusion(angles, present)
        fusion.run_on(PrimitiveBackend(estimator))
        fused = fusion(angles, present)
    assert estimator.jobs == jobs
    torch.testing.assert_close(fused, exact, atol=1e-5, rtol=0)
