import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import MetricCollection
from torchmetrics.functional.text import chrf_score

from qmm.errors import InputError
from qmm.metrics import (
    Perplexity,
    SentenceMetrics,
    asked_for,
    bleu,
    check_words,
    chrf,
    cider_d,
    default_words,
    distinct,
    exact_match,
    grounding,
    named,
    names_rightly,
    repetition,
    rouge_l,
    sentence_metrics,
    token_f1,
)

VOCABULARY = [
    "a",
    "the",
    "dog",
    "rain",
    "sea",
    "waves",
    "road",
    "bird",
    "barks",
    "falls",
    "over",
    "near",
    "of",
    "tall",
    "night",
    "day",
]
PAIRS = [
    ("a dog barks near the sea", ["a dog barks near the sea", "a dog is barking by the ocean"]),
    ("rain rain rain falls on a road and on and on and on", ["rain falls over the road", "it rains on a city street"]),
    ("a clock", ["a clock ticks beside tall buildings", "a clock is ticking beside the ice", "a clock ticks"]),
    ("waves", ["waves roll in before a glacier"]),
    ("", ["a helicopter flies above the street"]),
]
PLACES = {"sea": ["sea", "ocean", "open water"], "beach": ["beach", "sea shore"], "city": ["city", "tall buildings"]}
EVENTS = {"sea_waves": ["waves"], "dog_bark": ["dog", "barking"], "rain": ["rain", "raining"]}
WORDS = {"place": PLACES, "event": EVENTS}


def corpus(seed: int, size: int = 30) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(seed)

    def sentence() -> str:
        return " ".join(rng.choices(VOCABULARY, k=rng.randint(1, 9)))

    references = [[sentence() for _ in range(rng.randint(1, 4))] for _ in range(size)]
    return [rng.choice(row) if rng.random() < 0.3 else sentence() for row in references], references


def cider_by_the_paper(sentences: list[str], references: list[list[str]]) -> list[float]:
    """Section 3 and equation 4 of arXiv:1411.5726, with numpy vectors over all n-grams there are."""

    def grams(sentence: str, n: int) -> list[str]:
        words = sentence.split()
        return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]

    scores = np.zeros(len(sentences))
    for n in (1, 2, 3, 4):
        counted = [[Counter(grams(r, n)) for r in row] for row in references]
        own = [Counter(grams(s, n)) for s in sentences]
        space = sorted({g for c in (*own, *(c for row in counted for c in row)) for g in c})
        frequency = np.array([sum(any(g in c for c in row) for row in counted) for g in space])
        weights = np.log(len(references)) - np.log(np.maximum(1, frequency))
        for i, row in enumerate(counted):
            h = weights * np.array([own[i][g] for g in space])
            for j, counts in enumerate(row):
                r = weights * np.array([counts[g] for g in space])
                if h.any() and r.any():
                    lengths = len(grams(sentences[i], 2)) - len(grams(references[i][j], 2))
                    cosine = np.minimum(h, r) @ r / np.linalg.norm(h) / np.linalg.norm(r)
                    scores[i] += 10 / 4 / len(row) * cosine * np.exp(-(lengths**2) / (2 * 6**2))
    return scores.tolist()


class TestCider:
    def test_values_of_pycocoevalcap(self) -> None:
        """What CiderScorer of pycocoevalcap 1.2 gives; its wheel of 100 MB is no dependency for that."""
        known = [5.52579096, 0.29402042, 2.28205654, 0.79005679, 0.0]
        assert cider_d(*zip(*PAIRS, strict=True)) == pytest.approx(known, abs=1e-7)

    @pytest.mark.parametrize("seed", range(5))
    def test_is_the_formula(self, seed: int) -> None:
        sentences, references = corpus(seed)
        assert cider_d(sentences, references) == pytest.approx(cider_by_the_paper(sentences, references), abs=1e-9)

    def test_a_perfect_sentence_has_ten_and_a_single_sample_none(self) -> None:
        sentences = ["a dog barks near the sea", "rain falls over the open road"]
        assert cider_d(sentences, [[s] for s in sentences]) == pytest.approx([10, 10])
        assert cider_d(sentences[:1], [sentences[:1]]) == [0]

    def test_case_and_punctuation_do_not_count(self) -> None:
        plain, references = corpus(7)
        loud = [f"{s.upper()} !" for s in plain]
        assert cider_d(loud, references) == cider_d(plain, references)
        assert bleu(loud, references) == bleu(plain, references)
        assert rouge_l(loud, references) == rouge_l(plain, references)


