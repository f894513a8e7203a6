"""SentenceDecoder against transformers itself, and against the plainest way to write a sentence."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qmm.config import to_config
from qmm.decoders import Prefix, SentenceDecoder
from qmm.errors import InputError
from qmm.language import Generation, SentenceTokenizer
from qmm.language.cross_attention import looking_at
from qmm.loading import build
from qmm.types import Context

Folder = Callable[..., Path]
FAMILIES = ("gpt2", "llama", "qwen2")
PROMPTS = ["", "what do you hear?", "when"]
WIDTHS = {"vision": 5, "audio": 3}


def pretrained(folder: Path, **given: Any) -> SentenceDecoder:
    """One that writes at most eight tokens from three features."""
    settings = {"generation": {"max_new_tokens": 8}, **given}
    torch.manual_seed(1)
    decoder = SentenceDecoder(pretrained=str(folder), **settings)
    decoder.build(3, WIDTHS)
    return decoder.eval()


def prefix_of(decoder: SentenceDecoder, prompts: Sequence[str] = PROMPTS, seed: int = 0) -> Prefix:
    features = torch.randn(len(prompts), 3, generator=torch.Generator().manual_seed(seed))
    return decoder(features, Context({}, {}, prompts))


def open_gates(decoder: SentenceDecoder) -> None:
    for name, parameter in decoder.cross.named_parameters():
        if name.endswith("gate"):
            parameter.data.fill_(0.7)


def alone(decoder: SentenceDecoder, prefix: Prefix, row: int) -> Tensor:
    """(1, T, E): what one sample's sentence follows."""
    ids = torch.tensor(decoder.tokenizer.encode(prefix.prompts[row]), dtype=torch.int64)
    return torch.cat([prefix.embeddings[row], decoder.language.get_input_embeddings()(ids)]).unsqueeze(0)


def next_log_probabilities(decoder: SentenceDecoder, before: Tensor, ids: list[int]) -> Tensor:
    """(V,), without a cache; what is no text is impossible."""
    table = decoder.language.get_input_embeddings()
    written = table(torch.tensor(ids, dtype=torch.int64)).unsqueeze(0)
    logits = decoder.language(inputs_embeds=torch.cat([before, written], 1)).logits[0, -1]
    logits[sorted(decoder.tokenizer.special - {decoder.tokenizer.end})] = -torch.inf
    return logits.log_softmax(-1)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_loss_is_that_of_transformers_own_labels(folder_of: Folder, family: str, sentences: list[str]) -> None:
    decoder = pretrained(folder_of(family))
    prefix = prefix_of(decoder)
    references = [[sentences[0]], [sentences[1], sentences[2]], [sentences[3]]]
    losses, tokens = decoder.token_losses(prefix, {"references": references})
    table, end = decoder.language.get_input_embeddings(), decoder.tokenizer.end
    for row, own in enumerate(references):
        total = 0.0
        for sentence in own:
            ids = torch.tensor([*decoder.tokenizer.encode(sentence, after=prefix.prompts[row]), end])
            before = alone(decoder, prefix, row)
            labels = torch.cat([torch.full((before.shape[1],), -100), ids]).unsqueeze(0)
            both = torch.cat([before, table(ids).unsqueeze(0)], 1)
            total += float(decoder.language(inputs_embeds=both, labels=labels).loss) * len(ids)
        assert float(losses[row]) == pytest.approx(total, rel=1e-4)
    assert tokens.tolist() == [sum(len(decoder.tokenizer.encode(s)) + 1 for s in own) for own in references]
    assert torch.allclose(decoder.loss(prefix, {"references": references}), losses.sum() / tokens.sum())


