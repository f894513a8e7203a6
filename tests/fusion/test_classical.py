"""The classical members against their formulas, and without what is absent."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qmm.errors import InputError
from qmm.fusion import ConcatFusion, CrossModalTransformer
from qmm.fusion.classical import ClassicalFusion

MEMBERS = {member.NAME: member for member in ClassicalFusion.__subclasses__()}


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


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, torch.Tensor]]:
    """Widths of one to four modalities, and which of them each row has; possibly none."""
    widths = {f"m{i}": k for i, k in enumerate(draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))}
    return widths, {m: torch.tensor(draw(st.lists(st.booleans(), min_size=4, max_size=4))) for m in widths}


@given(case=cases(), name=st.sampled_from(sorted(MEMBERS)), placeholder=st.sampled_from([0.0, 1e6, torch.nan, torch.inf]))
def test_what_stands_in_place_of_the_absent_has_no_influence(case, name, placeholder):
    widths, present = case
    fusion, x = make(name, widths), rows(widths, 4)
    expected = fusion(x, present)
    assert expected.isfinite().all()
    other = {m: a.masked_fill(~present[m].unsqueeze(1), placeholder).requires_grad_() for m, a in x.items()}
    fused = fusion(other, present)
    assert torch.equal(fused, expected)
    fused.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in fusion.parameters())
    for m, a in other.items():
        assert a.grad is not None
        assert a.grad.isfinite().all()
        assert not a.grad[~present[m]].any()


def test_absent_differs_from_zero_angles():
    torch.manual_seed(0)
    fusion = ConcatFusion(5, 3)
    fusion.build({"a": 2, "b": 2})
    angles = {"a": torch.randn(1, 2), "b": torch.zeros(1, 2)}
    here, gone = torch.tensor([True]), torch.tensor([False])
    assert not torch.allclose(fusion(angles, {"a": here, "b": here}), fusion(angles, {"a": here, "b": gone}))


def test_sizes_too_small_are_refused():
    with pytest.raises(InputError, match=r"hidden=0, out=3; sizes are at least 1$"):
        ConcatFusion(0, 3)
    with pytest.raises(InputError, match="factors=3, out=1; sizes are at least 1, out at least 2"):
        MEMBERS["mfb"](3, 1)


WIDTHS = {"vision": 3, "audio": 1, "text": 2}


def make(name: str, widths: dict[str, int] = WIDTHS) -> Any:  # its parts are the test's business
    torch.manual_seed(0)
    fusion = MEMBERS[name](*(4, 6)[-len(MEMBERS[name].SIZES) :])
    fusion.build(widths)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return fusion.double()


def rows(widths: dict[str, int] = WIDTHS, n: int = 5) -> dict[str, torch.Tensor]:
    return {m: torch.randn(n, k, dtype=torch.float64) for m, k in widths.items()}


def here(present: tuple[str, ...] = tuple(WIDTHS), n: int = 5) -> dict[str, torch.Tensor]:
    return {m: torch.full((n,), m in present) for m in WIDTHS}


def patterns() -> list[tuple[str, ...]]:
    return [p for size in (1, 2, 3) for p in itertools.combinations(WIDTHS, size)]


def one(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, torch.ones(1, dtype=x.dtype)])


@pytest.mark.parametrize("present", patterns())
def test_late_is_the_average_of_what_each_says_alone(present):
    fusion, x = make("late"), rows()
    alone = torch.stack([fusion(x, here((m,))) for m in present])
    torch.testing.assert_close(fusion(x, here(present)), alone.mean(0))
    for m in present:
        torch.testing.assert_close(fusion(x, here((m,))), fusion.branches[m](x[m]))


@pytest.mark.parametrize("present", patterns())
def test_gated_row_by_row(present):
    fusion, x = make("gated"), rows()
    for row, fused in enumerate(fusion(x, here(present))):
        expected = torch.zeros_like(fused)
        for place, m in enumerate(WIDTHS):
            if m in present:
                gate = torch.sigmoid(sum(one(x[n][row]) @ fusion.gates[n][:, place] for n in present))
                expected += gate * torch.tanh(one(x[m][row]) @ fusion.values[m])
        torch.testing.assert_close(fused, expected)


@pytest.mark.parametrize("present", patterns())
def test_tensor_row_by_row(present):
    fusion, x = make("tensor"), rows()
    for row, fused in enumerate(fusion(x, here(present))):
        product = torch.ones((), dtype=torch.float64)
        for m in WIDTHS:
            product = torch.kron(product, one(x[m][row] if m in present else torch.zeros_like(x[m][row])))
        torch.testing.assert_close(fused, torch.nn.functional.gelu(fusion.linear.weight @ product))


@pytest.mark.parametrize("present", patterns())
def test_low_rank_is_a_weight_tensor_of_that_rank(present):
    """The tensor sum_r v_r w_1[r] x w_2[r] x ..., applied to the outer product of the present [x, 1]."""
    fusion, x = make("low-rank"), rows()
    for row, fused in enumerate(fusion(x, here(present))):
        for f in range(fusion.out_features):
            total = fusion.bias[f]
            for r, v in enumerate(fusion.weights):
                weight, product = torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
                for m in present:
                    weight, product = torch.kron(weight, fusion.factors[m][:, r, f]), torch.kron(product, one(x[m][row]))
                total = total + v * weight @ product
            torch.testing.assert_close(fused[f], torch.nn.functional.gelu(total))


@pytest.mark.parametrize("present", patterns())
def test_mfb_row_by_row(present):
    fusion, x = make("mfb"), rows()
    for row, fused in enumerate(fusion(x, here(present))):
        pooled = torch.zeros_like(fused)
        for r in range(fusion.sizes["factors"]):
            product = torch.ones_like(fused)
            for m in present:
                product = product * (one(x[m][row]) @ fusion.factors[m][:, r])
            pooled += product
        rooted = pooled.sign() * pooled.abs().sqrt()
        torch.testing.assert_close(fused, rooted / rooted.norm(), atol=1e-3, rtol=0)  # its root is softened at 0


@pytest.mark.parametrize("present", patterns())
def test_multiplicative_is_torchs_bilinear_form_of_each_pair(present):
    fusion, x = make("multiplicative"), rows()
    expected = sum(torch.nn.functional.linear(x[m], fusion.linear[m][:-1].T, fusion.linear[m][-1]) for m in present)
    for a, b in itertools.combinations(present, 2):
        expected = expected + torch.nn.functional.bilinear(x[a], x[b], fusion.pairs[f"{a}-{b}"].permute(2, 0, 1))
    torch.testing.assert_close(fusion(x, here(present)), expected)


def torchs_layer(fusion: Any) -> torch.nn.TransformerEncoderLayer:
    d = fusion.out_features
    layer = torch.nn.TransformerEncoderLayer(d, 2, 4, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64)
    layer.norm1, layer.norm2 = (torch.nn.RMSNorm(d, 1e-5, dtype=torch.float64) for _ in range(2))  # type: ignore[assignment]
    theirs = [
        ("self_attn.in_proj_weight", fusion.query_key_value.weight),
        ("self_attn.in_proj_bias", torch.zeros(3 * d)),
        *((f"self_attn.out_proj.{k}", getattr(fusion.join, k)) for k in ("weight", "bias")),
        *((f"linear1.{k}", getattr(fusion.feed_forward[0], k)) for k in ("weight", "bias")),
        *((f"linear2.{k}", getattr(fusion.feed_forward[2], k)) for k in ("weight", "bias")),
        ("norm1.weight", fusion.before_attention.weight),
        ("norm2.weight", fusion.before_feed_forward.weight),
    ]
    layer.load_state_dict({name: value.detach() for name, value in theirs})
    return layer


@pytest.mark.parametrize("present", patterns())
def test_transformer_is_torchs_layer_on_the_tokens_that_are_there(present):
    fusion, x = make("transformer"), rows()
    owners = [m for m, k in WIDTHS.items() for _ in range(k)]
    kept = [i for i, m in enumerate(owners) if m in present]
    tokens = (torch.cat(list(x.values()), dim=1).unsqueeze(2) * fusion.scale + fusion.shift)[:, kept]
    blocked = torch.tensor([[owners[i] == owners[j] and i != j for j in kept] for i in kept])
    torch.testing.assert_close(fusion(x, here(present)), torchs_layer(fusion)(tokens, src_mask=blocked).mean(1))


def test_transformer_of_one_modality_is_torchs_layer():
    fusion, x = make("transformer", {"vision": 3}), rows()
    tokens = x["vision"].unsqueeze(2) * fusion.scale + fusion.shift
    torch.testing.assert_close(fusion(x, here(("vision",))), torchs_layer(fusion)(tokens).mean(1))


@pytest.mark.parametrize("name", MEMBERS)
def test_the_smallest_sizes_still_feel_their_inputs(name):
    member = MEMBERS[name]
    torch.manual_seed(0)
    fusion = member(*(1, member.LEAST)[-len(member.SIZES) :])
    fusion.build(WIDTHS)
    fusion.double()
    x = {m: a.requires_grad_() for m, a in rows(n=32).items()}
    fused = (fusion(x, here(n=32)) * torch.randn(32, fusion.out_features)).sum()
    gradients = torch.autograd.grad(fused, [*fusion.parameters(), *x.values()])
    assert all(g.abs().max() > 1e-4 for g in gradients)


def test_tokens_of_width_two_are_more_than_signs():
    torch.manual_seed(0)
    fusion = CrossModalTransformer(2, 2)
    fusion.build(WIDTHS)
    assert fusion.before_attention(torch.randn(50, 2)).abs().std() > 0.1


@pytest.mark.parametrize("name", MEMBERS)
def test_weights_of_the_absent_get_no_gradient(name):
    fusion, x = make(name), rows()
    present = here(("vision", "text"))
    fused = fusion({**x, "audio": torch.full_like(x["audio"], torch.nan)}, present)
    named = dict(fusion.named_parameters())
    gradients = dict(
        zip(named, torch.autograd.grad(fused.square().sum(), list(named.values()), allow_unused=True), strict=True)
    )
    own = {n: g for n, g in gradients.items() if "audio" in n}
    own |= {n: g[3] for n, g in gradients.items() if n in ("scale", "shift")}  # the token of audio's only feature
    if name == "concat":
        own |= {"first": gradients["first.weight"][:, [3, 7]]}  # audio's angle and flag
    if name == "tensor":
        own |= {"linear": gradients["linear.weight"].unflatten(1, (4, 2, 3))[:, :, 0]}  # products with audio's angle
    assert own
    assert all(g is None or not g.any() for g in own.values())
    assert all(g is None or g.isfinite().all() for g in gradients.values())


def test_odd_widths_of_two_heads_are_refused():
    with pytest.raises(InputError, match="out=3 for 2 heads"):
        MEMBERS["transformer"](4, 3)