class TestOverlap:
    @pytest.mark.parametrize("seed", range(3))
    def test_chrf_is_that_of_torchmetrics(self, seed: int) -> None:
        """Of sentences of six characters, some of them shared: torchmetrics leaves out references where none is, and gives none
        of those below six the best score."""
        sentences, references = corpus(seed)
        sentences, references = [f"a dog or {s}" for s in sentences], [[f"a dog or {r}" for r in row] for row in references]
        theirs: Any = chrf_score(sentences, references, n_word_order=0)
        assert chrf(sentences, references) == pytest.approx(float(theirs), abs=1e-6)

    def test_chrf_of_short_answers(self) -> None:
        assert chrf(["true", "no"], [["true"], ["no", "false"]]) == 1
        assert chrf(["", "xyz"], [["true"], ["no"]]) == 0

    def test_bleu_and_rouge_by_hand(self) -> None:
        sentences, references = ["the dog the dog"], [["the dog barks near here"]]
        # clipped: 2 of 4 words, 1 of 3 pairs; brevity e^(1 - 5/4)
        assert bleu(sentences, references, 1) == pytest.approx(np.exp(-0.25) * 0.5, abs=1e-6)
        assert bleu(sentences, references, 2) == pytest.approx(np.exp(-0.25) * np.sqrt(0.5 / 3), abs=1e-6)
        assert bleu(sentences, references) == 0
        assert rouge_l(["a dog at sea"], [["rain", "a big dog swims at sea"]]) == pytest.approx(2 * 4 / (4 + 6))
        assert rouge_l(["犬 が 海"], [["犬 が 海"]]) == 1

    def test_distinct_and_repetition(self) -> None:
        assert distinct(["a dog", "A dog!"], 1) == 0.5
        assert distinct(["a dog barks", "a dog"], 2) == pytest.approx(2 / 3)
        assert distinct(["a"], 2) == 0
        assert repetition(["on and on and on"]) == 0.5
        assert repetition(["on and on and on", "a dog", "", "a"]) == 0.125
        assert repetition(["rain rain rain rain rain"], 4) == 0.5


class TestAnswers:
    def test_normalisation(self) -> None:
        assert exact_match("The  Church bells!", ["rain", "a church bells"]) == 1
        assert exact_match("church-bells", ["church bells"]) == 0
        assert exact_match("", ["the"]) == 1

    def test_f1_is_of_the_best_reference(self) -> None:
        assert token_f1("a dog and a cat", ["cat", "dog dog and"]) == pytest.approx(2 * 2 / (3 + 3))
        assert token_f1("rain", ["dog"]) == token_f1("", ["dog"]) == token_f1("dog", ["a"]) == 0
        assert token_f1("the", ["a"]) == 1


