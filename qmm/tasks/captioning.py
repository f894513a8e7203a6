"""MultimodalCaptioning: what is there, in a sentence; or the answer to a question about it."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn
from torchmetrics import MetricCollection

from qmm.contracts import Decoder
from qmm.decoders.sentences import Prefix, SentenceDecoder
from qmm.errors import InputError
from qmm.language import Generation
from qmm.metrics import Perplexity, SentenceMetrics, check_words
from qmm.metrics.grounding import Words
from qmm.model import MultimodalModel
from qmm.tasks.evaluation import DecodingTask, Evaluator, evaluator_for, expect


class SentenceEvaluator(Evaluator):
    """Grounding, overlap with the references, variety, answers, and perplexity over all references.

    Before a fit it has the decoder make its tokenizer, if it has none, of the training split's sentences and prompts.
    """

    kind = SentenceDecoder
    decoder: SentenceDecoder

    def __init__(
        self,
        decoder: SentenceDecoder,
        language_learning_rate: float | None = None,
        validation_sentences: int | None = None,
    ):
        if validation_sentences is not None and validation_sentences < 0:
            raise InputError(f"validation_sentences={validation_sentences}: expected at least 0, or null for one a sample")
        super().__init__(decoder)
        self.language_learning_rate, self.validation_sentences = language_learning_rate, validation_sentences
        self._generated = 0
        self.words: Words | None = None
        """Fact -> value -> phrases, as the data says; None for the values' own names."""

    def make_metrics(self) -> MetricCollection:
        """What tells most stands first: torchmetrics goes by the alphabet."""
        return MetricCollection({"generated": SentenceMetrics(), "perplexity": Perplexity()}, compute_groups=False)

    def setup(self, data: Any, stage: str) -> None:
        self.words = getattr(data, "words", None)
        check_words(self.words or {})
        if stage != "fit":
            _ = self.decoder.tokenizer  # raises, where there is none
            return
        sentences = getattr(data, "sentences", None)
        if sentences is not None and not sentences:
            raise InputError(
                f"{type(data).__name__} has no sentences to learn from; say where they stand, as in `captions: COLUMN` "
                "(made-up scenes: `captions: true`)"
            )
        if self.decoder.needs_fit:
            if sentences is None:
                raise InputError(
                    "the SentenceDecoder has no tokenizer, and there is no data module of qmm.data to make one of; "
                    "call `decoder.fit(sentences)` before, or give it `tokenizer` or `pretrained`"
                )
            prompts = map(self.decoder.prompt_of, ["", *getattr(data, "prompts", [])])
            self.decoder.fit([*sentences, *filter(None, prompts)])

    def update(self, metrics: Any, scores: list[str], outputs: Prefix, targets: Mapping[str, Any]) -> None:
        """`scores`: B sentences, or none where none were generated."""
        generated: Any = metrics["generated"]
        generated.words = self.words
        if scores:
            asked = outputs.prompts if "{prompt}" in self.decoder.prompt else ()  # an instruction alone asks nothing
            generated.update(scores, targets[self.decoder.target], targets.get("facts"), asked)
        else:
            generated.update([], [])
        metrics["perplexity"].update(*self.decoder.token_losses(outputs, targets))

    def rates(self) -> dict[str, tuple[list[nn.Parameter], float]]:
        rate = self.language_learning_rate
        return {} if rate is None else {"language": (self.decoder.language_parameters(), rate)}

    def begin(self, fitting: bool, processes: int = 1) -> None:
        super().begin(fitting, processes)
        self._generated = 0

    def score(self, outputs: Prefix) -> list[str]:
        """B sentences; none where a validation during a fit has made enough of them."""
        if not self.fitting:
            return self.decoder.score(outputs)
        limit = self.validation_sentences
        if limit is not None and self._generated >= math.ceil(limit / self.processes):
            return []
        self._generated += len(outputs.prompts)
        with self._greedily():
            return self.decoder.score(outputs)

    @contextmanager
    def _greedily(self) -> Iterator[None]:
        """Inside, sentences are made by taking the likeliest token each time: quicker than beams, and nothing is drawn."""
        own = self.decoder.generation
        usual = {"strategy": "greedy", "beams": Generation().beams, "length_penalty": 1.0, "temperature": 1.0, "top_p": 1.0}
        self.decoder.generation = replace(own, **usual)  # type: ignore[arg-type]
        try:
            yield
        finally:
            self.decoder.generation = own


@evaluator_for.register
def _(
    decoder: SentenceDecoder,
    language_learning_rate: float | None = None,
    validation_sentences: int | None = None,
    **settings: Any,
) -> SentenceEvaluator:
    return SentenceEvaluator(decoder, language_learning_rate, validation_sentences)


class MultimodalCaptioning(DecodingTask):
    """Sentences, or answers, of a model that ends in a `SentenceDecoder`; see `qmm.metrics` for what they are scored by.

    Sentences of validations during a fit are made greedily, whatever the decoder's `generation` says; `validate` and `test`
    obey it.

    Args:
        model: The model to train.
        language_learning_rate: Peak learning rate of the language model's own parameters (default: `learning_rate`); one that
            was trained before is to change less than what is new.
        validation_sentences: How many sentences are made in a validation during a fit, rounded up to whole batches (default:
            one a sample). 0: only loss and perplexity are known before the test.
        samples: Whether the command line shows, after every validation, what is said of a few samples.
        optimisation: Passed on to `MultimodalTask`.
    """

    evaluator: SentenceEvaluator

    def __init__(
        self,
        model: MultimodalModel,
        language_learning_rate: float | None = None,
        validation_sentences: int | None = None,
        samples: bool = True,
        **optimisation: Any,
    ):
        self.language_learning_rate, self.validation_sentences = language_learning_rate, validation_sentences
        self.samples = samples
        super().__init__(model, **optimisation)

    def make_evaluator(self, decoder: Decoder) -> SentenceEvaluator:
        own = expect(SentenceDecoder, decoder, self)
        return SentenceEvaluator(own, self.language_learning_rate, self.validation_sentences)
