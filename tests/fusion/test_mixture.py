"""MixtureFusion: its members' features joined or shared out, nested configuration, the absent, what it refuses."""

import pytest
import torch

from qmm.config import to_config
from qmm.contracts import Budget, Fusion
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, MixtureFusion, QuantumFusion
from qmm.loading import build

WIDTHS = {"vision": 2, "audio": 1}
PRESENT = {"vision": torch.tensor([True, True, False]), "audio": torch.tensor([True, False, True])}


def features() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {m: 3 * torch.rand(3, k, generator=generator) for m, k in WIDTHS.items()}


def make(gate: bool) -> MixtureFusion:
    torch.manual_seed(0)
    members: dict[str, Fusion] = {"quantum": QuantumFusion(1), "classical": ConcatFusion(4, 3)}
    fusion = MixtureFusion(members, gate)
    fusion.build(WIDTHS)
    return fusion


def test_members_side_by_side():
    fusion = make(gate=False)
    fused = [member(features(), PRESENT) for member in fusion.members.values()]
    assert torch.equal(fusion(features(), PRESENT), torch.cat(fused, dim=1))
    assert fusion.out_features == sum(member.out_features for member in fusion.members.values())
    assert list(fusion.circuits(["vision"])) == ["quantum.fusion"]
    assert fusion.circuits(["vision"])["quantum.fusion"].quantum_circuit.num_qubits == 1


def test_a_gate_shares_out_by_the_softmax_of_features_and_flags():
    fusion = make(gate=True)
    x = features()
    quantum, classical = (member(x, PRESENT) for member in fusion.members.values())
    torch.testing.assert_close(fusion(x, PRESENT), (quantum + classical) / 2)
    with torch.no_grad():
        fusion.gate.weight.copy_(torch.randn(2, 5))
    shown = torch.zeros(3, 5)
    for row, (v, a) in enumerate([(1, 1), (1, 0), (0, 1)]):
        shown[row] = torch.cat([x["vision"][row] * v, x["audio"][row] * a, torch.tensor([v, a])])
    exponential = (shown @ fusion.gate.weight.T).exp()
    shares = exponential / exponential.sum(dim=1, keepdim=True)
    torch.testing.assert_close(fusion(x, PRESENT), shares[:, :1] * quantum + shares[:, 1:] * classical)


@pytest.mark.parametrize("gate", [False, True])
def test_the_absent_have_no_influence_on_gate_and_members(gate):
    fusion = make(gate)
    expected = fusion(features(), PRESENT)
    spoilt = {m: x.masked_fill(~PRESENT[m].unsqueeze(1), torch.nan) for m, x in features().items()}
    fused = fusion(spoilt, PRESENT)
    assert torch.equal(fused, expected)
    fused.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())


@pytest.mark.parametrize("gate", [False, True])
def test_a_nested_configuration_builds_the_same(gate):
    fusion = make(gate)
    fresh = build(to_config(fusion))
    fresh.build(WIDTHS)
    fresh.load_state_dict(fusion.state_dict())
    torch.testing.assert_close(fresh(features(), PRESENT), fusion(features(), PRESENT))


def test_a_member_given_is_not_the_one_trained():
    given = QuantumFusion(1)
    MixtureFusion({"quantum": given}).build(WIDTHS)
    assert not list(given.parameters())


def test_counterparts_are_offered():
    fusion = make(gate=False)
    budget = Budget(sum(p.numel() for p in fusion.parameters()) + 3 * (fusion.out_features + 1), lambda f: 3 * (f + 1))
    assert "concat" in fusion.counterparts(budget)


def test_members_to_be_summed_are_of_one_width():
    with pytest.raises(InputError, match="these have quantum 3, classical 5; match them"):
        MixtureFusion({"quantum": QuantumFusion(1), "classical": ConcatFusion(4, 5)}, gate=True).build(WIDTHS)
