import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmm.errors import InputError
from qmm.language import SentenceTokenizer

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(text=TEXT, prompt=TEXT)
def test_any_text_comes_back(tokenizer: SentenceTokenizer, text: str, prompt: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)).lstrip(" ") == text.lstrip(" ")
    joined = [*tokenizer.encode(prompt), *tokenizer.encode(text, after=prompt), tokenizer.end]
    assert tokenizer.decode(joined).split() == f"{prompt} {text}".split()


def test_a_sentence_has_the_same_tokens_with_and_without_a_prompt(tokenizer: SentenceTokenizer) -> None:
    assert tokenizer.encode("a dog", after="answer:") == tokenizer.encode("a dog")


def test_the_first_word_after_a_prompt_is_a_word_of_the_middle() -> None:
    """As in GPT-2, whose words in the middle of a text begin with their space."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator(
        ["the dog and the dog a a a"], trainers.BpeTrainer(special_tokens=["<|endoftext|>"], show_progress=False)
    )
    tokenizer = SentenceTokenizer(backend.to_str())
    whole = backend.encode("the dog").ids
    assert tokenizer.encode("dog", after="the") == whole[len(tokenizer.encode("the")) :]
    assert tokenizer.encode("dog", after="the\n") == tokenizer.encode("dog") != tokenizer.encode("dog", after="the")


def test_the_same_sentences_give_the_same_tokenizer_in_another_process(sentences: list[str]) -> None:
    code = (
        "import sys; from qmm.language import SentenceTokenizer; "
        "sys.stdout.write(SentenceTokenizer.train(sys.stdin.read().split('|'), 300).json)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], input="|".join(sentences), env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == SentenceTokenizer.train(sentences, 300).json


def test_training_learns_words_as_tokens() -> None:
    tokenizer = SentenceTokenizer.train(["waves waves waves on the beach"] * 3, 400)
    assert tokenizer.text_of(tokenizer.encode("waves on the beach")) == ["waves", "on", "the", "beach"]
    assert (tokenizer.pad, tokenizer.end, tokenizer.begin) == (0, 1, 1)
    assert len(tokenizer) < 400  # there is no more to learn


def test_what_cannot_be_a_tokenizer(sentences: list[str]) -> None:
    with pytest.raises(InputError, match="at least 258"):
        SentenceTokenizer.train(sentences, 100)
    with pytest.raises(InputError, match="no sentences to make a tokenizer of"):
        SentenceTokenizer.train(["", " "], 300)
    with pytest.raises(InputError, match=r"not the content of a tokenizer\.json"):
        SentenceTokenizer("{}")
    endless = SentenceTokenizer.train(sentences, 300).json.replace("<|end|>", "<|stop|>")
    with pytest.raises(InputError, match="no token that ends a sentence"):
        SentenceTokenizer(endless)
    assert SentenceTokenizer(endless, end=1).end == 1