@pytest.mark.parametrize("attend", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_greedy_takes_the_likeliest_token_each_time(folder_of: Folder, family: str, attend: bool) -> None:
    decoder = pretrained(folder_of(family), attend=attend)
    open_gates(decoder)
    prefix = prefix_of(decoder)
    written, predictions = decoder.generate(prefix), decoder.predict(prefix)
    for row, ids in enumerate(written):
        before = alone(decoder, prefix, row)
        found: list[int] = []
        table = decoder.language.get_input_embeddings()
        with looking_at(decoder.cross, prefix.row(row).perceived):
            while len(found) < 8 and decoder.tokenizer.end not in found:
                found.append(int(next_log_probabilities(decoder, before, found).argmax()))
            logits = decoder.language(inputs_embeds=torch.cat([before, table(torch.tensor([ids]))], 1)).logits[0]
        assert ids == found
        assert predictions[row].sentence == decoder.score(prefix)[row] == decoder.tokenizer.decode(ids).strip()
        steps = logits[before.shape[1] - 1 : -1].log_softmax(-1)
        expected = sum(float(steps[step, token]) for step, token in enumerate(ids)) / len(ids)
        assert predictions[row].score == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_beams_find_what_an_exhaustive_search_finds(folder_of: Folder) -> None:
    """With as many beams as there are beginnings nothing is lost; sentences of different lengths compete by their mean."""
    decoder = pretrained(folder_of("llama"))
    decoder.generation = Generation("beam", max_new_tokens=2, beams=290)
    prefix = prefix_of(decoder)
    end = decoder.tokenizer.end
    for row, ids in enumerate(decoder.generate(prefix)):
        before = alone(decoder, prefix, row)
        first = next_log_probabilities(decoder, before, [])
        scores = {(end,): float(first[end])}
        for token in (first > -torch.inf).nonzero().flatten().tolist():
            if token != end:
                second = next_log_probabilities(decoder, before, [token])
                scores |= {(token, other): float(first[token] + second[other]) / 2 for other in range(len(second))}
        assert tuple(ids) == max(scores, key=lambda sentence: scores[sentence])


@pytest.mark.parametrize("strategy", ["greedy", "beam"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_gives_what_its_samples_give_alone(folder_of: Folder, family: str, strategy: Any) -> None:
    decoder = pretrained(folder_of(family), attend=True, generation={"strategy": strategy, "max_new_tokens": 6})
    open_gates(decoder)
    prefix = prefix_of(decoder)
    together = decoder.predict(prefix)
    for row in range(3):
        (one,) = decoder.predict(prefix.row(row))
        assert one.sentence == together[row].sentence
        assert one.score == pytest.approx(together[row].score, abs=1e-4)


def test_sampling_is_repeatable_and_disturbs_nobody(folder_of: Folder) -> None:
    decoder = pretrained(folder_of("gpt2"))
    prefix = prefix_of(decoder)
    decoder.generation = Generation("sample", max_new_tokens=8, temperature=3.0, seed=5)
    before = torch.get_rng_state()
    first, again = decoder.score(prefix), decoder.score(prefix)
    assert torch.equal(torch.get_rng_state(), before)
    decoder.generation = Generation("sample", max_new_tokens=8, temperature=3.0, seed=6)
    assert first == again != decoder.score(prefix)
    decoder.generation = Generation("sample", max_new_tokens=8, temperature=1e-4, seed=6)
    drawn = decoder.score(prefix)
    decoder.generation = Generation(max_new_tokens=8)
    assert drawn == decoder.score(prefix)  # a cold draw is greedy
    decoder.generation = Generation("sample", max_new_tokens=8, top_p=1e-6)
    assert drawn == decoder.score(prefix)  # so is one from the likeliest alone


@torch.no_grad()
def test_lengths_and_repetition(folder_of: Folder) -> None:
    decoder = pretrained(folder_of("gpt2"))
    prefix = prefix_of(decoder)
    decoder.generation = Generation(max_new_tokens=12, min_new_tokens=12, repetition_penalty=1.5)
    for row, ids in enumerate(decoder.generate(prefix)):
        before, found = alone(decoder, prefix, row), list[int]()
        while len(found) < 12:
            table = decoder.language.get_input_embeddings()
            written = table(torch.tensor([found], dtype=torch.int64))
            logits = decoder.language(inputs_embeds=torch.cat([before, written], 1)).logits[0, -1]
            logits[sorted(decoder.tokenizer.special)] = -torch.inf
            seen = torch.tensor(sorted(set(found)), dtype=torch.int64)
            logits[seen] = torch.where(logits[seen] > 0, logits[seen] / 1.5, logits[seen] * 1.5)
            found.append(int(logits.argmax()))
        assert ids == found
    decoder.generation = Generation(max_new_tokens=500)
    longest = 64 - 4 - len(decoder.tokenizer.encode(PROMPTS[1]))  # the model has 64 positions, the prefix takes 4
    assert max(map(len, decoder.generate(prefix))) <= longest


def test_streaming_writes_what_prediction_says(folder_of: Folder) -> None:
    decoder = pretrained(folder_of("gpt2"), generation={"max_new_tokens": 12, "strategy": "sample", "seed": 3})
    prefix = prefix_of(decoder)
    for row in range(3):
        pieces: list[str] = []
        said = decoder.stream(prefix.row(row), pieces.append)
        assert said == decoder.predict(prefix.row(row))[0]
        assert "".join(pieces) == said.sentence
        assert len(pieces) > 1
    with pytest.raises(InputError, match="one sample is streamed at a time, got 3"):
        decoder.stream(prefix, print)
    decoder.generation = Generation("beam")
    with pytest.raises(InputError, match="beams are not streamed"):
        decoder.stream(prefix.row(0), print)


@pytest.mark.parametrize("given", [{}, {"tuning": "lora", "lora": {"r": 2}}, {"tuning": "frozen"}, {"attend": True}])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_is_complete_in_itself(folder_of: Folder, family: str, given: dict[str, Any]) -> None:
    decoder = pretrained(folder_of(family), **given)
    described = to_config(decoder)
    assert described["init_args"]["pretrained"] is None
    torch.manual_seed(2)
    other = build(described)
    other.build(3, WIDTHS)
    other.load_state_dict(decoder.state_dict())
    prefix = prefix_of(decoder)
    assert other.eval().predict(prefix_of(other)) == decoder.predict(prefix)
    assert to_config(other) == described
    tied = decoder.language.config.tie_word_embeddings
    for one in (decoder, other):
        assert (one.language.get_output_embeddings().weight is one.language.get_input_embeddings().weight) == tied


@pytest.mark.parametrize(("tuning", "lora"), [("full", None), ("lora", {"r": 2}), ("frozen", None)])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_tuned(folder_of: Folder, family: str, tuning: Any, lora: Any, sentences: list[str]) -> None:
    decoder = pretrained(folder_of(family), tuning=tuning, lora=lora, references="all").train()
    features = torch.randn(2, 3, requires_grad=True)
    decoder.loss(decoder(features), {"references": [sentences[:2], sentences[2:3]]}).backward()
    assert features.grad is not None
    assert (features.grad != 0).all()  # through a frozen model as well
    moved = {name for name, p in decoder.language.named_parameters() if p.grad is not None and p.grad.any()}
    trained = {name for name, p in decoder.language.named_parameters() if p.requires_grad}
    everything = dict(decoder.language.named_parameters())
    assert len(decoder.language_parameters()) == len(trained)
    if tuning == "full":
        assert trained == set(everything)
    elif tuning == "frozen":
        assert not trained
        assert not decoder.language.training
    else:
        assert trained == {name for name in everything if "lora_" in name}
        assert moved == {name for name in trained if "lora_B" in name}  # adapters begin as nothing
    readers = {id(p) for p in decoder.readers()}
    assert not readers & {id(p) for p in everything.values()}
    assert sum(p.numel() for p in decoder.readers()) == decoder.count_parameters(3)


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize("attend", [False, True])
def test_readers_are_counted(hidden: int, attend: bool) -> None:
    decoder = SentenceDecoder({"n_embd": 16, "n_head": 2}, prefix_hidden=hidden, attend=attend)
    counted = decoder.count_parameters(7)
    decoder.build(7, WIDTHS)
    assert sum(p.numel() for p in decoder.readers()) == counted


def test_no_reference_enters_what_is_written(folder_of: Folder, sentences: list[str]) -> None:
    """Everything that generation gets is made by `forward`, before any target is seen, and learning changes nothing of it."""
    decoder = pretrained(folder_of("gpt2"))
    prefix = prefix_of(decoder)
    copy = prefix.embeddings.clone()
    written = decoder.predict(prefix)
    for references in ([["nonsense " * 3]] * 3, [[s] for s in sentences[:3]]):
        decoder.loss(prefix, {"references": references})
        assert decoder.predict(prefix) == written
    assert torch.equal(prefix.embeddings, copy)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4), limit=st.integers(6, 24), asked=st.integers(0, 12))
def test_what_is_too_long_is_cut_and_counted(tokenizer: SentenceTokenizer, lengths: list[int], limit: int, asked: int) -> None:
    torch.manual_seed(0)
    decoder = SentenceDecoder(
        {"n_embd": 8, "n_layer": 1, "n_head": 1}, tokenizer_json=tokenizer.json, max_length=limit, prefix=2
    )
    decoder.build(3)
    decoder.eval()
    question = "ab" * asked
    prefix = decoder(torch.ones(len(lengths), 3), Context({}, {}, [question] * len(lengths)))
    references = [[f"{number}" + "z" * length] for number, length in enumerate(lengths)]
    room = limit - 2 - len(tokenizer.encode(question))
    if room < 2:
        with pytest.raises(InputError, match="leaves no room for a sentence"):
            decoder.token_losses(prefix, {"references": references})
        with pytest.raises(InputError, match="leaves no room for a sentence"):
            decoder.score(prefix)
        return
    full = [len(tokenizer.encode(sentence)) + 1 for (sentence,) in references]
    _, tokens = decoder.token_losses(prefix, {"references": references})
    assert tokens.tolist() == [min(count, room) for count in full]
    assert decoder.truncated == sum(count > room for count in full)
    decoder.token_losses(prefix, {"references": references})
    assert decoder.truncated == sum(count > room for count in full)  # a reference counts once, however often it is seen
    decoder.on_long = "refuse"
    if any(count > room for count in full):
        with pytest.raises(InputError, match=f"only {room} fit behind prefix and prompt"):
            decoder.token_losses(prefix, {"references": references})


def test_one_reference_is_drawn_in_training_and_all_count_in_evaluation(tokenizer: SentenceTokenizer) -> None:
    decoder = SentenceDecoder({"n_embd": 16, "n_head": 2}, tokenizer_json=tokenizer.json)
    decoder.build(3)
    decoder.language.eval()  # no dropout, so that equal references have equal losses
    prefix, references = decoder(torch.ones(1, 3)), ["a dog", "waves break on the beach"]
    each = [decoder.loss(prefix, {"references": [[one]]}).item() for one in references]
    drawn = {round(decoder.loss(prefix, {"references": [references]}).item(), 5) for _ in range(30)}
    assert drawn == {round(loss, 5) for loss in each}
    decoder.references = "all"
    every = decoder.loss(prefix, {"references": [references]}).item()
    decoder.references = "one"
    assert decoder.eval().loss(prefix, {"references": [references]}).item() == pytest.approx(every, rel=1e-5)
    assert min(each) < every < max(each)


def test_prompts() -> None:
    def of(template: str) -> Callable[[str], str]:
        return SentenceDecoder({"n_embd": 8, "n_head": 1}, prompt=template).prompt_of

    assert of("{prompt}")("what?") == "what?"
    assert of("question: {prompt} answer:")("a {brace}") == "question: a {brace} answer:"
    assert of("question: {prompt} answer:")("") == ""
    assert of("describe {{it}}:")("never read") == of("describe {{it}}:")("") == "describe {it}:"
    for wrong in ("{question}", "{}", "{prompt!r}", "{prompt:>9}", "{prompt.real}", "a { b"):
        with pytest.raises(InputError, match="prompt="):
            of(wrong)


def test_a_prompt_is_read_before_the_sentence(folder_of: Folder) -> None:
    decoder = pretrained(folder_of("gpt2"))
    features = torch.ones(1, 3)
    asked = decoder(features, Context({}, {}, ["what do you hear?"]))
    unasked = decoder(features)
    assert unasked.prompts == [""]
    losses = [decoder.token_losses(prefix, {"references": [["rain"]]}) for prefix in (asked, unasked)]
    assert losses[0][0] != losses[1][0]
    assert losses[0][1] == losses[1][1]  # the prompt's tokens are not among what is learned


@pytest.mark.parametrize(
    ("references", "told"),
    [([["a"], []], "sample 1 of the batch has no reference"), ([["a", " "], ["b"]], "sample 0 .* empty")],
)
def test_references_that_are_not_there(tokenizer: SentenceTokenizer, references: list[list[str]], told: str) -> None:
    decoder = SentenceDecoder({"n_embd": 8, "n_head": 1}, tokenizer_json=tokenizer.json)
    decoder.build(3)
    with pytest.raises(InputError, match=told):
        decoder.eval().loss(decoder(torch.ones(2, 3)), {"references": references})


def test_fit_keeps_the_embeddings_of_the_tokens_there_are(sentences: list[str]) -> None:
    torch.manual_seed(0)
    decoder = SentenceDecoder({"n_embd": 16, "n_layer": 1, "n_head": 2}, vocabulary=600, generation={"max_new_tokens": 10})
    head = decoder.spawn(4)
    decoder.build(3)
    with pytest.raises(InputError, match=r"no tokenizer yet: .*`fit\(sentences\)`"):
        decoder.score(decoder(torch.eye(3)))
    assert decoder.needs_fit
    decoder.fit(sentences)
    assert not decoder.needs_fit
    size = len(decoder.tokenizer)
    assert 258 < size < 600
    assert decoder.language.get_input_embeddings().num_embeddings == decoder.language.config.vocab_size == size
    assert head(torch.ones(2, 4)).shape == (2, size)
    json = decoder.tokenizer.json
    decoder.fit(["something else"])
    assert decoder.tokenizer.json == json  # it has one
    described = to_config(decoder)
    other = build(described)
    other.spawn(4).load_state_dict(head.state_dict())
    other.build(3)
    other.load_state_dict(decoder.state_dict())
    assert other.eval().predict(other(torch.eye(3))) == decoder.eval().predict(decoder(torch.eye(3)))
    assert to_config(other) == described


def test_it_learns_by_heart(sentences: list[str]) -> None:
    torch.manual_seed(0)
    decoder = SentenceDecoder({"n_embd": 32, "n_layer": 1, "n_head": 2}, prefix=2, prompt="say: {prompt}")
    decoder.build(3)
    decoder.fit(sentences)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    context = Context({}, {}, ["twice", "", "twice"])
    references = [[f"{sentences[0]} {sentences[0]}"], [sentences[1]], [sentences[2]]]
    for _ in range(80):
        optimizer.zero_grad()
        loss = decoder.loss(decoder(torch.eye(3), context), {"references": references})
        loss.backward()
        optimizer.step()
    decoder.eval()
    predictions = decoder.predict(decoder(torch.eye(3), context))
    assert [p.sentence for p in predictions] == [one for (one,) in references]
    assert all(-0.5 < p.score <= 0 for p in predictions)
