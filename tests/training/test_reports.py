"""Reports: the table and the pictures of an evaluation, against the metrics of the same predictions."""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes

from qmm.decoders import ClassDecoder, SentenceDecoder, ValueDecoder
from qmm.metrics import grounding, sentence_metrics, token_f1
from qmm.training import plots
from qmm.training.reports import ClassReport, Report, SentenceReport, ValueReport, report_for
from qmm.types import Batch

WORDS = {
    "place": {"sea": ["sea", "open water"], "forest": ["forest", "wood"]},
    "event": {"rain": ["rain"], "birds": ["bird song"]},
}
SAID = ["", "the sea", "rain in the WOOD", "bird song on open water", "sea and forest", "a bird", "wood, with rain"]


def batch(references: list[list[str]], facts: list[dict[str, Any]] | None = None, prompts: tuple[str, ...] = ()) -> Batch:
    targets: dict[str, Any] = {"references": references} | ({} if facts is None else {"facts": facts})
    ids = [f"s{i}" for i in range(len(references))]
    return Batch({}, {"vision": torch.ones(len(ids), dtype=torch.bool)}, targets, ids, prompts)


def report(said: list[str], of: Batch, words: Any = WORDS) -> pd.DataFrame:
    made = SentenceReport(SentenceDecoder(), words)
    halves = [slice(0, len(said) // 2), slice(len(said) // 2, None)]  # as two batches would come
    parts = [
        of._replace(targets={k: v[half] for k, v in of.targets.items()}, ids=of.ids[half], prompts=of.prompts[half])
        for half in halves
    ]
    rows = [made.rows(part, said[half]) for part, half in zip(parts, halves, strict=True) if part.ids]
    return made.finish(pd.concat(rows, ignore_index=True))


samples = st.lists(
    st.tuples(
        st.sampled_from(SAID),
        st.fixed_dictionaries(
            {}, optional={"place": st.sampled_from(["sea", "forest", None]), "event": st.sampled_from(["rain"])}
        ),
    ),
    min_size=1,
    max_size=12,
)


@given(samples)
@settings(max_examples=50, deadline=None)
def test_right_is_what_grounding_counts(drawn: list[tuple[str, dict[str, Any]]]) -> None:
    said, facts = [s for s, _ in drawn], [f for _, f in drawn]
    table = report(said, batch([["the sea"]] * len(said), facts))
    scored = [any(value is not None for value in own.values()) for own in facts]
    expected = grounding(said, facts, WORDS)
    if any(scored):
        assert table["right"][scored].mean() == pytest.approx(expected["grounding"])
    for fact in {name.removeprefix("grounding_") for name in expected} - {"grounding"}:
        own = table[table[f"true_{fact}"].notna()]
        hits = [row[f"named_{fact}"] == [row[f"true_{fact}"]] for _, row in own.iterrows()]
        assert sum(hits) / len(hits) == pytest.approx(expected[f"grounding_{fact}"])
    assert table["right"][[not s for s in scored]].tolist() == [
        s == "the sea" for s, f in zip(said, scored, strict=True) if not f
    ]


def test_without_facts_right_is_an_exact_match(tmp_path: Path) -> None:
    references = [["a dog barks", "The dog."], ["rain"], ["waves", "surf"]]
    said = ["dog", "snow", "big waves"]
    table = report(said, batch(references), None)
    assert table["right"].tolist() == [True, False, False]
    assert table["error"].tolist() == [1 - token_f1(s, row) for s, row in zip(said, references, strict=True)]
    scores = sentence_metrics(said, references)
    assert scores["exact_match"] == pytest.approx(table["exact"].mean())
    assert scores["f1"] == pytest.approx(1 - table["error"].mean())
    table.to_parquet(tmp_path / "t.parquet")
    again = pd.read_parquet(tmp_path / "t.parquet")
    assert [list(row) for row in again["references"]] == references
    assert again["target"].tolist() == ["a dog barks", "rain", "waves"]


def test_an_answer_need_not_say_what_it_was_not_asked() -> None:
    facts = [{"place": "sea", "event": "rain"}] * 3
    answers = batch([["rain is falling"], ["rain is falling"], ["yes"]], facts, ("what do you hear?",) * 3)
    table = report(["I hear rain", "bird song", "yes"], answers)
    assert table["right"].tolist() == [True, False, True]
    assert table["summary"][0] == "what do you hear? rain is falling\n→ I hear rain"
    lines = SentenceReport(SentenceDecoder(), WORDS).lines(table)
    assert lines[1] == "s1 (wrong)\n  asked: what do you hear?\n  true:  rain is falling\n  model: bird song"


def test_the_matrix_of_facts_counts_none_and_several() -> None:
    facts = [{"place": "sea"}] * 4 + [{"place": "forest"}, {}]
    said = ["the sea", "a bird", "sea and wood", "wood", "wood", "wood"]
    made = SentenceReport(SentenceDecoder(), WORDS)
    pictures = made.pictures(report(said, batch([["x"]] * 6, facts)))
    assert list(pictures) == ["named_place"]
    (axes,) = pictures["named_place"].axes
    assert cells(axes) == {
        ("sea", "sea"): 1,
        ("sea", "none"): 1,
        ("sea", "several"): 1,
        ("sea", "forest"): 1,
        ("forest", "forest"): 1,
    }
    assert axes.get_title() == "place: 0.400 right, 5 samples"


def cells(axes: Axes) -> dict[tuple[str, str], int]:
    rows, columns = ([label.get_text() for label in labels] for labels in (axes.get_yticklabels(), axes.get_xticklabels()))
    return {(rows[round(t.get_position()[1])], columns[round(t.get_position()[0])]): int(t.get_text()) for t in axes.texts}


def test_few_samples_in_words_are_spread_over_the_table() -> None:
    table = report([str(i) for i in range(50)], batch([["x"]] * 50), None)
    lines = SentenceReport(SentenceDecoder()).lines(table)
    assert [line.split()[0] for line in lines] == ["s0", "s10", "s20", "s30", "s40"]
    assert len(SentenceReport(SentenceDecoder()).lines(table[:2])) == 2


def test_the_kind_of_decoder_decides() -> None:
    class Nobody(ClassDecoder):
        """A user's own, derived from ours."""

    assert type(report_for(Nobody(["a", "b"]))) is ClassReport
    assert type(report_for(ValueDecoder())) is ValueReport

    class Data:
        words = WORDS

    found = report_for(SentenceDecoder(), Data())
    assert isinstance(found, SentenceReport)
    assert found.words is WORDS
    table = Report(ValueDecoder()).rows(batch([["x"]])._replace(targets={"label": torch.tensor([1.0])}), torch.tensor([1.0]))
    assert table["right"].tolist() == [True]


def test_examples_hold_titles_of_any_length() -> None:
    long = " ".join(itertools.repeat("word", 60))
    figure = plots.examples([plots.Example({"text": "a"}, f"{long}\n{long}", True), plots.Example({"text": long}, "b")])
    assert figure.get_size_inches()[1] > plots.examples([plots.Example({"text": "a"}, "b")] * 2).get_size_inches()[1] + 0.5
    figure.canvas.draw()