class TestGrounding:
    @pytest.mark.parametrize(
        ("sentence", "values"),
        [
            ("The SEA, calm.", ["sea"]),
            ("rain over the sea-shore", ["beach"]),
            ("sea shore by the sea", ["beach", "sea"]),
            ("seals season", []),
            ("a tall building", []),
            ("tall buildings, tall buildings and the ocean", ["city", "sea"]),
            ("open, water", ["sea"]),
            ("", []),
        ],
    )
    def test_named(self, sentence: str, values: list[str]) -> None:
        assert named(sentence, PLACES) == values

    def test_a_longer_phrase_hides_any_shorter_one_it_overlaps(self) -> None:
        words = {"a": ["red fox"], "b": ["fox den hill"], "c": ["hill"]}
        assert named("red fox den hill", words) == ["b"]
        assert named("red fox hill", words) == ["a", "c"]

    @given(st.data())
    def test_whole_words_by_regular_expression(self, data: st.DataObject) -> None:
        """With phrases of one word each, named is what a word-boundary search finds."""
        words = {"dog": ["dog", "hound"], "rain": ["rain"], "sea": ["sea"]}
        pieces = data.draw(st.lists(st.sampled_from(["dog", "Hound", "rain", "rainy", "sea", "seaside", "a"]), max_size=8))
        joints = data.draw(st.lists(st.sampled_from([" ", ", ", "-", "_", ". "]), min_size=8, max_size=8))
        sentence = "".join(p + j for p, j in zip(pieces, joints, strict=False))
        expected = {v for v, row in words.items() for w in row if re.search(rf"(?<![a-z]){w}(?![a-z])", sentence.lower())}
        assert set(named(sentence, words)) == expected

    def test_a_sentence_of_one_phrase_a_fact_is_right(self) -> None:
        for place, a in PLACES.items():
            for event, b in EVENTS.items():
                for x in a:
                    for y in b:
                        row = {"place": place, "event": event}
                        assert names_rightly(f"{y} at {x}", row, WORDS) == {"place": True, "event": True}

    def test_scores_leave_out_what_a_sample_lacks(self) -> None:
        facts: list[dict[str, Any]] = [
            {"place": "sea", "event": "rain"},
            {"place": "sea", "event": "rain"},
            {"place": "city", "event": None},
            {"event": ""},
            {},
        ]
        sentences = ["rain at sea", "a dog at sea", "rain at sea", "rain", "rain"]
        scores = grounding(sentences, facts, WORDS)
        assert scores == {"grounding": 1 / 3, "grounding_place": 2 / 3, "grounding_event": 1 / 2}
        assert next(iter(scores)) == "grounding"
        assert grounding(["rain"], [{}], WORDS) == {}

    def test_another_value_beside_the_right_one_is_wrong(self) -> None:
        assert not names_rightly("sea and city", {"place": "sea"}, WORDS)["place"]
        assert names_rightly("sea and ocean", {"place": "sea"}, WORDS)["place"]

    def test_default_words_are_the_names(self) -> None:
        facts: list[dict[str, Any]] = [{"event": "sea_waves"}, {"event": "rain", "place": None}, {"event": True}]
        assert default_words(facts) == {"event": {"sea_waves": ["sea waves"], "rain": ["rain"], "True": ["True"]}}
        assert grounding(["Sea waves!", "rain and sea waves", "it is true"], facts)["grounding"] == pytest.approx(2 / 3)

    def test_bad_words(self) -> None:
        check_words(WORDS)
        with pytest.raises(InputError, match=r"'shore' stands for both 'sea' and 'beach'"):
            check_words({"place": {"sea": ["Shore"], "beach": ["shore"]}})
        with pytest.raises(InputError, match="expected a list of words"):
            check_words({"place": {"sea": "shore"}})
        with pytest.raises(InputError, match="expected a list of words"):
            check_words({"place": {"sea": ["..."]}})
        with pytest.raises(InputError, match=r"no words for place 'moon'; there are some for: sea, beach, city"):
            names_rightly("moon", {"place": "moon"}, WORDS)


FACTS = [{"place": "sea", "event": "dog_bark"}, {"event": "rain"}, {}, {"event": "sea_waves"}, {"place": "city"}]


def updates() -> list[tuple[Any, ...]]:
    return [(s, r, f) for (s, r), f in zip(PAIRS, FACTS, strict=True)]


APART = """
import json, sys
import torch
from torch import distributed
from torchmetrics import MetricCollection
from qmm.metrics import Perplexity, SentenceMetrics

rank, folder, words, samples = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
metrics = MetricCollection({"sentences": SentenceMetrics(words), "perplexity": Perplexity()}, compute_groups=False)
for share in samples:
    metrics.reset()
    metrics["sentences"].update([], [])
    metrics["perplexity"].update(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    for number, sentence, references, facts in share:
        metrics["sentences"].update([sentence], [references], [facts])
        metrics["perplexity"].update(torch.tensor([float(number)]), torch.tensor([number + 1]))
    print(json.dumps({name: float(score) for name, score in metrics.compute().items()}))
"""


