"""Language models: loading, tokenizers, generation, perplexity."""

from qmm.language.generation import Generation
from qmm.language.tokenizer import SentenceTokenizer

__all__ = ["Generation", "SentenceTokenizer"]
