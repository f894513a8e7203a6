"""Decoders: fused features -> what the user asked for."""

from qmm.decoders.classes import ClassDecoder, ClassPrediction
from qmm.decoders.embeddings import EmbeddingDecoder, EmbeddingPrediction
from qmm.decoders.mixed import MixedDecoder, MixedPrediction
from qmm.decoders.sentences import Prefix, SentenceDecoder, SentencePrediction
from qmm.decoders.values import ValueDecoder, ValuePrediction
from qmm.decoders.words import WordsDecoder, WordsPrediction

__all__ = [
    "ClassDecoder",
    "ClassPrediction",
    "EmbeddingDecoder",
    "EmbeddingPrediction",
    "MixedDecoder",
    "MixedPrediction",
    "Prefix",
    "SentenceDecoder",
    "SentencePrediction",
    "ValueDecoder",
    "ValuePrediction",
    "WordsDecoder",
    "WordsPrediction",
]
