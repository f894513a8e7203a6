"""Which contents are alike, against all pairs looked at one by one."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from qmm.checking import likeness
from qmm.checking.likeness import SENTENCE, similar_sentences


def pieces(sentence: str) -> set[str]:
    """What scikit-learn calls "char_wb": four letters in a row, within words and one space around them."""
    padded = [f" {word} " for word in sentence.split()]
    return {word[i : i + 4] for word in padded for i in range(max(1, len(word) - 3))}


def test_sentences_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), rng.integers(3, 9))) for _ in range(60)]
    sentences = [" ".join(rng.choice(words, 10)) for _ in range(80)]
    sentences += [" ".join([*sentence.split()[:-1], rng.choice(words)]) for sentence in sentences]  # one word exchanged
    expected = {}
    for a, b in combinations(range(len(sentences)), 2):
        first, second = pieces(sentences[a]), pieces(sentences[b])
        jaccard = len(first & second) / len(first | second)
        if jaccard >= SENTENCE:
            expected[a, b] = jaccard
    found = similar_sentences(sentences)
    assert len(expected) > 20
    assert {pair[:2]: pair.similarity for pair in found.pairs} == pytest.approx(expected)
    assert not found.cut


def test_a_set_full_of_the_same_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "_BUCKET", 20)
    found = similar_sentences(["the same sentence again and again"] * 50)
    assert found.cut
    assert len(found.pairs) == 20 * 19 / 2


def test_vectors_are_those_of_all_pairs_however_they_are_cut_up(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    similarity = cosine_similarity(vectors.astype(np.float64))
    expected = {(a, b) for a, b in combinations(range(300), 2) if similarity[a, b] >= 0.9}
    assert len(expected) > 50
    whole = likeness._by_cosine(vectors, 0.9, "")
    assert {pair[:2] for pair in whole.pairs} == expected
    chunked = likeness.pairwise_distances_chunked
    monkeypatch.setattr(likeness, "pairwise_distances_chunked", lambda *a, **k: chunked(*a, **k | {"working_memory": 0.02}))
    assert {pair[:2] for pair in likeness._by_cosine(vectors, 0.9, "").pairs} == expected
    monkeypatch.setattr(likeness, "MOST", 10)
    few = likeness._by_cosine(vectors, 0.9, "")
    assert few.cut
    assert len(few.pairs) == 10
