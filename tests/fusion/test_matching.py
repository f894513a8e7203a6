"""Capacity: the sizes found against all sizes tried, parameters against what torch counts."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qmm.contracts import Budget
from qmm.decoders import ClassDecoder
from qmm.fusion import ConcatFusion, QuantumFusion
from qmm.fusion.classical import ClassicalFusion, match

MEMBERS = {member.NAME: member for member in ClassicalFusion.__subclasses__()}


def numel(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@given(
    name=st.sampled_from(sorted(MEMBERS)),
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 5)),
)
def test_counts_are_those_of_torch(name, widths, sizes):
    member = MEMBERS[name]
    by_name = {f"m{i}": k for i, k in enumerate(widths)}
    chosen = (sizes[0], 2 * sizes[1])[-len(member.SIZES) :]
    with torch.device("meta"):
        fusion = member(*chosen)
        fusion.build(by_name)
    assert numel(fusion) == member.count(by_name, *chosen)


@given(
    name=st.sampled_from(sorted(MEMBERS)),
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    n_classes=st.integers(1, 9),
    target=st.integers(1, 230),
)
def test_matches_against_all_sizes(name, widths, n_classes, target):
    member, by_name = MEMBERS[name], {f"m{i}": k for i, k in enumerate(widths)}
    outs, inner = range(member.LEAST, 90, member.STEP), range(1, 90)
    every = itertools.product(*(inner, outs)[-len(member.SIZES) :])
    counts = {sizes: member.count(by_name, *sizes) + (sizes[-1] + 1) * n_classes for sizes in every}
    found = match(member, by_name, Budget(target, lambda out: (out + 1) * n_classes))
    near = [sizes for sizes, n in counts.items() if abs(n - target) <= 0.05 * target]
    assert all(counts[m.sizes] == m.parameters for m in found.values())
    assert all(m.excess == pytest.approx(m.parameters / target - 1) for m in found.values())
    if near:
        assert list(found) == [""]
        assert found[""].sizes in near
        assert _ratio(found[""].sizes) == pytest.approx(min(map(_ratio, near)))
    else:
        below, above = ([n for n in counts.values() if n < target], [n for n in counts.values() if n > target])
        assert {suffix: m.parameters for suffix, m in found.items()} == {
            **({"-below": max(below)} if below else {}),
            "-above": min(above),
        }


def _ratio(sizes: tuple[int, ...]) -> float:
    return max(sizes) / min(sizes)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("n_classes", [2, 9])
@pytest.mark.parametrize(
    "widths", [{"v": 1}, {"v": 6}, {"v": 2, "a": 1}, {"v": 6, "a": 6}, {"v": 4, "a": 4, "t": 4}, {"v": 9, "a": 5}]
)
def test_counterparts_have_the_parameters_they_claim(widths, n_classes, layers):
    def decoder(features: int) -> ClassDecoder:
        made = ClassDecoder([str(i) for i in range(n_classes)])
        made.build(features)
        return made

    fusion = QuantumFusion(layers)
    fusion.build(widths)
    target = numel(fusion, decoder(fusion.out_features))
    found = fusion.counterparts(Budget(target, decoder(1).count_parameters))
    totals = {}
    for name, other in found.items():
        other.build(widths)
        totals[name] = numel(other, decoder(other.out_features))
        present = {m: torch.ones(3, dtype=torch.bool) for m in widths}
        assert other({m: torch.rand(3, k) for m, k in widths.items()}, present).shape == (3, other.out_features)
    assert totals["sham-local"] == totals["sham-frozen"] == target
    for name in MEMBERS:
        if name in totals:
            assert abs(totals[name] - target) <= 0.05 * target
        else:
            assert totals.get(f"{name}-below", 0) < target < totals[f"{name}-above"]


def test_classical_members_name_each_other():
    fusion = ConcatFusion(7, 7)
    fusion.build({"v": 4, "a": 4})
    found = fusion.counterparts(Budget(200, lambda out: (out + 1) * 3))
    assert {name.removesuffix("-below").removesuffix("-above") for name in found} == set(MEMBERS)


def test_counterparts_draw_their_weights_as_if_built_alone():
    torch.manual_seed(0)
    fusion = QuantumFusion()
    fusion.build({"v": 2, "a": 2})
    before = torch.get_rng_state()
    found = fusion.counterparts(Budget(60, lambda out: (out + 1) * 3))
    assert torch.equal(before, torch.get_rng_state())
    concat = found["concat"]
    assert isinstance(concat, ConcatFusion)
    alone = ConcatFusion(*concat.sizes.values())
    for made in (concat, alone):
        torch.set_rng_state(before)
        made.build({"v": 2, "a": 2})
    assert all(torch.equal(value, alone.state_dict()[name]) for name, value in concat.state_dict().items())
