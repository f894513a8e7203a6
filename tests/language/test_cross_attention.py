import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qmm.decoders import Prefix, SentenceDecoder
from qmm.language import SentenceTokenizer
from qmm.language.cross_attention import CrossAttention, Perceived, Perception, looking_at
from qmm.types import Context, Features

WIDTHS = {"vision": 5, "audio": 3}


def decoder_of(tokenizer: SentenceTokenizer, gates: float = 0.9, **given: Any) -> SentenceDecoder:
    torch.manual_seed(0)
    fields = {"n_embd": 16, "n_layer": 3, "n_head": 2, "initializer_range": 0.2}
    decoder = SentenceDecoder(fields, tokenizer_json=tokenizer.json, attend=True, generation={"max_new_tokens": 6}, **given)
    decoder.build(4, WIDTHS)
    for name, parameter in decoder.cross.named_parameters():
        if name.endswith("gate"):
            parameter.data.fill_(gates)
    return decoder.eval()


def context_of(seen: list[bool], heard: list[bool], length: int = 7, seed: int = 0) -> Context:
    """Picture tokens without a mask, sounds of different lengths; features only of the rows that have them."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randn(len(seen), 6, 5, generator=generator)
    sounds = torch.randn(len(heard), length, 3, generator=generator)
    mask = torch.arange(length) < torch.randint(1, length + 1, (len(heard), 1), generator=generator)
    has, hears = torch.tensor(seen), torch.tensor(heard)
    features = {
        "vision": Features(pictures.mean(1)[has], pictures[has]) if has.any() else None,
        "audio": Features(sounds.mean(1)[hears], sounds[hears], mask[hears]) if hears.any() else None,
    }
    return Context(features, {"vision": has, "audio": hears})


def losses(decoder: SentenceDecoder, prefix: Prefix) -> torch.Tensor:
    return decoder.token_losses(prefix, {"references": [["a dog barks"]] * len(prefix.prompts)})[0].detach()


def test_it_is_attention_as_written_down() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(8, 2)
    layer.gate.data.fill_(0.5)
    layer.mlp_gate.data.fill_(-0.3)
    hidden, memory, mask = torch.randn(2, 3, 8), torch.randn(2, 4, 8), torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0]]).bool()
    layer.look_at(Perceived(memory, mask))
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    attention.in_proj_weight.data = torch.cat([layer.query.weight, layer.key_value.weight]).data
    attention.in_proj_bias.data = torch.cat([layer.query.bias, layer.key_value.bias]).data
    attention.out_proj.load_state_dict(layer.out.state_dict())
    read = attention(layer.norm(hidden), memory, memory, key_padding_mask=~mask)[0]
    expected = hidden + torch.tanh(torch.tensor(0.5)) * read
    inner = F.gelu(F.linear(F.layer_norm(expected, (8,)), layer.mlp[0].weight, layer.mlp[0].bias))  # type: ignore[arg-type]
    expected = expected + torch.tanh(torch.tensor(-0.3)) * F.linear(inner, layer.mlp[2].weight, layer.mlp[2].bias)  # type: ignore[arg-type]
    assert torch.allclose(layer(hidden), expected, atol=1e-6)


def test_at_first_the_model_is_what_it_was(tokenizer: SentenceTokenizer) -> None:
    decoder = decoder_of(tokenizer, gates=0.0)
    prefix = decoder(torch.randn(2, 4), context_of([True, False], [True, True]))
    assert torch.equal(losses(decoder, prefix), losses(decoder, prefix._replace(perceived=None)))
    decoder.loss(prefix, {"references": [["rain"]] * 2}).backward()
    gates = [p for name, p in decoder.cross.named_parameters() if name.endswith("gate")]
    assert all(gate.grad is not None and gate.grad != 0 for gate in gates)  # but it can open them


def test_what_is_missing_has_no_influence(tokenizer: SentenceTokenizer) -> None:
    decoder, fused = decoder_of(tokenizer), torch.randn(3, 4)
    one = decoder(fused, context_of([True, True, False], [True, False, False]))
    other = decoder(fused, context_of([True, True, False], [True, False, False], seed=1))
    assert losses(decoder, one)[0] != losses(decoder, other)[0]
    assert losses(decoder, one)[1] != losses(decoder, other)[1]
    assert losses(decoder, one)[2] == losses(decoder, other)[2]  # it lacks both
    assert decoder.predict(one)[2] == decoder.predict(other)[2]
    nothing = decoder(fused[2:], Context({"vision": None}, {"vision": torch.tensor([False]), "audio": torch.tensor([False])}))
    assert losses(decoder, one)[2].item() == pytest.approx(losses(decoder, nothing).item(), rel=1e-5)


def test_padding_has_no_influence(tokenizer: SentenceTokenizer) -> None:
    decoder, fused = decoder_of(tokenizer), torch.randn(2, 4)
    context = context_of([False, False], [True, True])
    sounds = context.features["audio"]
    assert sounds is not None
    assert sounds.tokens is not None
    assert sounds.mask is not None
    spoilt = sounds._replace(tokens=sounds.tokens.masked_fill(~sounds.mask.unsqueeze(-1), torch.nan))
    one, other = (decoder(fused, context._replace(features={"audio": f})) for f in (sounds, spoilt))
    assert not sounds.mask.all()
    assert torch.equal(losses(decoder, one), losses(decoder, other))


def test_an_encoder_without_tokens_is_seen_by_its_pooled_features(tokenizer: SentenceTokenizer) -> None:
    perception = Perception(4, WIDTHS, 16)
    pooled = torch.randn(2, 5)
    here = {"vision": torch.tensor([True, True]), "audio": torch.tensor([False, False])}
    seen = perception(torch.randn(2, 4), Context({"vision": Features(pooled), "audio": None}, here))
    same = perception(torch.randn(2, 4), Context({"vision": Features(pooled, pooled.unsqueeze(1)), "audio": None}, here))
    assert seen.tokens.shape == (2, 2, 16)
    assert torch.equal(seen.tokens[:, 1], same.tokens[:, 1])


def test_every_token_and_the_fused_vector_are_looked_at(tokenizer: SentenceTokenizer) -> None:
    decoder = decoder_of(tokenizer)
    fused = torch.randn(2, 4, requires_grad=True)
    tokens = torch.randn(2, 6, 5, requires_grad=True)
    here = {"vision": torch.tensor([True, True]), "audio": torch.tensor([False, False])}
    prefix = decoder(fused, Context({"vision": Features(tokens.mean(1), tokens)}, here))
    prefix = prefix._replace(embeddings=prefix.embeddings.detach())  # by cross-attention alone
    decoder.loss(prefix, {"references": [["rain"]] * 2}).backward()
    for seen in (fused, tokens):
        assert seen.grad is not None
        assert (seen.grad != 0).any(-1).all()


def test_samples_do_not_see_each_other(tokenizer: SentenceTokenizer) -> None:
    decoder, fused = decoder_of(tokenizer), torch.randn(2, 4)
    context = context_of([True, True], [True, True])
    together = losses(decoder, decoder(fused, context))
    for row in range(2):
        here = torch.tensor([row])
        features = {m: None if f is None else f.rows(here) for m, f in context.features.items()}
        alone = decoder(fused[here], Context(features, {m: p[here] for m, p in context.present.items()}))
        assert losses(decoder, alone).item() == pytest.approx(together[row].item(), rel=1e-5)


def test_before_every_so_many_layers(tokenizer: SentenceTokenizer) -> None:
    decoder = decoder_of(tokenizer, attend_every=2)
    hooked = [bool(block._forward_pre_hooks) for block in decoder.language.transformer.h]
    assert hooked == [True, False, True]
    assert len(decoder.cross) == 2


def test_outside_the_model_is_the_bare_one_and_copies_are_whole(tokenizer: SentenceTokenizer) -> None:
    decoder = decoder_of(tokenizer)
    ids = torch.tensor([[5, 9, 20]])
    with torch.no_grad():
        bare = decoder.language(input_ids=ids).logits
        prefix = decoder(torch.randn(1, 4), context_of([True], [True]))
        with looking_at(decoder.cross, prefix.perceived):
            assert not torch.equal(decoder.language(input_ids=ids).logits, bare)
        assert torch.equal(decoder.language(input_ids=ids).logits, bare)
        other = copy.deepcopy(decoder)
        for parameter in other.cross.parameters():
            parameter.zero_()
        assert torch.equal(losses(other, prefix), losses(other, prefix._replace(perceived=None)))
        assert not torch.equal(losses(decoder, prefix), losses(decoder, prefix._replace(perceived=None)))
