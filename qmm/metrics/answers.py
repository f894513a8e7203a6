"""Exact match and token F1 of short answers, normalised as SQuAD does (arXiv:1606.05250): no case, punctuation or articles."""

import re
import string
from collections import Counter
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(answer: str) -> str:
    """
    >>> normalise("The  church-bells!")
    'churchbells'
    """
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 if the answer is one of the references, else 0."""
    return float(normalise(answer) in map(normalise, references))


def token_f1(answer: str, references: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of the answer's words, the best over the references; in [0, 1]."""
    return max(_f1(normalise(answer).split(), normalise(reference).split()) for reference in references)


def _f1(own: list[str], other: list[str]) -> float:
    if not own or not other:
        return float(own == other)
    return 2 * (Counter(own) & Counter(other)).total() / (len(own) + len(other))
