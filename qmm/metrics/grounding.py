"""Grounding: whether a sentence names what its sample shows, and nothing else of the kind.

A set says of each sample what is true (facts: fact -> value, such as place -> sea) and of each value what it is called (words:
fact -> value -> phrases).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qmm.errors import InputError

Facts = Mapping[str, Any]
Words = Mapping[str, Mapping[str, Sequence[str]]]
WORD = re.compile(r"[^\W_]+")


def named(sentence: str, words: Mapping[str, Sequence[str]]) -> list[str]:
    """The values of one fact that a sentence names, in its order, each once. Whole words, in any case; longest phrases first,
    so that a phrase inside a longer one of another value does not count.

    >>> named("Rain on the sea shore", {"sea": ["sea", "ocean"], "beach": ["beach", "sea shore"]})
    ['beach']
    """
    text, phrases = _words(sentence), {tuple(_words(phrase)): value for value, row in words.items() for phrase in row}
    found: dict[int, str] = {}
    taken = [False] * len(text)
    for length in sorted(set(map(len, phrases)), reverse=True):
        for start in range(len(text) - length + 1):
            here = slice(start, start + length)
            value = phrases.get(tuple(text[here]))
            if value is not None and not any(taken[here]):
                found[start], taken[here] = value, [True] * length
    return list(dict.fromkeys(found[start] for start in sorted(found)))


def names_rightly(sentence: str, facts: Facts, words: Words) -> dict[str, bool]:
    """Fact -> whether the sentence names its value and no other; facts that the sample lacks (None or "") are left out.

    Raises InputError for a value that has no words.
    """
    right = {}
    for fact, value in facts.items():
        if value in (None, ""):
            continue
        if str(value) not in words.get(fact, {}):
            known = ", ".join(words.get(fact, {})) or "none"
            raise InputError(f"no words for {fact} {value!r}; there are some for: {known}. Add them to `words`")
        right[fact] = named(sentence, words[fact]) == [str(value)]
    return right


def asked_for(references: Sequence[str], facts: Facts, words: Words) -> dict[str, Any]:
    """Those of the facts that an answer is to name: a reference names them rightly."""
    told = [names_rightly(reference, facts, words) for reference in references]
    return {fact: value for fact, value in facts.items() if any(row.get(fact) for row in told)}


def grounding(sentences: Sequence[str], facts: Sequence[Facts], words: Words | None = None) -> dict[str, float]:
    """`grounding`: the share of samples of which all facts are named rightly; `grounding_<fact>`: of those that have the fact.

    Samples without facts are left out; nothing is returned where none has any. `words`: default as `default_words`.
    """
    words = default_words(facts) if words is None else words
    rows = [names_rightly(sentence, row, words) for sentence, row in zip(sentences, facts, strict=True)]
    rows = [row for row in rows if row]
    if not rows:
        return {}
    scores = {"grounding": sum(all(row.values()) for row in rows) / len(rows)}
    for fact in dict.fromkeys(fact for row in rows for fact in row):
        verdicts = [row[fact] for row in rows if fact in row]
        scores[f"grounding_{fact}"] = sum(verdicts) / len(verdicts)
    return scores


def default_words(facts: Sequence[Facts]) -> dict[str, dict[str, list[str]]]:
    """Every value is called by its name: `sea_waves` is "sea waves"."""
    words: dict[str, dict[str, list[str]]] = {}
    for row in facts:
        for fact, value in row.items():
            if value not in (None, ""):
                words.setdefault(fact, {})[str(value)] = [str(value).replace("_", " ")]
    return words


def check_words(words: Words) -> None:
    """Raises InputError for a value without phrases, a phrase without words, or one phrase of two values of a fact."""
    for fact, values in words.items():
        owner: dict[tuple[str, ...], str] = {}
        for value, phrases in values.items():
            if isinstance(phrases, str) or not phrases or not all(map(_words, phrases)):
                raise InputError(f"words of {fact} {value!r}: expected a list of words or phrases, got {phrases!r}")
            for phrase in phrases:
                other = owner.setdefault(tuple(_words(phrase)), value)
                if other != value:
                    raise InputError(
                        f"words of {fact}: {phrase!r} stands for both {other!r} and {value!r}, so no sentence with it could "
                        "name either; leave it out, or make the phrases longer"
                    )


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())
