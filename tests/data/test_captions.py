"""Sentences of a manifest: captions, facts and their words, questions, prompts; what is wrong with them is named."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.fabric.utilities.apply_func import move_data_to_device

from qmm.data import ManifestDataModule
from qmm.errors import InputError
from qmm.types import Batch

Rows = list[dict[str, Any]]
Make = Callable[..., ManifestDataModule]


@pytest.fixture
def told(rows: Rows) -> Rows:
    """The eight good rows, told: two captions each, which name an animal ("cat" for class "a") and a sound."""
    for i, row in enumerate(rows):
        row["animal"], row["noise"] = ("cat", "dog")[i % 2], ("loud_purr", "bark")[i % 2]
        row["captions"] = [f"number {i} is a {row['animal']}", f"{i} makes a {row['noise'].replace('_', ' ')}"]
    return rows


def length(text: str) -> torch.Tensor:
    return torch.tensor(float(len(text)))


def batches(data: ManifestDataModule, split: str = "val") -> Batch:
    data.setup("fit")
    data.connect({"text": length})
    loader: Any = {"train": data.train_dataloader, "val": data.val_dataloader, "predict": data.predict_dataloader}[split]()
    return next(iter(loader))


def fails(data: ManifestDataModule, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        data.setup("fit")
    for part in parts:
        assert part in str(caught.value)


def test_captions_and_facts_become_targets(make: Make, told: Rows) -> None:
    data = make(told, captions="captions", facts={"animal": "animal", "noise": "noise"})
    batch = move_data_to_device(batches(data), "cpu")
    assert batch.ids == ["r4", "r5"]
    assert batch.targets["references"] == [told[4]["captions"], told[5]["captions"]]
    assert batch.targets["facts"] == [{"animal": "cat", "noise": "loud_purr"}, {"animal": "dog", "noise": "bark"}]
    assert batch.targets["label"].tolist() == [0, 1]
    assert batch.prompts == ()
    assert data.sentences == [text for row in told[:4] for text in row["captions"]]
    assert data.words == {
        "animal": {"cat": ["cat"], "dog": ["dog"]},
        "noise": {"bark": ["bark"], "loud_purr": ["loud purr"]},
    }
    assert batches(data, "predict").targets == {}


def test_without_captions_nothing_changes(make: Make, rows: Rows) -> None:
    data = make(rows)
    batch = batches(data)
    assert set(batch.targets) == {"label"}
    assert (data.sentences, data.prompts, data.words) == ([], [], None)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_several_columns_and_other_files(files: Path, told: Rows, suffix: str) -> None:
    for i, row in enumerate(told):
        row["first"], row["second"] = row.pop("captions")
        row["second"] = None if i == 5 else row["second"]
    path = files / f"m.{suffix}"
    if suffix == "parquet":
        pd.DataFrame(told).to_parquet(path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(told[0]))
            writer.writeheader()
            writer.writerows(told)
    data = ManifestDataModule(str(path), captions=["first", "second"])
    assert batches(data).targets["references"] == [[told[4]["first"], told[4]["second"]], [told[5]["first"]]]


def test_lists_of_parquet(files: Path, told: Rows) -> None:
    pd.DataFrame(told).to_parquet(files / "m.parquet")
    data = ManifestDataModule(str(files / "m.parquet"), captions="captions")
    assert data.sentences == [text for row in told[:4] for text in row["captions"]]


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(min_size=1)))
@settings(max_examples=60, deadline=None)
def test_values_are_spelt_out_and_survive(value: Any) -> None:
    row = {"id": "r", "split": "train", "text": "t", "label": "a", "captions": value}
    data = ManifestDataModule(rows=[row], captions="captions")
    if isinstance(value, str) and not value.strip():
        fails(data, "rows: row 1, field 'captions': an empty caption")
        return
    expected = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value).strip()
    assert data.sentences == [expected]


def test_no_label_is_needed(make: Make, told: Rows) -> None:
    for row in told:
        del row["label"]
    data = make(told, captions="captions", label=None)
    assert set(batches(data).targets) == {"references"}
    assert data.classes is None
    assert data.class_weights is None
    with pytest.raises(InputError, match="these data have no labels, only sentences"):
        _ = data.target_scale


CAPTIONS: dict[str, tuple[Any, str]] = {
    "null": (None, "no caption; give one, or move the row to the split 'predict'"),
    "empty": ("", "an empty caption; write the sentence, or remove it"),
    "blank": (["fine", " \t"], "an empty caption"),
    "no list": ([], "an empty list of captions"),
    "null in a list": (["fine", None], "expected a sentence, got None (NoneType)"),
    "object": ({"a": 1}, "expected a sentence, got {'a': 1} (dict)"),
    "NaN": (float("nan"), "expected a sentence, got nan (float)"),
}


@pytest.mark.parametrize("mistake", CAPTIONS)
def test_a_bad_caption_is_named_or_skipped(make: Make, told: Rows, mistake: str) -> None:
    told[2]["captions"], reason = CAPTIONS[mistake]
    fails(make(told, captions="captions"), "manifest.jsonl: row 3, field 'captions': ", reason)
    data = make(told, captions="captions", on_bad_sample="skip")
    data.setup("fit")
    assert [(bad.row, bad.field) for bad in data.skipped] == [(3, "captions")]
    assert reason in data.skipped[0].reason
    assert data.rows["train"].tolist() == [0, 1, 3]


def test_rows_to_predict_need_no_caption(make: Make, told: Rows) -> None:
    for row in told[6:]:
        row.update(split="predict", captions=None, label=None, animal=None)
    data = make(told, captions="captions", facts={"animal": "animal"})
    batch = batches(data, "predict")
    assert batch.ids == ["r6", "r7"]
    assert batch.targets == {}


def test_words_of_ones_own(make: Make, told: Rows) -> None:
    words = {"animal": {"cat": ["cat", "kitten"], "dog": ["dog", "puppy"], "cow": ["cow"]}}
    data = make(told, captions="captions", facts={"animal": "animal", "noise": "noise"}, words=words)
    assert data.words == {**words, "noise": {"bark": ["bark"], "loud_purr": ["loud purr"]}}
    told[1]["animal"] = "dgo"
    options: dict[str, Any] = {"captions": "captions", "facts": {"animal": "animal"}}
    fails(make(told, **options, words=words), "row 2, field 'animal': `words` has none for the animal 'dgo'", "'dog'?")
    told[1]["animal"] = ""
    fails(make(told, **options), "row 2, field 'animal': an empty animal; name it, or remove it")
    told[1]["animal"] = "dog"
    told[1]["split"], told[0]["animal"] = "train", None
    assert make(told, **options).source.facts[:2] == [{}, {"animal": "dog"}]  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"words": {"animal": {"cat": ["cat"]}}}, "`words` names facts, and there are none"),
        ({"facts": {"animal": "animal"}, "words": {"anmal": {}}}, "a fact 'anmal' that `facts` does not have"),
        ({"facts": {"animal": "animal"}, "words": {"animal": {"cat": []}}}, "expected words or phrases, got []"),
        ({"facts": {"animal": "animal"}, "words": {"animal": {"cat": [" "]}}}, "expected words or phrases, got [' ']"),
        (
            {"facts": {"animal": "animal"}, "words": {"animal": {"cat": ["Pet  one"], "dog": ["pet one"]}}},
            "'pet one' names 'cat' and 'dog' of 'animal'; remove it from one",
        ),
        ({"facts": {"animal": "anmial"}}, "no column 'anmial'"),
        ({"captions": "caption"}, "no column 'caption'"),
        ({"captions": ["captions", "other"]}, "no column 'other'"),
        ({"question": "ask"}, "no column 'ask'"),
        ({"questions": {"what is it?": "kind"}}, "no column 'kind'"),
        ({"captions": "captions", "questions": {"what is it?": "animal"}}, "`captions` and `question` have no place beside it"),
    ],
)
def test_arguments_that_do_not_fit(make: Make, told: Rows, arguments: dict[str, Any], message: str) -> None:
    fails(make(told, **arguments), message)


def test_a_question_is_the_prompt_and_may_be_read_too(make: Make, told: Rows) -> None:
    for i, row in enumerate(told):
        row["ask"], row["answer"] = f"is it number {i}?", i % 2 == 0
    data = make(told, captions="answer", question="ask", columns={"vision": "image", "text": "ask"}, mix_pairs=1.0)
    batch = batches(data)
    assert batch.prompts == ["is it number 4?", "is it number 5?"]
    assert batch.targets["references"] == [["true"], ["false"]]
    assert data.prompts == [f"is it number {i}?" for i in range(4)]
    assert batches(data, "predict").prompts == ["is it number 6?", "is it number 7?"]
    for epoch in range(4):  # pairs within a class are mixed, but a question stays with its answer
        dataset: Any = data.train_dataloader().dataset
        for index in range(4):
            sample = dataset[epoch, index]
            assert sample.inputs["text"] == length(sample.prompt)
    told[5]["ask"] = None
    assert batches(make(told, captions="answer", question="ask")).prompts == ["is it number 4?", ""]
    told[2]["ask"] = "  "
    fails(make(told, captions="answer", question="ask"), "row 3, field 'ask': expected a question or an instruction, got '  '")


def test_a_bound_question_is_not_exchanged_while_pictures_are(make: Make, told: Rows) -> None:
    for i, row in enumerate(told):
        row["ask"] = f"question {i}"
    options: dict[str, Any] = {"columns": {"left": "ask", "right": "text"}, "kinds": {"left": "text", "right": "text"}}
    data = make(told, captions="captions", question="ask", mix_pairs=1.0, **options)
    data.connect({"left": str, "right": str})
    dataset: Any = data.train_dataloader().dataset
    samples = [(row, dataset[epoch, row]) for epoch in range(12) for row in range(4)]
    assert all(sample.inputs["left"] == f"question {row}" == sample.prompt for row, sample in samples)
    assert any(sample.inputs["right"] != f"sentence {row}" for row, sample in samples)
    assert all(sample.targets["references"] == told[row]["captions"] for row, sample in samples)


QUESTIONS = {"which animal?": "animal", "what do you hear?": "noise", "describe it": "captions"}


def test_every_question_makes_a_row(make: Make, told: Rows) -> None:
    told[0]["noise"] = None  # a question that a row does not answer is not asked about it
    facts = {"animal": "animal", "noise": "noise"}
    words = {"noise": {"loud_purr": ["purr", "purring"], "bark": ["bark"]}}
    columns = {"vision": "image", "text": "question"}
    data = make(told, questions=QUESTIONS, facts=facts, words=words, columns=columns)
    data.setup("fit")
    assert data.source.ids[:5] == ["r0?0", "r0?2", "r1?0", "r1?1", "r1?2"]
    assert [data.source.raw("text", row) for row in range(2)] == ["which animal?", "describe it"]
    batch = batches(data)
    assert batch.prompts == [*QUESTIONS, *QUESTIONS]
    assert batch.targets["references"][:3] == [["cat"], ["purr", "purring"], told[4]["captions"]]
    assert batch.targets["facts"][:3] == [{"animal": "cat"}, {"noise": "loud_purr"}, {"animal": "cat", "noise": "loud_purr"}]
    assert data.prompts == sorted(QUESTIONS)
    assert len(data.sentences) == 3 + 4 + 5 + 4  # two captions, an animal, and a noise, which "loud_purr" has two words for


def test_a_row_that_answers_nothing_and_a_column_in_the_way(make: Make, told: Rows) -> None:
    told[2].update(animal=None, noise=None)
    two = {question: column for question, column in QUESTIONS.items() if column != "captions"}
    fails(make(told, questions=two), "row 3, field 'animal, noise': no caption; give one")
    data = make(told, questions=two, on_bad_sample="skip")
    data.setup("fit")
    assert len(data.skipped) == 1
    assert len(data.rows["train"]) == 6
    told[1]["id"] = "r0"
    fails(make(told, questions=QUESTIONS), "row 2, field 'id': id 'r0?0' already stands in row 1")
    told[0]["question"] = "why?"
    fails(make(told, questions=QUESTIONS), "a column 'question', which `questions` would overwrite", "question: question")


def test_a_bad_file_counts_once_whatever_is_asked_about_it(make: Make, files: Path, told: Rows) -> None:
    for i in (2, 3):
        (files / f"p{i}.png").unlink()
    fails(make(told, questions=QUESTIONS), "p2.png: row 3, field 'image'", "(1 more rows are bad;")
    data = make(told, questions=QUESTIONS, on_bad_sample="skip")
    data.setup("fit")
    assert [bad.row for bad in data.skipped] == [3, 4]


@pytest.mark.parametrize("seed", range(4))
def test_the_questions_about_a_row_stay_in_one_split(make: Make, told: Rows, seed: int) -> None:
    data = make(told, questions=QUESTIONS, split={"val": 0.25, "test": 0.25}, split_seed=seed)
    parts = [{data.source.ids[row].partition("?")[0] for row in rows} for rows in data.rows.values()]
    assert sum(map(len, parts)) == 8
    assert sum(map(len, data.rows.values())) == 24
    folded = make([{**row, "split": "train"} for row in told], questions=QUESTIONS, fold=1, folds=4, split_seed=seed)
    train, val = ({folded.source.ids[row].partition("?")[0] for row in folded.rows[split]} for split in ("train", "val"))
    assert not train & val


def test_all_questions_are_asked_of_rows_to_predict(make: Make, told: Rows) -> None:
    bare = [{"image": row["image"]} for row in told[:2]]
    data = make(bare, questions=dict.fromkeys(QUESTIONS, "image"), label=None, split=None, columns={"vision": "image"})
    data.setup("predict")
    assert data.source.ids == ["1?0", "1?1", "1?2", "2?0", "2?1", "2?2"]


def test_files_to_predict_on_may_ask(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    rows = [{"image": "p0.png", "question": "what is it?"}, {"image": "p1.png"}]
    for data, prompts in (
        (ManifestDataModule.for_files(rows), ["what is it?", ""]),
        (ManifestDataModule.for_files([{"image": "p0.png"}, {"image": "p1.png"}]), ()),
        (ManifestDataModule.for_files([{"image": "p0.png", "ask": "a"}, {"image": "p1.png"}], question="ask"), ["a", ""]),
    ):
        data.setup("predict")
        data.connect({"vision": torch.mean})
        assert next(iter(data.predict_dataloader())).prompts == prompts
    wrong = ManifestDataModule.for_files([{"image": "p0.png"}], question="ask")
    with pytest.raises(InputError, match="no column 'ask'"):
        wrong.setup("predict")


def test_rows_with_a_label_or_a_caption(make: Make, told: Rows) -> None:
    told[0]["label"], told[1]["captions"], told[5]["label"] = None, None, None
    fails(make(told, captions="captions"), "row 1, field 'label': no label")
    data = make(told, captions="captions", partial=True, mix_pairs=1.0)
    data.connect({"text": str})
    dataset: Any = data.train_dataloader().dataset
    for epoch in range(5):
        samples = [dataset[epoch, index] for index in range(4)]
        assert [sample.targets["label"] for sample in samples] == [-1, 1, 0, 1]
        assert [len(sample.targets["references"]) for sample in samples] == [2, 0, 2, 2]
        assert samples[0].inputs["text"] == "sentence 0"  # of no class: nobody to exchange it with
    assert data.class_weights is not None
    assert data.class_weights.tolist() == pytest.approx([4 / 3, 2 / 3])
    told[2].update(label=None, captions=None)
    fails(make(told, captions="captions", partial=True), "row 3, field 'captions': no caption")
    with pytest.raises(InputError, match="name both `label` and `captions`"):
        make(told, partial=True)


def test_values_of_partly_labelled_rows(make: Make, told: Rows) -> None:
    for i, row in enumerate(told):
        row["label"] = None if i in (1, 4) else float(i)
    data = make(told, captions="captions", partial=True, regression=True)
    labels = batches(data).targets["label"]
    assert labels.dtype == torch.float32
    assert labels.isnan().tolist() == [True, False]
    assert data.target_scale == (pytest.approx(5 / 3), pytest.approx(np.std([0, 2, 3])))


def names(sentence: str, values: dict[str, list[str]]) -> set[str]:
    """Reference: every value of which some phrase stands in the sentence as whole words."""
    return {v for v, phrases in values.items() if any(re.search(rf"\b{re.escape(p)}\b", sentence) for p in phrases)}


@pytest.mark.data
def test_the_real_captions_name_their_facts(real_data: Path, av_words: dict[str, dict[str, list[str]]]) -> None:
    path = str(real_data / "av-scenes" / "manifest.jsonl")
    options: dict[str, Any] = {"root": "..", "columns": {"vision": "image", "audio": "audio"}, "verify": False}
    data = ManifestDataModule(
        path, captions="captions", facts={"place": "place", "event": "event"}, words=av_words, shuffled=["audio"], **options
    )
    data.setup("fit")
    assert len(data.sentences) == 3600
    source = data.source
    assert source.references is not None
    assert source.facts is not None
    for own, facts in zip(source.references, source.facts, strict=True):
        for sentence in own:
            assert {fact: names(sentence, av_words[fact]) for fact in av_words} == {
                fact: {value} for fact, value in facts.items()
            }
    exchanged = data._exchanged(data.rows["val"])["audio"]  # 60 sounds in 180 rows: another row has another sound
    assert sorted(exchanged) == sorted(exchanged.values()) == data.rows["val"].tolist()
    assert all(source.key("audio", row) != source.key("audio", other) for row, other in exchanged.items())


@pytest.mark.data
def test_real_statements_and_captions(real_data: Path) -> None:
    data = ManifestDataModule(
        str(real_data / "nlvr" / "examples.jsonl"), columns={"vision": "file", "text": "sentence"}, captions="label",
        question="sentence", facts={"answer": "label"}, group="identifier", group_pattern=r"(\d+)-", id="file",
    )  # fmt: skip
    data.setup("fit")
    assert {split: len(rows) for split, rows in data.rows.items()} == {"train": 826, "val": 163}
    assert sorted(set(data.sentences)) == ["false", "true"]
    assert data.sentences.count("true") == 459
    assert data.words == {"answer": {"false": ["false"], "true": ["true"]}}
    assert data.source.bound == {"text"}
    assert data.source.prompts is not None
    assert all(data.source.raw("text", row).strip() == data.source.prompts[row] for row in range(0, 989, 50))
    photos = ManifestDataModule(
        str(real_data / "captions-coco" / "captions.jsonl"), columns={"vision": "file"}, captions="captions", label=None
    )
    photos.setup("fit")
    assert len(photos.sentences) == 250
    assert photos.source.raw("vision", 0).shape[0] == 3
