"""Sentences of the made-up scenes: somebody does something that tells day from night, in many words."""

import numpy as np

_WHO = (
    "the children",
    "an old man",
    "two friends",
    "my neighbour",
    "a young woman",
    "the whole family",
    "a few people",
    "the guards",
)
_ACTIVITIES = {
    "day": (
        "ate lunch in the shade",
        "put on sunglasses",
        "squinted into the bright sun",
        "had a late breakfast",
        "took photographs in good light",
        "waited for the noon break",
        "read the paper in the sunshine",
        "rolled up their sleeves in the heat",
        "enjoyed the blue sky",
        "drank coffee after getting up",
    ),
    "night": (
        "looked up at the stars",
        "slept soundly",
        "lit the way with a lantern",
        "whispered in the dark",
        "could not see a thing without a torch",
        "watched the moon",
        "yawned and went to bed",
        "counted shooting stars",
        "sat by candle light",
        "dreamed under a blanket",
    ),
}
_BEFORE = (
    "",
    "",
    "",
    "as so often , ",
    "by the way , ",
    "since the weather was fine ",
    "after a long night without sleep ",
    "after a long day in the sun ",
    "i think ",
)
_AFTER = (
    "",
    "",
    "",
    " and nobody said a word",
    " and talked about the old times",
    " while a dog ran around",
    " and left in the morning",
    " and left before midnight",
    " , which was quite usual there",
)


def make_sentence(time: str, rng: np.random.Generator) -> str:
    """A sentence for "day" or "night"; what comes before and after is the same for both, and may mention the other one."""
    parts = [_BEFORE, _WHO, (" ",), _ACTIVITIES[time], _AFTER]
    return "".join(part[rng.integers(len(part))] for part in parts)
