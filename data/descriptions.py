"""What is to be said of the made-up scenes: captions that name place, event and time, and answers to questions about them."""

from itertools import product

import numpy as np

# Fact -> value -> (what names it, as the answer to a question; as part of a caption).
_FORMS = {
    "place": {
        "forest": [("a forest", "in a forest"), ("the woods", "in the woods"), ("tall trees", "under tall trees")],
        "beach": [("a beach", "on a beach"), ("the shore", "along the shore"), ("the seaside", "at the seaside")],
        "city": [("a city", "in a city"), ("the town", "in the town"), ("the streets", "above the streets")],
    },
    "event": {
        "birds": [("birds", "birds sing"), ("songbirds", "songbirds whistle"), ("chirping", "there is chirping")],
        "rain": [("rain", "rain falls"), ("a shower", "a shower passes"), ("raindrops", "raindrops patter")],
        "bells": [("bells", "bells ring"), ("chimes", "chimes sound"), ("ringing", "there is loud ringing")],
    },
    "time": {
        "day": [("day", "by day"), ("daylight", "in daylight"), ("sunshine", "in the sunshine")],
        "night": [("night", "at night"), ("darkness", "in darkness"), ("moonlight", "in the moonlight")],
    },
}
_ORDERS = ("{event} {place} {time}", "{time} {event} {place}", "{place} {event} {time}")

REFERENCES = 5
QUESTIONS = {
    "what do you see?": "place",
    "what do you hear?": "event",
    "when is it?": "time",
    "what is happening?": None,
}
"""Question -> the fact that answers it, or None for a caption that names all of them."""

WORDS = {
    fact: {value: [answer.removeprefix("a ").removeprefix("the ") for answer, _ in forms] for value, forms in values.items()}
    for fact, values in _FORMS.items()
}
"""Fact -> value -> the words and phrases that name it, the only ones that captions and answers use."""


def make_captions(facts: dict[str, str], rng: np.random.Generator) -> list[str]:
    """Different sentences about one scene; each names its place, event and time, and no other."""
    phrases = {fact: [phrase for _, phrase in _FORMS[fact][value]] for fact, value in facts.items()}
    choices = list(product(_ORDERS, *phrases.values()))
    chosen = rng.choice(len(choices), REFERENCES, replace=False)
    return [choices[i][0].format(**dict(zip(phrases, choices[i][1:], strict=True))) for i in chosen.tolist()]


def make_answers(question: str, facts: dict[str, str], rng: np.random.Generator) -> list[str]:
    """The right answers to one of `QUESTIONS`, in random order."""
    fact = QUESTIONS[question]
    if fact is None:
        return make_captions(facts, rng)
    answers = [answer for answer, _ in _FORMS[fact][facts[fact]]]
    return [answers[i] for i in rng.permutation(len(answers)).tolist()]
