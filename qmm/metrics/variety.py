"""Whether sentences say different things, and no thing twice."""

from collections.abc import Sequence

from qmm.metrics.overlap import words_of


def distinct(sentences: Sequence[str], n: int) -> float:
    """How many different n-grams of words there are, as a share of all of them in all sentences (arXiv:1510.03055).

    >>> distinct(["a dog", "a cat"], 1)
    0.75
    """
    ngrams = [ngram for sentence in sentences for ngram in _ngrams(sentence, n)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def repetition(sentences: Sequence[str], n: int = 2) -> float:
    """The share of a sentence's n-grams of words that stood in it before (seq-rep-n, arXiv:1908.04319), mean over sentences.

    Pairs of words by default, captions being short. A sentence without any counts as 0.

    >>> repetition(["rain and rain and rain", "rain"])
    0.25
    """
    shares = [1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0 for ngrams in (_ngrams(s, n) for s in sentences)]
    return sum(shares) / len(shares) if shares else 0.0


def _ngrams(sentence: str, n: int) -> list[tuple[str, ...]]:
    words = words_of(sentence)
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
