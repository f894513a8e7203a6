"""Perplexity of a bare language model: what it makes of sentences by itself, without prefix, prompt or cross-attention."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from qmm.errors import InputError
from qmm.language.causal import context_length
from qmm.language.generation import evaluating
from qmm.language.sequences import Row, nll, to_learn
from qmm.language.tokenizer import SentenceTokenizer


@torch.no_grad()
def perplexity(model: Any, tokenizer: SentenceTokenizer, sentences: Sequence[str], batch_size: int = 16) -> float:
    """exp of the mean negative log likelihood of a token, as transformers' own loss has it: every sentence stands alone, its
    first token is given and the others are counted. What the model has no positions for is left out.

    Raises InputError where there are no sentences.
    """
    longest = context_length(model)
    encoded = [tokenizer.encode_alone(sentence.strip())[:longest] for sentence in sentences]
    encoded = sorted((ids for ids in encoded if len(ids) > 1), key=len)  # rows of a batch are about as long
    if not encoded:
        raise InputError("perplexity: there is no sentence of two tokens or more to measure it on")
    table = model.get_input_embeddings()
    nothing = table.weight.new_zeros(1, 0, table.embedding_dim)
    total = 0.0
    with evaluating(model):
        for first in range(0, len(encoded), batch_size):
            rows = [Row(number, [], ids) for number, ids in enumerate(encoded[first : first + batch_size])]
            embeddings, mask, labels = to_learn(rows, nothing.expand(len(rows), 0, -1), table, tokenizer.pad)
            logits = model(inputs_embeds=embeddings, attention_mask=mask.long(), use_cache=False).logits
            total += float(nll(logits, labels).sum())
    return math.exp(total / sum(len(ids) - 1 for ids in encoded))
