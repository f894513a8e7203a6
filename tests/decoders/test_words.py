import pytest
import torch
from torch.nn import functional as F

from qmm.decoders import SentenceDecoder
from qmm.errors import InputError

SENTENCES = ["waves on the beach", "a dog barks", "rain on the roof"]


def make() -> SentenceDecoder:
    torch.manual_seed(0)
    return SentenceDecoder({"n_embd": 8, "n_layer": 1, "n_head": 1}, vocabulary=330)


def test_it_learns_which_words_there_are() -> None:
    decoder = make()
    head = decoder.spawn(3)
    with pytest.raises(InputError, match="no tokenizer yet"):
        head.loss(head(torch.eye(3)), {"references": [[s] for s in SENTENCES]})
    decoder.fit(SENTENCES * 3)
    assert head(torch.eye(3)).shape == (3, len(decoder.tokenizer))
    assert head.count_parameters(3) == sum(p.numel() for p in head.parameters())
    optimizer = torch.optim.Adam(head.parameters(), lr=0.3)
    references = [[SENTENCES[0], SENTENCES[2]], [SENTENCES[1]], ["rain"]]
    for _ in range(60):
        optimizer.zero_grad()
        loss = head.loss(head(torch.eye(3)), {"references": references})
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    for found, own in zip(head.predict(head(torch.eye(3))), references, strict=True):
        assert set(found.words) == {word for sentence in own for word in sentence.split()}


def test_the_loss_is_the_cross_entropy_of_each_token() -> None:
    decoder = make()
    decoder.fit(SENTENCES * 3)
    head = decoder.spawn(2)
    outputs = head(torch.randn(2, 2))
    wanted = [set(decoder.tokenizer.encode(" ".join(own))) for own in (SENTENCES[:2], SENTENCES[2:])]
    occurs = torch.tensor([[float(token in own) for token in range(outputs.shape[1])] for own in wanted])
    expected = F.binary_cross_entropy(head.score(outputs), occurs, reduction="sum") / occurs.sum()
    assert torch.allclose(head.loss(outputs, {"references": [SENTENCES[:2], SENTENCES[2:]]}), expected, rtol=1e-4)
    assert head.spawn(5)(torch.ones(1, 5)).shape == outputs[:1].shape
