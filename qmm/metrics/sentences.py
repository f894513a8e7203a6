"""All that sentences are scored by, in one call and as a torchmetrics class."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from qmm.errors import InputError
from qmm.metrics.answers import exact_match, token_f1
from qmm.metrics.grounding import Facts, Words, asked_for, default_words, grounding
from qmm.metrics.overlap import References, bleu, chrf, cider_d, rouge_l
from qmm.metrics.variety import distinct, repetition


def sentence_metrics(
    sentences: Sequence[str],
    references: References,
    facts: Sequence[Facts] | None = None,
    words: Words | None = None,
    prompts: Sequence[str] = (),
) -> dict[str, float]:
    """Every score of N sentences, the most telling one first: grounding where there are facts, exact match where all are
    answers to questions, else CIDEr-D. Empty for no sentences.

    `prompts`: what was asked, "" for nothing; of an answer only those facts count that one of its references names.

    Raises InputError where numbers differ, or a sentence has no reference.
    """
    numbers = {len(sentences), len(references), len(sentences if facts is None else facts)}
    if len(numbers) > 1:
        raise InputError(
            f"{len(sentences)} sentences, {len(references)} lists of references, "
            f"{len(facts or ())} rows of facts; expected one of each a sample"
        )
    if not sentences:
        return {}
    empty = [row for row, some in enumerate(references) if isinstance(some, str) or not some]
    if empty:
        raise InputError(f"sample {empty[0]}: expected a list of at least one reference, got {references[empty[0]]!r}")
    matches = [exact_match(s, row) for s, row in zip(sentences, references, strict=True)]
    overlap = [token_f1(s, row) for s, row in zip(sentences, references, strict=True)]
    scores = _grounding(sentences, references, facts, words, prompts) if facts is not None else {}
    if prompts and all(prompts):
        scores["exact_match"] = _mean(matches)
    return scores | {
        "cider": _mean(cider_d(sentences, references)),
        "bleu4": bleu(sentences, references, 4),
        "bleu1": bleu(sentences, references, 1),
        "rouge_l": rouge_l(sentences, references),
        "chrf": chrf(sentences, references),
        "distinct_1": distinct(sentences, 1),
        "distinct_2": distinct(sentences, 2),
        "repetition": repetition(sentences),
        "exact_match": _mean(matches),
        "f1": _mean(overlap),
    }


class SentenceMetrics(Metric):
    """`sentence_metrics` of all batches and processes.

    What was seen is kept as lines of JSON in a tensor of bytes, which is what processes can exchange.

    Args:
        words: Fact -> value -> phrases; None for the values' own names. May be set later.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    lines: list[Tensor]

    def __init__(self, words: Words | None = None):
        super().__init__()
        self.words = words
        self.add_state("lines", [], dist_reduce_fx="cat")

    def update(
        self,
        sentences: Sequence[str],
        references: References,
        facts: Sequence[Facts] | None = None,
        prompts: Sequence[str] = (),
    ) -> None:
        """N sentences, N lists of references; N dicts fact -> value; N questions that the sentences answer, "" for none."""
        length = len(sentences)
        if len(references) != length or len(facts or sentences) != length or len(prompts or sentences) != length:
            raise InputError(
                f"{length} sentences, {len(references)} lists of references, {len(facts or ())} rows of facts and "
                f"{len(prompts)} prompts; expected one of each a sample"
            )
        rows = zip(sentences, references, facts or [{}] * length, prompts or [""] * length, strict=True)
        text = "".join(json.dumps([s, list(r), {k: _plain(v) for k, v in f.items()}, p]) + "\n" for s, r, f, p in rows)
        # a process without samples hands on no bytes, but of the same type as the others
        self.lines.append(torch.tensor(list(text.encode()), dtype=torch.uint8, device=self.device))

    def compute(self) -> dict[str, Tensor]:
        rows = [json.loads(line) for line in bytes(dim_zero_cat(self.lines).tolist()).splitlines()]
        if not rows:
            return {}
        sentences, references, facts, prompts = zip(*rows, strict=True)
        scores = sentence_metrics(sentences, references, facts if any(facts) else None, self.words, prompts)
        return {name: torch.tensor(score, device=self.device) for name, score in scores.items()}


class Perplexity(Metric):
    """exp of the mean negative log likelihood of a token, over all tokens of all references."""

    full_state_update = False
    higher_is_better = False
    nll: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nll", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, nll: Tensor, tokens: Tensor) -> None:
        """Per sample (N,): the sum of negative log likelihoods in nats, and of how many tokens, counted in any type."""
        self.nll += nll.detach().sum()
        self.tokens += tokens.long().sum()

    def compute(self) -> Tensor:
        return (self.nll / self.tokens).exp()


def _grounding(
    sentences: Sequence[str],
    references: References,
    facts: Sequence[Facts],
    words: Words | None,
    prompts: Sequence[str],
) -> dict[str, float]:
    known = default_words(facts) if words is None else words
    asked = zip(references, facts, prompts or [""] * len(sentences), strict=True)
    wanted = [asked_for(row, own, known) if prompt else own for row, own, prompt in asked]
    return grounding(sentences, wanted, known)


def _plain(value: Any) -> str | None:
    return None if value is None else str(value)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
