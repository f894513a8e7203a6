"""Fusions whose registers run on devices of their own."""

import pytest
import torch

from qmm.fusion import FewMeetings, Pairs, QuantumFusion
from qmm.quantum import CircuitError, ExactBackend
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.scaling import CutBackend

SIZES = {"vision": 4, "audio": 4, "text": 4}


def fusion_of(widths: dict[str, int], layers: int = 2, **options: object) -> QuantumFusion:
    torch.manual_seed(0)
    fusion = QuantumFusion(layers, entangler=FewMeetings(layers=[1]), **options)  # type: ignore[arg-type]
    fusion.build(widths)
    return fusion.double()


def features_of(widths: dict[str, int], rows: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    present = {m: torch.ones(rows, dtype=torch.bool) for m in widths}
    return {m: torch.randn(rows, k, dtype=torch.float64) for m, k in widths.items()}, present


def test_three_registers_of_four_qubits_on_three_devices_of_six():
    widths = dict.fromkeys(SIZES, 8)
    fusion = fusion_of(widths, qubits=SIZES)
    backend = CutBackend({m: ExactBackend() for m in SIZES})
    plan = backend.cutting(fusion.circuit())
    assert [(f.name, f.qubits, f.width) for f in plan.fragments] == [(m, 4, 6) for m in SIZES]
    assert len(plan.cuts) == 3
    assert plan.overhead == pytest.approx(729)
    features, present = features_of(widths, 2)
    whole = fusion(features, present)
    torch.testing.assert_close(fusion.run_on(backend)(features, present), whole, atol=1e-9, rtol=0)


@pytest.mark.parametrize("entangler", [None, Pairs("crx")])
def test_missing_modalities_and_gradients(entangler):
    """Each pattern of what is present is a circuit with fewer registers, cut in its own way or not at all."""
    widths = dict.fromkeys(SIZES, 2)
    torch.manual_seed(0)
    fusion = QuantumFusion(2, entangler=FewMeetings(entangler))
    fusion.build(widths)
    fusion.double()
    features, present = features_of(widths, 4)
    present["text"][1:3] = present["audio"][2] = False
    found = []
    for backend in (None, CutBackend(ExactBackend())):
        fusion.run_on(backend)
        values = fusion(features, present)
        found.append((values, torch.autograd.grad(values.square().sum(), fusion.weights)[0]))
    torch.testing.assert_close(found[1], found[0], atol=1e-9, rtol=0)


def test_training_under_shots_goes_down():
    widths = {"vision": 2, "audio": 2}
    fusion = fusion_of(widths, layers=2)
    fusion.run_on(CutBackend(PrimitiveBackend(Ideal(), shots=200, seed=1)))
    features, present = features_of(widths, 2)
    target = torch.zeros(2, fusion.out_features, dtype=torch.float64)
    optimiser = torch.optim.Adam(fusion.parameters(), 0.2)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = (fusion(features, present) - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_registers_that_meet_in_every_layer_are_refused_with_a_way_out():
    fusion = QuantumFusion(3)
    fusion.build(dict.fromkeys(SIZES, 2))
    features, present = features_of(dict.fromkeys(SIZES, 2), 1)
    with pytest.raises(CircuitError, match=r"multiplies its shots by 3\.874e\+08 .*let registers meet in one layer alone"):
        fusion.double().run_on(CutBackend(ExactBackend()))(features, present)
