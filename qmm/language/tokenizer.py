"""SentenceTokenizer: sentences <-> token ids, as plain JSON and the ids that begin, end and pad a sequence."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from qmm.errors import InputError
from qmm.pretrained import quiet, told_plainly

PAD, END = "<|pad|>", "<|end|>"
TRAINED_IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
"""Of the special tokens of a tokenizer that `train` makes."""
_SMALLEST = 258  # a token for each byte, so that nothing is unknown, and the two special ones
_ENDS = (END, "<|endoftext|>", "<|im_end|>", "</s>", "<eos>")


_FILES = ("tokenizer*.json", "vocab.*", "*.model")


class SentenceTokenizer:
    """A fast tokenizer that knows which token ends a sentence.

    Args:
        json: The content of a `tokenizer.json`.
        end: Id of the token that ends a sentence; default: that of a token called like one.
        begin: Id of the token that a bare text begins with; default: `end`, as in GPT-2.
        pad: Id of the token that fills up rows, which is never read; default: `end`.

    Raises InputError when `json` is no tokenizer, or has no token that ends a sentence.
    """

    def __init__(self, json: str, end: int | None = None, begin: int | None = None, pad: int | None = None):
        try:
            self._backend = Tokenizer.from_str(json)
        except Exception as error:  # what tokenizers raises is a bare Exception
            raise InputError(f"tokenizer_json is not the content of a tokenizer.json: {error}") from error
        self._backend.no_truncation()
        self._backend.no_padding()
        self.json = json
        named = [self._backend.token_to_id(token) for token in _ENDS]
        found = end if end is not None else next((number for number in named if number is not None), None)
        if found is None:
            raise InputError(
                f"the tokenizer has no token that ends a sentence (looked for {', '.join(_ENDS)}); "
                "say which one does: `language: {eos_token_id: ...}`"
            )
        self.end = found
        self.begin, self.pad = (self.end if given is None else given for given in (begin, pad))

    @classmethod
    def train(cls, sentences: Iterable[str], size: int) -> "SentenceTokenizer":
        """A byte-level byte-pair encoding (arXiv:1508.07909) of at most `size` tokens; the same for the same sentences."""
        if size < _SMALLEST:
            raise InputError(f"vocabulary={size}: expected at least {_SMALLEST}, a token for each byte and two special ones")
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # a word is one word, first or not
        backend.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        given = list(sentences)
        if not any(sentence.strip() for sentence in given):
            raise InputError("there are no sentences to make a tokenizer of; does the training data have captions?")
        backend.train_from_iterator(
            given,
            trainers.BpeTrainer(vocab_size=size, special_tokens=[PAD, END], initial_alphabet=alphabet, show_progress=False),
        )
        return cls(backend.to_str(), pad=backend.token_to_id(PAD))

    @classmethod
    def of(cls, source: str) -> "SentenceTokenizer":
        """That of a hub name or a local folder. Raises InputError where there is none, or none with a JSON form."""
        folder = Path(source)
        if folder.is_dir() and not any(file for pattern in _FILES for file in folder.glob(pattern)):
            raise InputError(
                f"the folder {source} has no tokenizer ({', '.join(_FILES)}); give one that `save_pretrained` wrote, with "
                "config.json and model.safetensors beside it where it is a language model's"
            )
        own: Any = None
        with suppress(Exception), quiet():  # its tokenizer.json as it is: the class of a family would make it anew, its own way
            own = PreTrainedTokenizerFast.from_pretrained(source)
        if own is None or own.eos_token_id is None:
            with told_plainly(source), quiet():
                family: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            if not hasattr(family, "backend_tokenizer"):
                kind = type(family).__name__
                raise InputError(f"{source}: its {kind} has no tokenizer.json form; give a folder with a tokenizer.json")
        else:
            family = own
        json = (own or family).backend_tokenizer.to_str()
        return cls(json, family.eos_token_id, family.bos_token_id, family.pad_token_id)

    @classmethod
    def from_json(cls, json: str | None, fields: Mapping[str, Any] | None) -> "SentenceTokenizer | None":
        """Of the content of a `tokenizer.json`, if there is one; its special ids are among the `fields` of a language model."""
        given = [(fields or {}).get(name) for name in ("eos_token_id", "bos_token_id", "pad_token_id")]
        ids = [value[0] if isinstance(value, list | tuple) else value for value in given]  # of several ends the first
        return None if json is None else cls(json, *ids)

    def __len__(self) -> int:
        """One more than the largest id."""
        return 1 + max(self._backend.get_vocab().values())

    @cached_property
    def special(self) -> frozenset[int]:
        """Ids that are no text: beginnings, ends, paddings, roles of a chat."""
        declared = {token["id"] for token in json.loads(self.json).get("added_tokens", []) if token["special"]}
        return frozenset(declared | {self.end, self.begin, self.pad})

    @cached_property
    def _lead(self) -> str:
        """What goes before a text that follows another one, so that its first word is a word: " ", unless that is implied."""

        def ids(text: str) -> list[int]:
            return self._backend.encode(text, add_special_tokens=False).ids

        inside = ids("x a")[len(ids("x")) :]
        return " " if ids("a") != inside and ids(" a") == inside else ""

    def encode(self, text: str, after: str = "") -> list[int]:
        """Ids of a text, no special ones added. `after`: the text that it follows; a space goes between where none is."""
        lead = self._lead if after and not after[-1].isspace() else ""
        return self._backend.encode(lead + text, add_special_tokens=False).ids

    def encode_alone(self, text: str) -> list[int]:
        """Ids of a text that stands by itself, with the special ones that the tokenizer adds of its own accord."""
        return self._backend.encode(text).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special ones left out."""
        return self._backend.decode([number for number in ids if number not in self.special])

    def text_of(self, ids: Collection[int]) -> list[str]:
        """Each id by itself, as a reader knows it."""
        return [self._backend.decode([number]).strip() for number in ids]
