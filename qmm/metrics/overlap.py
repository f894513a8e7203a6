"""How far sentences agree with references: BLEU and ROUGE-L of torchmetrics, chrF and CIDEr-D of our own.

All take N sentences and, for each, a list of references. Words are compared in lower case and without punctuation, as the
caption evaluation of COCO does (arXiv:1504.00325); characters are compared as they are.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from torchmetrics.functional.text import bleu_score, rouge_score

References = Sequence[Sequence[str]]
WORD = re.compile(r"\w+(?:['’]\w+)*")
LONGEST = 4  # n-grams of CIDEr and BLEU go from 1 to this
CHARACTERS = 6  # n-grams of chrF
SIGMA = 6.0  # width, in words, of CIDEr-D's penalty on another length: the value of arXiv:1411.5726


def words_of(sentence: str) -> list[str]:
    """
    >>> words_of("A dog's bark, at night!")
    ['a', "dog's", 'bark', 'at', 'night']
    """
    return WORD.findall(sentence.lower())


def bleu(sentences: Sequence[str], references: References, n: int = 4) -> float:
    """BLEU-n of the whole corpus, n-grams of 1 to n equally weighted, not smoothed; in [0, 1]."""
    return float(bleu_score(_plain(sentences), [_plain(row) for row in references], n_gram=n))


def rouge_l(sentences: Sequence[str], references: References) -> float:
    """The F1 score of the longest common subsequence of words, the best over the references, mean over sentences; in [0, 1]."""
    targets = [_plain(row) for row in references]
    scores = rouge_score(_plain(sentences), targets, "best", normalizer=str, tokenizer=str.split, rouge_keys="rougeL")
    return float(scores["rougeL_fmeasure"])


def chrf(sentences: Sequence[str], references: References) -> float:
    """The F2 score of n-grams of 1 to 6 characters, spaces left out, over the whole corpus, of each sentence with the reference
    that suits it best, mean over n (chrF2, W15-3049; n longer than all sentences are left out, as in sacreBLEU); in [0, 1].

    Our own, since torchmetrics' takes seconds for a hundred sentences; equal to it in the tests.
    """
    total = np.zeros((3, CHARACTERS))
    for sentence, row in zip(sentences, references, strict=True):
        own = _characters(sentence)
        total += max((_matches(own, _characters(reference)) for reference in row), key=_f2)
    return _f2(total)


def _characters(sentence: str) -> list[Counter[str]]:
    text = "".join(sentence.split())
    return [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for n in range(1, CHARACTERS + 1)]


def _matches(own: list[Counter[str]], other: list[Counter[str]]) -> np.ndarray:
    """(3, n): how many n-grams match, are in the sentence, are in the reference."""
    return np.array([[(a & b).total(), a.total(), b.total()] for a, b in zip(own, other, strict=True)], dtype=float).T


def _f2(counts: np.ndarray) -> float:
    """F = (1 + 4) P R / (4 P + R) is 5 matches / (own + 4 others), 0 without a match."""
    matching, own, other = counts[:, (counts[1] > 0) & (counts[2] > 0)]
    return float(np.mean(5 * matching / (own + 4 * other))) if len(own) else 0.0


def cider_d(sentences: Sequence[str], references: References) -> list[float]:
    """CIDEr-D (arXiv:1411.5726) of each sentence, in [0, 10]: cosine similarity of TF-IDF vectors of n-grams to each reference,
    clipped and with a Gaussian penalty on another length, mean over references and over n = 1 to 4, times 10.

    A document is all references of one sentence, so the score depends on the corpus: of a single one all weights are
    log(1) = 0, and so is the score.
    """
    cooked = [[_ngrams(reference) for reference in row] for row in references]
    frequency = Counter(ngram for row in cooked for ngram in set().union(*row))
    weight = {ngram: math.log(len(cooked) / count) for ngram, count in frequency.items()}
    unseen = math.log(max(1, len(cooked)))

    def vectors(counts: Counter[tuple[str, ...]]) -> list[dict[tuple[str, ...], float]]:
        by_length: list[dict[tuple[str, ...], float]] = [{} for _ in range(LONGEST)]
        for ngram, count in counts.items():
            by_length[len(ngram) - 1][ngram] = count * weight.get(ngram, unseen)
        return by_length

    scores = []
    for sentence, row in zip(sentences, cooked, strict=True):
        own = _ngrams(sentence)
        each = [_similarity(vectors(own), vectors(other)) * _penalty(own, other) for other in row]
        scores.append(10 * sum(each) / len(each))
    return scores


def _similarity(own: list[dict[tuple[str, ...], float]], other: list[dict[tuple[str, ...], float]]) -> float:
    """The mean over n of the clipped cosine."""
    total = 0.0
    for a, b in zip(own, other, strict=True):
        norms = math.hypot(*a.values()) * math.hypot(*b.values())
        if norms:
            total += sum(min(value, b[ngram]) * b[ngram] for ngram, value in a.items() if ngram in b) / norms
    return total / LONGEST


def _penalty(own: Counter[tuple[str, ...]], other: Counter[tuple[str, ...]]) -> float:
    """Lengths are counted in pairs of words, as in the authors' code; words, but for sentences of one word or none."""
    difference = sum((len(ngram) == 2) * count for ngram, count in own.items())
    difference -= sum((len(ngram) == 2) * count for ngram, count in other.items())
    return math.exp(-(difference**2) / (2 * SIGMA**2))


def _ngrams(sentence: str) -> Counter[tuple[str, ...]]:
    words = words_of(sentence)
    return Counter(tuple(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1))


def _plain(sentences: Sequence[str]) -> list[str]:
    return [" ".join(words_of(sentence)) for sentence in sentences]
