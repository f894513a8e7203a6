"""Capacity: the sizes found against all sizes tried, parameters against what torch counts."""

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


@pytest.mark.parametrize("widths", [{"v": 1}, {"v": 4}, {"v": 2, "a": 1}, {"v": 6, "a": 5}, {"v": 3, "a": 1, "t": 4}])
@pytest.mark.parametrize("n_classes", [2, 9])
@pytest.mark.parametrize("name", MEMBERS)
def test_matches_against_all_sizes(name, widths, n_classes):
    member = MEMBERS[name]
    step = member.STEP
    inner = range(1, 90) if len(member.SIZES) == 2 else (None,)
    every = [tuple(s for s in (i, o) if s is not None) for i in inner for o in range(step, 90, step)]
    counts = {sizes: member.count(widths, *sizes) + (sizes[-1] + 1) * n_classes for sizes in every}
    for target in (5, 17, 33, 60, 121, 230):
        found = match(member, widths, Budget(target, lambda out: (out + 1) * n_classes))
        near = [sizes for sizes, n in counts.items() if abs(n - target) <= 0.05 * target]
        assert all(counts[m.sizes] == m.parameters for m in found.values())
        assert all(m.excess == pytest.approx(m.parameters / target - 1) for m in found.values())
        if near:
            balance = {max(s[0], s[-1]) / min(s[0], s[-1]) for s in near}
            assert list(found) == [""]
            assert max(found[""].sizes) / min(found[""].sizes) == pytest.approx(min(balance))
        else:
            below, above = ([n for n in counts.values() if n < target], [n for n in counts.values() if n > target])
            assert {suffix: m.parameters for suffix, m in found.items()} == {
                **({"-below": max(below)} if below else {}),
                "-above": min(above),
            }


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


def test_a_match_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    match(MEMBERS["concat"], {"v": 4}, Budget(200, lambda out: (out + 1) * 3))
    assert torch.equal(before, torch.get_rng_state())
