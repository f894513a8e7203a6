"""The main path, with real parts: what is missing has no influence, what is there does."""

from itertools import product

import pytest
import torch
from torch import Tensor

from qmm import Branch, MultimodalModel
from qmm.contracts import Fusion
from qmm.decoders import ClassDecoder
from qmm.encoders import LinearCompressor, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, QuantumFusion
from qmm.types import Batch, Features, Padded

MODALITIES = ("vision", "audio", "text")
PATTERNS = [p for p in product([False, True], repeat=3) if any(p)]


def branch(dim: int = 5, features: int = 3, auxiliary: float = 0.0) -> Branch:
    return Branch(VectorEncoder(dim, [4]), LinearCompressor(features), auxiliary)


def make(fusion: Fusion | None = None, auxiliary: float = 0.0, **changes: Branch | None) -> MultimodalModel:
    torch.manual_seed(0)
    branches: dict[str, Branch | None] = {m: branch(auxiliary=auxiliary) for m in MODALITIES} | changes
    return MultimodalModel(fusion=fusion or QuantumFusion(layers=1), decoder=ClassDecoder(["a", "b", "c"]), **branches).eval()


def batch_of(patterns: list[tuple[bool, ...]], fill: float = 0.0, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    present = {m: torch.tensor([p[i] for p in patterns]) for i, m in enumerate(MODALITIES)}
    values = {m: torch.randn(len(patterns), 5, generator=generator) for m in MODALITIES}
    inputs = {m: Padded(torch.where(present[m].unsqueeze(1), values[m], fill)) for m in MODALITIES}
    return Batch(inputs, present, {"label": torch.arange(len(patterns)) % 3}, [str(i) for i in range(len(patterns))])


@pytest.mark.parametrize("fusion", [QuantumFusion(layers=1), QuantumFusion(layers=2, reupload=True), ConcatFusion(6, 5)])
def test_what_stands_in_the_place_of_a_missing_modality_has_no_influence(fusion: Fusion) -> None:
    model = make(fusion)
    reference = model(batch_of(PATTERNS)).prediction
    for fill in (7.0, float("nan"), float("inf")):
        assert torch.equal(model(batch_of(PATTERNS, fill)).prediction, reference)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_mixed_batch_is_its_rows_one_by_one(pattern: tuple[bool, ...]) -> None:
    model, whole = make(), batch_of(PATTERNS)
    row = PATTERNS.index(pattern)
    only = torch.tensor([row])
    alone = Batch(
        {m: Padded(whole.inputs[m].values[only]) for m in MODALITIES},  # type: ignore[union-attr]
        {m: whole.present[m][only] for m in MODALITIES},
        {},
        ["x"],
    )
    torch.testing.assert_close(model(alone).prediction, model(whole).prediction[only])


def test_a_modality_that_the_data_does_not_know_is_missing() -> None:
    model, pattern = make(), (True, False, True)
    known = batch_of([pattern] * 4)
    less = Batch(
        {m: v for m, v in known.inputs.items() if m != "audio"},
        {m: v for m, v in known.present.items() if m != "audio"},
        known.targets,
        known.ids,
    )
    assert torch.equal(model(less).prediction, model(known).prediction)
    assert torch.equal(model(known._replace(inputs={**known.inputs, "audio": None})).prediction, model(known).prediction)


def test_cached_features_pass_the_encoder_by() -> None:
    model, batch = make(), batch_of(PATTERNS)
    present = batch.present["audio"]
    pooled = torch.full((len(PATTERNS), 4), torch.nan)
    pooled[present] = model.branches["audio"].encoder(batch.inputs["audio"].values[present]).pooled  # type: ignore[union-attr]
    cached = batch._replace(inputs={**batch.inputs, "audio": Features(pooled)})
    torch.testing.assert_close(model(cached).prediction, model(batch).prediction)


def test_order_of_modalities_is_fixed_whatever_the_order_of_arguments() -> None:
    others = {"smell": branch()}
    parts = {"fusion": QuantumFusion(1), "decoder": ClassDecoder(["a", "b"])}
    model = MultimodalModel(others=others, text=branch(), vision=branch(), **parts)
    assert list(model.branches) == ["vision", "text", "smell"]
    assert model.fusion.layout.modalities == ("vision", "text", "smell")


@pytest.mark.parametrize(("layers", "features"), [(1, 2), (2, 4), (3, 4), (4, 6)])
def test_the_counterpart_has_the_same_capacity(layers: int, features: int) -> None:
    def count(model: MultimodalModel) -> int:
        return sum(p.numel() for part in (model.fusion, model.decoder) for p in part.parameters())

    def built(counterpart: str | None) -> MultimodalModel:
        classes = [f"c{i}" for i in range(12)]
        branches = {m: branch(features=features) for m in MODALITIES}
        return MultimodalModel(QuantumFusion(layers), ClassDecoder(classes), **branches, counterpart=counterpart)

    assert isinstance(built("concat").fusion, ConcatFusion)
    assert count(built("concat")) == pytest.approx(count(built(None)), rel=0.05)


def test_an_unknown_counterpart_names_the_offered_ones() -> None:
    with pytest.raises(InputError, match=r"no counterpart 'sham'; it offers: concat"):
        MultimodalModel(QuantumFusion(), ClassDecoder(["a", "b"]), vision=branch(), counterpart="sham")
    with pytest.raises(InputError, match="no modality"):
        MultimodalModel(QuantumFusion(), ClassDecoder(["a", "b"]))


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [("gated", "take 'gated-below' or 'gated-above'"), ("concat-above", "take 'concat'"), ("concta", "did you mean 'concat'")],
)
def test_a_counterpart_that_is_near_is_suggested(wanted: str, meant: str) -> None:
    with pytest.raises(InputError, match=meant):
        MultimodalModel(QuantumFusion(), ClassDecoder(["a", "b"]), **{m: branch() for m in MODALITIES}, counterpart=wanted)


def test_losses_have_names_and_weights() -> None:
    batch = batch_of(PATTERNS)
    model = make(auxiliary=0.5)
    losses = model.losses(model(batch), batch)
    assert set(losses) == {"decoder", *MODALITIES}
    for modality in MODALITIES:
        present, head = batch.present[modality], model.branches[modality].head
        assert head is not None
        pooled = model.branches[modality].encoder(batch.inputs[modality].values[present]).pooled  # type: ignore[union-attr]
        expected = torch.nn.functional.cross_entropy(head(pooled), batch.targets["label"][present]) / 2
        torch.testing.assert_close(losses[modality], expected)
    assert set(make().losses(make()(batch), batch)) == {"decoder"}


def test_every_part_learns() -> None:
    model = make(QuantumFusion(layers=2)).train()
    batch = batch_of([(True, True, True)] * 16)
    loss: Tensor = model.losses(model(batch), batch)["decoder"]
    loss.backward()
    for part in (model.fusion, model.decoder, *(b.encoder for b in model.branches.values())):
        gradients = [p.grad for p in part.parameters()]
        assert any(g is not None and g.abs().sum() > 0 for g in gradients), part
