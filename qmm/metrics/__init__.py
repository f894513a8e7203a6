"""What predictions are compared with targets by: pure functions, and torchmetrics classes that gather their input."""

from qmm.metrics.answers import exact_match, token_f1
from qmm.metrics.grounding import asked_for, check_words, default_words, grounding, named, names_rightly
from qmm.metrics.numbers import classification_metrics, regression_metrics
from qmm.metrics.overlap import bleu, chrf, cider_d, rouge_l
from qmm.metrics.sentences import Perplexity, SentenceMetrics, sentence_metrics
from qmm.metrics.variety import distinct, repetition

__all__ = [
    "Perplexity",
    "SentenceMetrics",
    "asked_for",
    "bleu",
    "check_words",
    "chrf",
    "cider_d",
    "classification_metrics",
    "default_words",
    "distinct",
    "exact_match",
    "grounding",
    "named",
    "names_rightly",
    "regression_metrics",
    "repetition",
    "rouge_l",
    "sentence_metrics",
    "token_f1",
]
