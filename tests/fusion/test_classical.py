"""ConcatFusion, and the claim that it has as many parameters as the quantum fusion, within 5 %."""

import itertools

import pytest
import torch

from qmm.contracts import Budget
from qmm.decoders import ClassDecoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, QuantumFusion, match_mlp


def numel(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


def test_it_is_an_mlp_of_the_concatenation_when_nothing_is_missing():
    torch.manual_seed(0)
    fusion = ConcatFusion(5, 3)
    fusion.build({"vision": 2, "text": 4})
    reference = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.GELU(), torch.nn.Linear(5, 3), torch.nn.GELU())
    weight = fusion.first.weight
    reference[0].weight.data, reference[0].bias.data = weight[:, :6], weight[:, 6:].sum(1)
    reference[2].load_state_dict(fusion.second.state_dict())
    angles = {"vision": torch.randn(7, 2), "text": torch.randn(7, 4)}
    here = torch.ones(7, dtype=torch.bool)
    expected = reference(torch.cat([angles["vision"], angles["text"]], dim=1))
    torch.testing.assert_close(fusion(angles, {"vision": here, "text": here}), expected)


@pytest.mark.parametrize("widths", [{"a": 3}, {"a": 3, "b": 2}, {"a": 1, "b": 4, "c": 2}])
def test_what_stands_in_place_of_the_absent_has_no_influence(widths):
    torch.manual_seed(0)
    fusion = ConcatFusion(5, 3)
    fusion.build(widths)
    for pattern in itertools.product([False, True], repeat=len(widths)):
        present = {m: torch.full((4,), here) for m, here in zip(widths, pattern, strict=True)}
        angles = {m: torch.randn(4, k) for m, k in widths.items()}
        expected = fusion(angles, present)
        for placeholder in (0.0, 5.0, torch.nan):
            other = {m: a if present[m][0] else torch.full_like(a, placeholder) for m, a in angles.items()}
            fused = fusion(other, present)
            assert torch.equal(fused, expected)
        gradient = torch.autograd.grad(fusion(other, present).sum(), fusion.first.weight)[0]
        assert gradient.isfinite().all()
        start = 0
        for place, (m, k) in enumerate(widths.items()):
            columns = [*range(start, start + k), sum(widths.values()) + place]
            assert present[m][0] or not gradient[:, columns].any()
            start += k


def test_absent_differs_from_zero_angles():
    torch.manual_seed(0)
    fusion = ConcatFusion(5, 3)
    fusion.build({"a": 2, "b": 2})
    angles = {"a": torch.randn(1, 2), "b": torch.zeros(1, 2)}
    here, gone = torch.tensor([True]), torch.tensor([False])
    assert not torch.allclose(fusion(angles, {"a": here, "b": here}), fusion(angles, {"a": here, "b": gone}))


def test_widths_below_one_are_refused():
    with pytest.raises(InputError, match="hidden=0, out=3"):
        ConcatFusion(0, 3)


@pytest.mark.parametrize("n_inputs", [2, 5, 14])
@pytest.mark.parametrize("n_classes", [2, 9])
def test_matches_against_brute_force(n_inputs, n_classes):
    sizes = [(h, o, n_inputs * h + (h + 1) * o + (o + 1) * n_classes) for h in range(1, 120) for o in range(1, 120)]
    for target in [*range(5, 60), 90, 120, 181, 300]:
        found = match_mlp(n_inputs, Budget(target, lambda out: (out + 1) * n_classes))
        near = [size for size in sizes if abs(size[2] - target) <= 0.05 * target]
        if near:
            balance = {max(h, o) / min(h, o) for h, o, _ in near}
            assert list(found) == [""]
            assert tuple(found[""]) in near
            assert max(found[""][:2]) / min(found[""][:2]) == pytest.approx(min(balance))
        else:
            below, above = ([n for *_, n in sizes if n < target], [n for *_, n in sizes if n > target])
            assert {name: m.parameters for name, m in found.items()} == {
                **({"-below": max(below)} if below else {}),
                "-above": min(above),
            }
            assert all(tuple(m) in sizes for m in found.values())


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("n_classes", [2, 9])
@pytest.mark.parametrize(
    "widths", [{"v": 1}, {"v": 6}, {"v": 2, "a": 1}, {"v": 6, "a": 6}, {"v": 4, "a": 4, "t": 4}, {"v": 9, "a": 5}]
)
def test_counterparts_of_many_sizes_have_the_parameters_they_claim(widths, n_classes, layers):
    def decoder(features: int) -> ClassDecoder:
        made = ClassDecoder([str(i) for i in range(n_classes)])
        made.build(features)
        return made

    fusion = QuantumFusion(layers)
    fusion.build(widths)
    total = numel(fusion, decoder(fusion.out_features))
    count = decoder(1).count_parameters
    found = {n: f for n, f in fusion.counterparts(Budget(total, count)).items() if not n.startswith("sham")}
    for other in found.values():
        other.build(widths)
    totals = {name: numel(other, decoder(other.out_features)) for name, other in found.items()}
    if list(found) == ["concat"]:
        assert abs(totals["concat"] - total) <= 0.05 * total
    else:
        assert set(found) <= {"concat-below", "concat-above"}
        assert totals.get("concat-below", 0) < total < totals["concat-above"]
    for other in found.values():
        here = {m: torch.ones(3, dtype=torch.bool) for m in widths}
        assert other({m: torch.rand(3, k) for m, k in widths.items()}, here).shape == (3, other.out_features)
