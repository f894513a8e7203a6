"""SentenceDecoder: fused features -> a sentence, by a causal language model."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from qmm.contracts import Decoder
from qmm.decoders.words import Vocabulary, WordsDecoder
from qmm.errors import InputError
from qmm.language.causal import LORA_TARGETS, blocks_of, context_length, from_fields, from_source, special_ids
from qmm.language.cross_attention import CrossAttention, Perceived, Perception, looking_at
from qmm.language.generation import Generation, Streamer, generate
from qmm.language.prompts import checked_template, filled
from qmm.language.sequences import Row, nll, to_continue, to_learn
from qmm.language.tokenizer import SentenceTokenizer
from qmm.pretrained import architecture_of
from qmm.tuning import Tuning, tune
from qmm.types import Context

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    GenerationFields = Generation | Mapping[str, Any]
else:  # the command line would take a flag that it cannot place for the only entry of a dictionary
    GenerationFields = Generation


class SentencePrediction(NamedTuple):
    sentence: str
    score: float
    """Mean log probability of a token of it, the end included, under the model; at most 0."""


class Prefix(NamedTuple):
    """All that a sentence is made of. No reference is in it."""

    embeddings: Tensor
    """(B, k, E), what the language model reads first."""
    prompts: list[str]
    """B texts that it reads next, "" for none."""
    perceived: Perceived | None = None
    """What its layers look at, if they do."""

    def row(self, number: int) -> "Prefix":
        """That of one sample."""
        one = slice(number, number + 1)
        seen = None if self.perceived is None else Perceived(self.perceived.tokens[one], self.perceived.mask[one])
        return Prefix(self.embeddings[one], self.prompts[one], seen)


class SentenceDecoder(Decoder):
    """The fused vector becomes the first `prefix` embeddings that a causal language model reads (arXiv:2111.09734); after a
    prompt, if there is one, it writes the sentence. Trained on the references' mean negative log likelihood a token.

    Args:
        language: `model_type` and fields of its configuration; the rest is a small GPT-2 (3 layers of width 96), or, with
            `pretrained`, the configuration that comes with the weights.
        pretrained: Hub name or local folder of a causal language model in safetensors. Without it, one is trained from scratch.
        tokenizer: Hub name or local folder (default: that of the weights; without weights, one is made of the training
            sentences by `fit`).
        tokenizer_json: The content of a `tokenizer.json` instead.
        vocabulary: Most tokens of a tokenizer that `fit` makes.
        prefix: k, how many embeddings the fused vector becomes.
        prefix_hidden: Width of a hidden layer on the way there; 0: a linear map.
        scale: What fused features are multiplied by first; expectation values are small.
        attend: Whether the language model's layers also look at the encoders' tokens and at the fused vector, by gated
            cross-attention (arXiv:2204.14198).
        attend_every: Before every so many-th layer, the last one included.
        tuning: What of the language model is trained: "full", "frozen" or "lora".
        lora: With tuning="lora": r, alpha, dropout, target_modules (default: the attention's projections), ...
        prompt: What stands between prefix and sentence: a text in which `{prompt}` is the sample's own, such as
            "question: {prompt} answer:", or an instruction without it. A sample without a prompt has none where `{prompt}`
            is asked for.
        max_length: Longest sequence in tokens: prefix, prompt, sentence and end (default: what the model can take).
        on_long: Whether a longer reference is cut ("truncate", counted in `truncated`) or an error ("refuse").
        references: Whether a training step learns "one" of a sample's references, drawn anew each time, or "all".
        generation: How sentences are made, see `qmm.language.Generation`; its fields as a dictionary do as well.
        target: Name of the target that holds the references.
    """

    def __init__(
        self,
        language: dict[str, Any] | None = None,
        pretrained: str | None = None,
        tokenizer: str | None = None,
        tokenizer_json: str | None = None,
        vocabulary: int = 512,
        prefix: int = 4,
        prefix_hidden: int = 0,
        scale: float = 1.0,
        attend: bool = False,
        attend_every: int = 1,
        tuning: Tuning = "full",
        lora: dict[str, Any] | None = None,
        prompt: str = "{prompt}",
        max_length: int | None = None,
        on_long: Literal["truncate", "refuse"] = "truncate",
        references: Literal["one", "all"] = "one",
        generation: GenerationFields | None = None,
        target: str = "references",
    ):
        super().__init__()
        _check(prefix=prefix, prefix_hidden=prefix_hidden, attend_every=attend_every, on_long=on_long, references=references)
        if tokenizer is not None and tokenizer_json is not None:
            raise InputError("tokenizer and tokenizer_json are both given; give one of them")
        self.prefix, self.prefix_hidden, self.scale = prefix, prefix_hidden, scale
        self.attends, self.attend_every = attend, attend_every
        self.prompt, self.on_long, self.references, self.target = checked_template(prompt), on_long, references, target
        self.generation = Generation.of(generation)
        source = tokenizer or (pretrained if tokenizer_json is None else None)
        own = SentenceTokenizer.of(source) if source else SentenceTokenizer.from_json(tokenizer_json, language)
        self.vocabulary = Vocabulary(own, vocabulary)
        if pretrained is not None and own is not None:
            self.language = from_source(pretrained, language, own)
        else:
            self.language = from_fields(language, own, vocabulary)
        if self.vocabulary.tokenizer is None:
            self.vocabulary.size = self.language.get_input_embeddings().num_embeddings
        self.tuning = tuning
        tune(self.language, tuning, lora, LORA_TARGETS)
        self.max_length = self._longest(max_length)
        self._truncated: set[int] = set()
        self.train()

    def _longest(self, given: int | None) -> int | None:
        limit = context_length(self.language)
        if given is not None and not self.prefix + 2 <= given <= (limit or given):
            raise InputError(
                f"max_length={given}: expected {self.prefix + 2} (prefix={self.prefix}, a token and the end) to {limit}"
            )
        if limit is not None and limit < self.prefix + 2:
            raise InputError(f"prefix={self.prefix}: the language model has only {limit} positions")
        return given or limit

    def config_arguments(self) -> dict[str, Any]:
        """What rebuilds it where its folder of weights is gone."""
        tokenizer = self.vocabulary.tokenizer
        special = {} if tokenizer is None else special_ids(tokenizer)
        return super().config_arguments() | {
            "language": architecture_of(self.language.config) | special,
            "pretrained": None,
            "tokenizer": None,
            "tokenizer_json": None if tokenizer is None else tokenizer.json,
            "generation": dataclasses.asdict(self.generation),
        }

    # The tokenizer

    @property
    def needs_fit(self) -> bool:
        """Whether `fit` must be called before anything is learned or written."""
        return self.vocabulary.tokenizer is None

    @property
    def tokenizer(self) -> SentenceTokenizer:
        """Raises InputError before `fit`, where it needs that."""
        return self.vocabulary.known()

    def fit(self, sentences: Iterable[str]) -> None:
        """Make the tokenizer of the training sentences, if there is none yet, and keep the embeddings of its tokens alone."""
        if not self.needs_fit:
            return
        if self.tuning != "full":
            raise InputError(f"tuning={self.tuning!r}: a language model without `pretrained` has to be trained in full")
        self.vocabulary.fit(sentences)
        self.language.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)

    @property
    def truncated(self) -> int:
        """How many different references were cut so far."""
        return len(self._truncated)

    # The parts

    def build(self, in_features: int, widths: Mapping[str, int] | None = None) -> None:
        width = self.language.get_input_embeddings().embedding_dim
        hidden, out = self.prefix_hidden, self.prefix * width
        if hidden:
            self.to_prefix: nn.Module = nn.Sequential(nn.Linear(in_features, hidden), nn.Tanh(), nn.Linear(hidden, out))
        else:
            self.to_prefix = nn.Linear(in_features, out)
        self.perception: Perception | None = None
        self.cross = nn.ModuleList()
        if self.attends:
            self.perception = Perception(in_features, widths or {}, width)
            layers = blocks_of(self.language)
            for layer in list(layers)[:: -self.attend_every]:
                self.cross.append(CrossAttention(width, self.language.config.num_attention_heads))
                self.cross[-1].before(layer)  # type: ignore[operator]

    def count_parameters(self, in_features: int) -> int:
        width = self.language.get_input_embeddings().embedding_dim
        hidden, out = self.prefix_hidden, self.prefix * width
        prefix = (in_features + 1) * hidden + (hidden + 1) * out if hidden else (in_features + 1) * out
        return prefix + ((in_features + 1) * width if self.attends else 0)

    def readers(self) -> Iterable[nn.Parameter]:
        yield from self.to_prefix.parameters()
        if self.perception is not None:
            yield from self.perception.fused.parameters()

    def language_parameters(self) -> list[nn.Parameter]:
        """Those of the language model that are trained, for a learning rate of their own."""
        return [p for p in self.language.parameters() if p.requires_grad]

    def spawn(self, in_features: int) -> WordsDecoder:
        other = WordsDecoder(self.vocabulary, self.target)
        other.build(in_features)
        return other

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if mode and self.tuning == "frozen":
            self.language.eval()  # dropout off, as ever in what is not trained
        return self

    def forward(self, features: Tensor, context: Context | None = None) -> Prefix:
        """(B, F) -> Prefix"""
        features = self.scale * features
        prompts = list(context.prompts) if context is not None and context.prompts else [""] * len(features)
        seen = None if self.perception is None else self.perception(features, context)
        texts = [self.prompt_of(prompt) for prompt in prompts]
        return Prefix(self.to_prefix(features).unflatten(1, (self.prefix, -1)), texts, seen)

    def prompt_of(self, prompt: str) -> str:
        """The text between prefix and sentence, of a sample with this prompt."""
        return filled(self.prompt, prompt)

    # Learning

    def loss(self, outputs: Prefix, targets: Mapping[str, Any]) -> Tensor:
        """The mean negative log likelihood a token; in evaluation, of all references."""
        losses, tokens = self.token_losses(outputs, targets, draw=self.training and self.references == "one")
        return losses.sum() / tokens.sum()

    def token_losses(self, outputs: Prefix, targets: Mapping[str, Any], draw: bool = False) -> tuple[Tensor, Tensor]:
        """(B,) summed negative log likelihood of a sample's references, and (B,) how many tokens they have, ends included.

        `draw`: of one of them, drawn with torch's random numbers. Raises InputError for a sample without a reference and for
        an empty one.
        """
        rows = [
            Row(sample, prompt, self._fitted(sentence, text, self._room(prompt, text)))
            for sample, (text, references) in enumerate(zip(outputs.prompts, targets[self.target], strict=True))
            for prompt in [self.tokenizer.encode(text)]
            for sentence in _checked(sample, references, draw)
        ]
        losses = self._nll(rows, outputs)
        samples = torch.tensor([row.sample for row in rows], device=losses.device)
        tokens = torch.tensor([float(len(row.sentence)) for row in rows], device=losses.device)
        none = losses.new_zeros(len(outputs.prompts))
        return none.index_add(0, samples, losses), none.index_add(0, samples, tokens)

    def _nll(self, rows: Sequence[Row], outputs: Prefix) -> Tensor:
        """(R,)"""
        table = self.language.get_input_embeddings()
        embeddings, mask, labels = to_learn(rows, outputs.embeddings, table, self.tokenizer.pad)
        seen = outputs.perceived
        if seen is not None:
            samples = torch.tensor([row.sample for row in rows], device=seen.mask.device)
            seen = Perceived(seen.tokens[samples], seen.mask[samples])
        with looking_at(self.cross, seen):
            logits = self.language(inputs_embeds=embeddings, attention_mask=mask.long(), use_cache=False).logits
        return nll(logits, labels)

    def _room(self, prompt: list[int], text: str) -> int | None:
        """How many tokens fit behind prefix and prompt; None: any number."""
        room = None if self.max_length is None else self.max_length - self.prefix - len(prompt)
        if room is not None and room < 2:
            raise InputError(
                f"a prompt of {len(prompt)} tokens leaves no room for a sentence: {self.max_length} tokens with a prefix of "
                f"{self.prefix}; ask shorter, or raise `max_length` as far as the model allows ({text[:60]!r})"
            )
        return room

    def _fitted(self, sentence: str, after: str, room: int | None) -> list[int]:
        ids = [*self.tokenizer.encode(sentence, after), self.tokenizer.end]
        if room is None or len(ids) <= room:
            return ids
        if self.on_long == "refuse":
            raise InputError(
                f"a reference has {len(ids)} tokens, but only {room} fit behind prefix and prompt: {sentence[:60]!r}; "
                "shorten it, raise `max_length` as far as the model allows, or set on_long='truncate'"
            )
        if not self._truncated:
            log.warning("references longer than %s tokens are cut; `truncated` counts them", room)
        self._truncated.add(hash(sentence))
        return ids[:room]

    # Writing

    def score(self, outputs: Prefix) -> list[str]:
        """B sentences"""
        return [self.tokenizer.decode(ids).strip() for ids in self.generate(outputs)]

    def predict(self, outputs: Prefix) -> list[SentencePrediction]:
        written = self.generate(outputs)
        scores = self.mean_log_probability(outputs, written).tolist()
        return [SentencePrediction(self.tokenizer.decode(i).strip(), s) for i, s in zip(written, scores, strict=True)]

    def stream(self, outputs: Prefix, write: Callable[[str], object]) -> SentencePrediction:
        """Write the sentence of one sample as it comes. Raises InputError for beams, which have none till the end."""
        if self.generation.strategy == "beam":
            raise InputError("beams are not streamed: the sentence is not known before the last token; take greedy or sample")
        if len(outputs.prompts) != 1:
            raise InputError(f"one sample is streamed at a time, got {len(outputs.prompts)}")
        written = self.generate(outputs, Streamer(self.tokenizer, write))
        score = float(self.mean_log_probability(outputs, written)[0])
        return SentencePrediction(self.tokenizer.decode(written[0]).strip(), score)

    @torch.no_grad()
    def generate(self, outputs: Prefix, streamer: Streamer | None = None) -> list[list[int]]:
        """B lists of token ids, the end last where it came, made as `generation` says."""
        rows = [Row(sample, self.tokenizer.encode(text), []) for sample, text in enumerate(outputs.prompts)]
        rooms = [self._room(row.prompt, text) for row, text in zip(rows, outputs.prompts, strict=True)]
        room = None if self.max_length is None else min(room for room in rooms if room is not None)
        embeddings, mask, _ = to_continue(rows, outputs.embeddings, self.language.get_input_embeddings())
        with looking_at(self.cross, outputs.perceived):
            return generate(self.language, embeddings, mask, self.tokenizer, self.generation, room, streamer)

    @torch.no_grad()
    def mean_log_probability(self, outputs: Prefix, sentences: Sequence[list[int]]) -> Tensor:
        """(B,), of a token, for a sentence in token ids for each sample."""
        prompts = [self.tokenizer.encode(text) for text in outputs.prompts]
        rows = [Row(n, prompt, ids) for n, (prompt, ids) in enumerate(zip(prompts, sentences, strict=True))]
        return -self._nll(rows, outputs) / torch.tensor([len(ids) for ids in sentences], device=outputs.embeddings.device)


def _checked(sample: int, references: Sequence[str], draw: bool) -> list[str]:
    if not references:
        raise InputError(f"sample {sample} of the batch has no reference sentence to learn")
    if draw:
        references = [references[int(torch.randint(len(references), ()))]]
    if any(not sentence.strip() for sentence in references):
        raise InputError(f"sample {sample} of the batch has an empty reference sentence; leave it out of the data")
    return [sentence.strip() for sentence in references]


def _check(**given: Any) -> None:
    for name, least in (("prefix", 1), ("prefix_hidden", 0), ("attend_every", 1)):
        if given[name] < least:
            raise InputError(f"{name}={given[name]}: expected at least {least}")
    for name, choices in (("on_long", ("truncate", "refuse")), ("references", ("one", "all"))):
        if given[name] not in choices:
            raise InputError(f"{name}={given[name]!r}: expected {' or '.join(map(repr, choices))}")
