"""WordsDecoder: features -> which tokens their sentences have, without order: a language model's auxiliary read-out."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qmm.contracts import Decoder
from qmm.errors import InputError
from qmm.language.tokenizer import SentenceTokenizer
from qmm.types import Context

_EXPECTED = 10  # tokens of a short sentence: what the read-out starts from


class WordsPrediction(NamedTuple):
    words: list[str]
    """The tokens that are likelier there than not, as text, in the vocabulary's order."""


class Vocabulary:
    """A tokenizer that may be still to come, shared by all who read or write with it."""

    def __init__(self, tokenizer: SentenceTokenizer | None, size: int):
        self.tokenizer = tokenizer
        self.size = size if tokenizer is None else len(tokenizer)
        """How many tokens there are, or may come to be."""
        self.users: list[WordsDecoder] = []

    def known(self) -> SentenceTokenizer:
        """Raises InputError where it has not come."""
        if self.tokenizer is None:
            raise InputError("the decoder has no tokenizer yet: train it by a captioning task, or call `fit(sentences)`")
        return self.tokenizer

    def fit(self, sentences: Iterable[str]) -> None:
        """Make it of sentences, and have all users keep as many outputs as there are tokens."""
        self.tokenizer = SentenceTokenizer.train(sentences, self.size)
        self.size = len(self.tokenizer)
        for user in self.users:
            user.resize()


class WordsDecoder(Decoder):
    """A linear read-out for each token of the vocabulary: does it occur in any of the sample's references? Cross-entropy,
    summed over the tokens and divided by how many occur.

    Args:
        vocabulary: That of the decoder it was made by.
        target: Name of the target that holds the references.
    """

    def __init__(self, vocabulary: Vocabulary, target: str = "references"):
        super().__init__()
        self.vocabulary, self.target = vocabulary, target
        vocabulary.users.append(self)

    def build(self, in_features: int, widths: Mapping[str, int] | None = None) -> None:
        self.linear = nn.Linear(in_features, self.vocabulary.size)
        rare = _EXPECTED / max(2 * _EXPECTED, self.vocabulary.size)
        nn.init.constant_(self.linear.bias, math.log(rare / (1 - rare)))  # few tokens occur (arXiv:1708.02002, 3.3)

    def resize(self) -> None:
        """As many outputs as the vocabulary has tokens by now."""
        kept = nn.Linear(self.linear.in_features, self.vocabulary.size, device=self.linear.weight.device)
        with torch.no_grad():
            kept.weight.copy_(self.linear.weight[: self.vocabulary.size])
            kept.bias.copy_(self.linear.bias[: self.vocabulary.size])
        self.linear = kept

    def spawn(self, in_features: int) -> "WordsDecoder":
        other = WordsDecoder(self.vocabulary, self.target)
        other.build(in_features)
        return other

    def count_parameters(self, in_features: int) -> int:
        return (in_features + 1) * self.vocabulary.size

    def forward(self, features: Tensor, context: Context | None = None) -> Tensor:
        """(B, F) -> logits (B, V)"""
        return self.linear(features)

    def loss(self, outputs: Tensor, targets: Mapping[str, Any]) -> Tensor:
        occurs = torch.zeros_like(outputs)
        for row, references in enumerate(targets[self.target]):
            for sentence in references:
                occurs[row, self.vocabulary.known().encode(sentence.strip())] = 1
        return F.binary_cross_entropy_with_logits(outputs, occurs, reduction="sum") / occurs.sum().clamp(min=1)

    def score(self, outputs: Tensor) -> Tensor:
        """Logits (B, V) -> probabilities (B, V)"""
        return outputs.sigmoid()

    def predict(self, outputs: Tensor) -> list[WordsPrediction]:
        tokenizer = self.vocabulary.known()
        return [WordsPrediction(tokenizer.text_of((row > 0).nonzero().flatten().tolist())) for row in outputs]
