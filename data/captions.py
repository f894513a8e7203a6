"""Sentences of a manifest: captions, the facts that they should name, questions and their answers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from qmm.errors import InputError

from .source import near

Facts = list[dict[str, str]]
"""By row, fact -> value."""
Words = dict[str, dict[str, list[str]]]
"""Fact -> value -> the words and phrases that name it."""
Reject = Callable[[int, str, str], None]
"""Row, field, reason -> take the row out, or raise."""

ASKED = "question"
"""The column that the questions of `questions` stand in, for `columns` to name."""


class SentenceColumns(NamedTuple):
    """Where a manifest's sentences stand; `ManifestDataModule` explains the fields."""

    captions: tuple[str, ...] = ()
    facts: Mapping[str, str] = {}
    words: Mapping[str, Mapping[str, Any]] | None = None
    question: str | None = None
    questions: Mapping[str, str] = {}

    def check(self) -> None:
        """Raises InputError for a combination that says nothing."""
        if self.questions and (self.captions or self.question):
            raise InputError(
                "`questions` makes samples of its own, so `captions` and `question` have no place beside it; "
                "ask for captions, too: questions: {describe the scene: captions}"
            )
        if self.words is not None and not self.facts:
            raise InputError("`words` names facts, and there are none; say which columns hold them: facts: {place: place}")
        for fact in self.words or {}:
            if fact not in self.facts:
                raise InputError(f"`words` names a fact {fact!r} that `facts` does not have; {near(fact, self.facts)}")

    @property
    def sentences(self) -> bool:
        """Whether there are any references to learn from."""
        return bool(self.captions or self.questions)

    @property
    def prompt(self) -> str | None:
        """The column that holds the prompts once rows are expanded."""
        return ASKED if self.questions else self.question

    def names(self) -> list[str]:
        """All columns that must be there."""
        return [*self.captions, *self.facts.values(), *self.questions.values(), *filter(None, [self.question])]


class Expanded(NamedTuple):
    """Rows, each with one question."""

    rows: list[dict[str, Any]]
    numbers: list[int]
    origins: list[int]
    """By row, the one that it was made of."""
    suffixes: list[str]
    """By row, what sets its name apart: "?" and the question's number from 0; "" without questions."""
    fields: list[tuple[str, ...]]
    """By row, the columns of its references."""


def expand(
    rows: list[dict[str, Any]], numbers: list[int], columns: SentenceColumns, unanswered: Callable[[dict[str, Any]], bool]
) -> Expanded:
    """Every row once for each question that it answers, and for every question where answers are not needed."""
    count = len(rows)
    if not columns.questions:
        return Expanded(rows, numbers, list(range(count)), [""] * count, [columns.captions] * count)
    if any(ASKED in row for row in rows):
        raise InputError(
            f"the manifest has a column {ASKED!r}, which `questions` would overwrite; "
            f"rename it, or take the prompts from it: question: {ASKED}"
        )
    made = Expanded([], [], [], [], [])
    for origin, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        asked: list[tuple[str, str, tuple[str, ...]]] = [
            (f"?{place}", question, (column,))
            for place, (question, column) in enumerate(columns.questions.items())
            if unanswered(row) or row.get(column) is not None
        ]
        for suffix, question, fields in asked or [("?0", next(iter(columns.questions)), tuple(columns.questions.values()))]:
            made.rows.append({**row, ASKED: question})
            made.numbers.append(number)
            made.origins.append(origin)
            made.suffixes.append(suffix)
            made.fields.append(fields)
    return made


def as_text(value: Any) -> str:
    """A sentence as it is; true, false and numbers spelt out, since they are answers. Raises ValueError with a reason."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"expected a sentence, got {value!r} ({type(value).__name__})")
    if not value.strip():
        raise ValueError("an empty caption; write the sentence, or remove it")
    return value.strip()


def as_texts(value: Any) -> list[str]:
    """The sentences of a field: null has none, a list several. Raises ValueError with a reason."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        return [as_text(value)]
    if not value:
        raise ValueError("an empty list of captions; give at least one, or null")
    return [as_text(item) for item in value]


def read_references(
    rows: Sequence[Mapping[str, Any]], made: Expanded, needed: Callable[[int], bool], reject: Reject
) -> list[list[str]]:
    """The references (N lists) of all rows; those that need one and have none are rejected."""
    references: list[list[str]] = []
    for row, (content, fields) in enumerate(zip(rows, made.fields, strict=True)):
        own: list[str] = []
        for field in fields:
            try:
                own += as_texts(content.get(field))
            except ValueError as error:
                reject(row, field, str(error))
        references.append(own)
        if not own and needed(row):
            reject(row, ", ".join(fields), "no caption; give one, or move the row to the split 'predict'")
    return references


def read_facts(rows: Sequence[Mapping[str, Any]], columns: SentenceColumns, reject: Reject) -> tuple[Facts, Words]:
    """The facts of all rows, a fact left out where its field is null, and the words of all facts."""
    given = {fact: check_words(fact, values) for fact, values in (columns.words or {}).items()}
    facts: Facts = []
    for row, content in enumerate(rows):
        facts.append({})
        for fact, column in columns.facts.items():
            if content.get(column) is None:
                continue
            try:
                value = as_text(content[column])
            except ValueError as error:
                reject(row, column, str(error).replace("caption; write the sentence", f"{fact}; name it"))
                continue
            if fact in given and value not in given[fact]:
                there = near(value, given[fact])
                reject(row, column, f"`words` has none for the {fact} {value!r}; {there}; add it: {value}: [its words]")
                continue
            facts[row][fact] = value
    found: Words = {}
    for fact in columns.facts:
        values = sorted({own[fact] for own in facts if fact in own})
        found[fact] = given.get(fact) or check_words(fact, {value: value.replace("_", " ") for value in values})
    return facts, found


def answer_with_words(
    made: Expanded, columns: SentenceColumns, references: list[list[str]], facts: Facts, words: Words
) -> None:
    """Where a question's answers are the column of a fact, the fact's words are the answers, and no other fact is asked for."""
    for row, fields in enumerate(made.fields):
        asked = [fact for fact, column in columns.facts.items() if fields == (column,)]
        if asked:
            facts[row] = {fact: facts[row][fact] for fact in asked if fact in facts[row]}
            answers = [phrase for fact, value in facts[row].items() for phrase in words[fact][value]]
            references[row] = list(dict.fromkeys(answers)) if references[row] else []


def check_words(fact: str, values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Value -> phrases. Raises InputError unless every value has some, and no phrase names two values."""
    words: dict[str, list[str]] = {}
    owners: dict[str, str] = {}
    for value, given in values.items():
        phrases = [given] if isinstance(given, str) else list(given or ())
        if not phrases or not all(isinstance(phrase, str) and phrase.strip() for phrase in phrases):
            raise InputError(f"`words` of the {fact} {value!r}: expected words or phrases, got {given!r}; give at least one")
        for phrase in phrases:
            plain = " ".join(phrase.lower().split())
            if owners.setdefault(plain, value) != value:
                raise InputError(f"{phrase!r} names {owners[plain]!r} and {value!r} of {fact!r}; remove it from one")
        words[as_text(value)] = phrases
    return words


def read_prompts(rows: Sequence[Mapping[str, Any]], column: str, reject: Reject) -> list[str]:
    """What each row asks, "" where the field is null."""
    prompts = []
    for row, content in enumerate(rows):
        value = content.get(column)
        prompts.append("" if value is None else str(value).strip())
        if value is not None and not (isinstance(value, str) and value.strip()):
            reject(row, column, f"expected a question or an instruction, got {value!r}; write null where there is none")
    return prompts
