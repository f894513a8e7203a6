"""On a backend that sends jobs, circuits that do not need each other travel together."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from qmm.contracts import Fusion
from qmm.fusion import (
    ConcatFusion,
    FidelityKernel,
    KernelFusion,
    LCUFusion,
    MixtureFusion,
    MultiEncoderFusion,
    ProjectedKernel,
    QuantumFusion,
    QuantumKernel,
    QuantumSelfAttention,
    SuperpositionFusion,
)
from qmm.fusion.kernels import Samples
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
        (lambda: KernelFusion(3), 1),
        (lambda: KernelFusion(3, ProjectedKernel(layers=1)), 2),  # landmarks first
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


KERNELS = [
    lambda: FidelityKernel(layers=1),
    lambda: ProjectedKernel(layers=1),
    lambda: FidelityKernel(layers=0, qubits={"audio": 2}),
]


def rows(number: int, seed: int) -> Samples:
    """Features of all patterns of modalities, over and over."""
    generator = torch.Generator().manual_seed(seed)
    known = PRESENT[torch.arange(number) % len(PRESENT)]
    features = {m: 3 * torch.rand(number, k, generator=generator, dtype=torch.float64) for m, k in WIDTHS.items()}
    return Samples(features, dict(zip(WIDTHS, known.unbind(1), strict=True)))


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("others", [None, 3])
def test_kernels_are_measured_in_one_job(make: Callable[[], QuantumKernel], others: int | None) -> None:
    torch.manual_seed(0)
    kernel, estimator = make().build(WIDTHS).double(), Counting()
    x, y = rows(6, 1), None if others is None else rows(others, 2)
    exact = kernel.gram(x, y)
    kernel.run_on(PrimitiveBackend(estimator))
    np.testing.assert_allclose(kernel.gram(x, y), exact, atol=1e-9)
    assert estimator.jobs == 1
    if others is None:
        assert (np.diag(kernel.gram(x)) == 1).all()


@pytest.mark.parametrize("make", KERNELS[:2])
@pytest.mark.parametrize("others", [None, 2])
def test_gradients_of_kernels(make: Callable[[], QuantumKernel], others: int | None) -> None:
    torch.manual_seed(0)
    kernel = make().build(WIDTHS).double()
    x, y = rows(4, 1), None if others is None else rows(others, 2)
    upstream = torch.rand(4, others or 4, dtype=torch.float64)
    found = []
    for backend in (None, PrimitiveBackend(ExactEstimator())):
        kernel.run_on(backend)
        features = {m: values.clone().requires_grad_() for m, values in x.features.items()}
        values = kernel(Samples(features, x.present), y)
        found.append(torch.autograd.grad(values, [kernel.weights, *features.values()], upstream))
    for exact, shifted in zip(*found, strict=True):
        torch.testing.assert_close(shifted, exact, atol=1e-8, rtol=0)


def test_a_pair_is_measured_once_and_itself_never() -> None:
    kernel = FidelityKernel(layers=1).build(WIDTHS)
    backend = PrimitiveBackend(ExactEstimator())
    kernel.run_on(backend)
    generator = torch.Generator().manual_seed(0)
    x = {m: torch.rand(5, k, generator=generator) for m, k in WIDTHS.items()}
    kernel.gram(x)
    assert backend.ledger.snapshot().circuits == 5 * 4 / 2
    kernel.gram({m: values[:1] for m, values in x.items()})
    assert backend.ledger.snapshot().circuits == 5 * 4 / 2
