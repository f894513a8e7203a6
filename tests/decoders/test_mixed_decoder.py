"""A class and a sentence of one fused vector; the arithmetic of several parts: tests/tasks/test_mixed.py."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from qmm.config import to_config
from qmm.decoders import ClassDecoder, MixedDecoder, SentenceDecoder
from qmm.loading import build
from qmm.types import Context, Features, rows_of

LANGUAGE = {"n_embd": 16, "n_layer": 1, "n_head": 2}
REFERENCES = [["a dog barks", "dog"], [], ["the sea", "waves at night"], ["birds"], []]


def decoder(attend: bool = False) -> MixedDecoder:
    torch.manual_seed(0)
    sentence = SentenceDecoder(LANGUAGE, prefix=2, attend=attend, references="all")
    made = MixedDecoder({"label": ClassDecoder(["a", "b"]), "sentence": sentence}, {"sentence": 0.5})
    sentence.fit([text for row in REFERENCES for text in row])
    made.build(6, {"vision": 3})
    if attend:
        with torch.no_grad():
            for name, value in made.named_parameters():
                if "gate" in name:
                    value.fill_(0.7)
    return made.eval()


def context(prompts: tuple[str, ...] = ()) -> Context:
    present = torch.tensor([True, False, True, True, True])
    generator = torch.Generator().manual_seed(1)
    features = Features(torch.randn(4, 3, generator=generator), torch.randn(4, 2, 3, generator=generator))
    return Context({"vision": features}, {"vision": present}, prompts)


def targets() -> dict[str, object]:
    return {"label": torch.tensor([0, 1, -1, -1, 0]), "references": REFERENCES}


@pytest.mark.parametrize("attend", [False, True])
def test_each_part_learns_from_the_samples_that_have_its_target(attend: bool) -> None:
    mixed, fused = decoder(attend), torch.randn(5, 6)
    prompts = ("", "what?", "", "when?", "")
    outputs = mixed(fused, context(prompts))
    losses = mixed.losses(outputs, targets())
    known = torch.tensor([0, 1, 4])
    expected = F.cross_entropy(outputs["label"][known], torch.tensor([0, 1, 0]))
    torch.testing.assert_close(losses["decoder_label"], expected)
    sentence, told = mixed.parts["sentence"], torch.tensor([0, 2, 3])
    assert isinstance(sentence, SentenceDecoder)
    # Rows of a batch do not touch each other, so that a batch of these rows alone is the same.
    whole = context(prompts)
    features = whole.features["vision"]
    assert features is not None
    alone = sentence(
        fused[told],
        Context({"vision": features.rows(torch.tensor([0, 1, 2]))}, {"vision": torch.ones(3, dtype=torch.bool)},
                rows_of(list(prompts), told)),
    )  # fmt: skip
    loss = sentence.loss(alone, {"references": rows_of(REFERENCES, told)})
    torch.testing.assert_close(losses["decoder_sentence"], 0.5 * loss, atol=1e-5, rtol=1e-5)
    assert sentence.score(alone) == rows_of(mixed.score(outputs)["sentence"], told)


def test_it_attends_as_its_parts_do_and_counts_their_readers() -> None:
    for attend in (False, True):
        mixed = decoder(attend)
        assert mixed.attends is attend
        assert mixed.count_parameters(6) == sum(p.numel() for p in mixed.readers())
        assert mixed.count_parameters(6) < sum(p.numel() for p in mixed.parameters())


def test_without_any_reference_the_language_model_rests() -> None:
    mixed = decoder()
    outputs = mixed(torch.randn(5, 6), context())
    mixed.loss(outputs, {"label": torch.tensor([0, 1, 1, 0, -1]), "references": [[]] * 5}).backward()
    sentence = mixed.parts["sentence"]
    assert isinstance(sentence, SentenceDecoder)
    assert all(p.grad is None for p in sentence.language.parameters())
    assert all(p.grad is not None and not p.grad.any() for p in sentence.readers())


def test_the_tokenizer_goes_with_its_description() -> None:
    mixed = decoder()
    again = build(to_config(mixed))
    again.build(6, {"vision": 3})
    again.load_state_dict(mixed.state_dict())
    fused = torch.randn(5, 6)
    ours, theirs = (made.eval().predict(made(fused, context())) for made in (mixed, again))
    assert ours == theirs
    assert [row.parts["label"].label for row in ours] == [["a", "b"][i] for i in mixed(fused)["label"].argmax(-1).tolist()]


def test_a_read_out_of_the_sentence_where_there_are_no_classes() -> None:
    sentence = SentenceDecoder(LANGUAGE, prefix=2)
    mixed = MixedDecoder({"sentence": sentence})
    head = mixed.spawn(3)
    sentence.fit([text for row in REFERENCES for text in row])
    outputs = head(torch.randn(5, 3))
    assert isinstance(outputs["sentence"], Tensor)
    assert head.loss(outputs, targets()).isfinite()