class TestSentenceMetrics:
    def whole(self) -> dict[str, float]:
        sentences, references, facts = zip(*updates(), strict=True)
        return sentence_metrics(sentences, references, facts, WORDS)

    def test_batches_do_not_matter(self) -> None:
        metric = SentenceMetrics(WORDS)
        sentences, references, facts = zip(*updates(), strict=True)
        for cut in (slice(0, 2), slice(2, 5)):
            metric.update(sentences[cut], references[cut], facts[cut])
        scores = {name: float(score) for name, score in metric.compute().items()}
        assert scores == pytest.approx(self.whole(), abs=1e-6)
        assert list(scores)[:3] == ["grounding", "grounding_place", "grounding_event"]

    def test_two_processes(self, tmp_path: Path) -> None:
        """However the samples are shared out, also where one process has none."""
        samples = [(number, *update) for number, update in enumerate(updates())]
        shares = ([samples[:3], samples], [samples[3:], []])
        apart = []
        for rank, own in enumerate(shares):
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                APART,
                str(rank),
                str(tmp_path),
                json.dumps(WORDS),
                json.dumps(own),
            ]
            apart.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        printed = [process.communicate(timeout=120)[0].splitlines() for process in apart]
        assert [len(lines) for lines in printed] == [2, 2]
        expected = self.whole() | {"perplexity": float(np.exp(10 / 15))}
        for line in printed[0] + printed[1]:
            assert json.loads(line) == pytest.approx(expected, abs=1e-6)

    def test_the_headline(self) -> None:
        plain = SentenceMetrics()
        plain.update(["a dog"], [["the dog", "rain"]])
        assert next(iter(plain.compute())) == "cider"
        assert not any(name.startswith("grounding") for name in plain.compute())
        answers = SentenceMetrics()
        answers.update(["Yes."], [["yes"]], prompts=["is it?"])
        assert next(iter(answers.compute())) == "exact_match"
        assert answers.compute()["exact_match"] == 1
        answers.update(["no"], [["yes"]], prompts=[""])
        assert next(iter(answers.compute())) == "cider"

    def test_an_answer_is_to_name_what_was_asked(self) -> None:
        facts = [{"place": "sea", "event": "rain"}] * 3
        said, references = ["rain", "rain", "a dog"], [["rain", "it is raining"]] * 3
        scores = sentence_metrics(said, references, facts, WORDS, ["what do you hear?", "", "what do you hear?"])
        assert scores["grounding"] == scores["grounding_event"] - 1 / 3 == pytest.approx(1 / 3)
        assert scores["grounding_place"] == 0  # of the one that was asked nothing
        assert asked_for(["rain at sea", "rain"], {"place": "sea", "event": "dog_bark"}, WORDS) == {"place": "sea"}

    def test_text_is_kept_as_it_is(self) -> None:
        metric = SentenceMetrics()
        odd = 'line\nbreak "quoted" \u2028 犬 🐕 \ud800'
        metric.update([odd], [[odd]])
        assert metric.compute()["exact_match"] == metric.compute()["f1"] == 1

    def test_reset_and_clone(self) -> None:
        collection = MetricCollection({"sentences": SentenceMetrics(WORDS)}, prefix="val/")
        collection["sentences"].update(["rain at sea"], [["rain"]], [{"place": "sea"}])
        assert collection.compute()["val/grounding"] == 1
        collection.reset()
        collection["sentences"].update(["dog"], [["rain"]], [{"place": "sea"}])
        other = collection.clone(prefix="test/")
        assert other.compute()["test/grounding"] == 0

    def test_bad_input(self) -> None:
        with pytest.raises(InputError, match="2 sentences, 1 lists of references"):
            SentenceMetrics().update(["a", "b"], [["a"]])
        with pytest.raises(InputError, match="sample 1: expected a list of at least one reference, got \\[\\]"):
            sentence_metrics(["a", "b"], [["a"], []])
        with pytest.raises(InputError, match="1 rows of facts"):
            sentence_metrics(["a", "b"], [["a"], ["b"]], [{}])
        assert sentence_metrics([], []) == {}

    @given(
        st.lists(
            st.tuples(st.text(max_size=12), st.lists(st.text(max_size=12), min_size=1, max_size=3)), min_size=1, max_size=5
        )
    )
    def test_any_text_has_scores_within_their_range(self, rows: list[tuple[str, list[str]]]) -> None:
        sentences, references = zip(*rows, strict=True)
        for name, score in sentence_metrics(sentences, references).items():
            assert 0 <= score <= (10.000001 if name == "cider" else 1.000001), name


def test_perplexity_is_that_of_all_tokens() -> None:
    metric = Perplexity()
    metric.update(torch.tensor([2.0, 4.0]), torch.tensor([1, 3]))
    metric.update(torch.tensor([1.0]), torch.tensor([3]))
    assert float(metric.compute()) == pytest.approx(np.exp(7 / 7))


@pytest.mark.data
def test_captions_of_av_scenes_name_their_facts(real_data: Path, av_words: dict[str, dict[str, list[str]]]) -> None:
    """The words of the set's templates, in which every reference names its place and its event and nothing else."""
    rows = [json.loads(line) for line in (real_data / "av-scenes" / "manifest.jsonl").read_text().splitlines()]
    facts = [{fact: row[fact] for fact in av_words} for row in rows for _ in row["captions"]]
    assert grounding([caption for row in rows for caption in row["captions"]], facts, av_words)["grounding"] == 1
