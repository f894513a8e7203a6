from typing import Any

import pytest
import torch

from qmm.decoders import SentenceDecoder
from qmm.errors import InputError
from qmm.language import Generation, SentenceTokenizer
from qmm.language.generation import Streamer


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"strategy": "magic"}, "strategy='magic': expected 'greedy', 'beam' or 'sample'"),
        ({"max_new_tokens": 0}, "max_new_tokens=0: expected at least 1"),
        ({"min_new_tokens": 40}, "min_new_tokens=40: expected 0 to max_new_tokens"),
        ({"strategy": "beam", "beams": 1}, "beams=1: expected at least 2"),
        ({"strategy": "sample", "temperature": 0.0}, "for the likeliest token take strategy='greedy'"),
        ({"strategy": "sample", "temperature": float("nan")}, "temperature=nan"),
        ({"strategy": "sample", "top_p": 1.5}, r"top_p=1\.5: expected above 0, at most 1"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty=0\.0"),
        ({"strategy": "beam", "length_penalty": float("inf")}, "length_penalty=inf"),
        ({"temperature": 0.5}, "temperature means nothing to strategy='greedy'; set strategy='sample'"),
        ({"strategy": "sample", "beams": 3}, "beams means nothing to strategy='sample'; set strategy='beam'"),
        ({"strategy": "beam", "top_p": 0.5}, "top_p means nothing to strategy='beam'"),
    ],
)
def test_what_generation_refuses(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Generation(**given)
    with pytest.raises(InputError, match=told):
        SentenceDecoder({"n_embd": 8, "n_head": 1}, generation=given)


def test_a_field_that_does_not_exist() -> None:
    with pytest.raises(InputError, match=r"there is no 'temprature' .*did you mean 'temperature'"):
        SentenceDecoder({"n_embd": 8, "n_head": 1}, generation={"temprature": 1.0})


def test_characters_are_written_whole(tokenizer: SentenceTokenizer) -> None:
    text = "snow ❄ and naïve 雪 fields"
    pieces: list[str] = []
    streamer = Streamer(tokenizer, pieces.append)
    streamer.put(torch.empty(1, 0, dtype=torch.int64))
    for number in [*tokenizer.encode(text), tokenizer.end]:
        streamer.put(torch.tensor([number]))
    streamer.end()
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece and piece for piece in pieces)
