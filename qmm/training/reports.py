"""Reports: what an evaluation's folder says of a decoder's predictions, a class for each kind of decoder.

`report_for(decoder, data)` finds the one for a decoder. Another kind joins in without a change here:

    @report_for.register
    def _(decoder: MyDecoder, data: Any = None) -> Report:
        return MyReport(decoder)
"""

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from qmm.contracts import Decoder
from qmm.decoders.classes import ClassDecoder
from qmm.decoders.sentences import SentenceDecoder
from qmm.decoders.values import ValueDecoder
from qmm.metrics import asked_for, default_words, exact_match, named, names_rightly, token_f1
from qmm.metrics.grounding import Facts, Words
from qmm.training import plots
from qmm.types import Batch

SHOWN = 5
"""Samples in the terminal."""


class Report:
    """A table with a row for each sample, and pictures of it. This one serves decoders of which nothing is known.

    Every table has the columns id, target, prediction, error (what examples are chosen by: 0 is best), right, and summary (a
    line for people); more of them as the kind needs.
    """

    def __init__(self, decoder: Decoder):
        self.decoder = decoder

    def rows(self, batch: Batch, scores: Any) -> pd.DataFrame:
        """The rows of a batch; `scores` are what `decoder.score` made of it."""
        target, prediction = _listed(batch.targets[self.decoder.target]), _listed(scores)
        right = [t == p for t, p in zip(target, prediction, strict=True)]
        summary = [f"{t}, predicted {p}" for t, p in zip(target, prediction, strict=True)]
        error = [float(not r) for r in right]
        return pd.DataFrame(
            {"id": batch.ids, "target": target, "prediction": prediction, "error": error, "right": right, "summary": summary}
        )

    def finish(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table as it is written, from the rows of all batches and processes: for what needs all samples."""
        return table

    def pictures(self, table: pd.DataFrame) -> Mapping[str, Figure]:
        """File name without suffix -> picture."""
        return {}

    def lines(self, table: pd.DataFrame) -> list[str]:
        """A few samples for the terminal, where words say more than numbers."""
        return []


class ClassReport(Report):
    """Also target_index, prediction_index, probabilities; a confusion matrix."""

    decoder: ClassDecoder

    def rows(self, batch: Batch, scores: Tensor) -> pd.DataFrame:
        classes, targets, scores = self.decoder.classes, batch.targets[self.decoder.target].cpu(), _at_rest(scores)
        best = scores.argmax(-1)
        true, predicted = [classes[i] for i in targets.tolist()], [classes[i] for i in best.tolist()]
        sure = scores.gather(1, targets.unsqueeze(1)).squeeze(1)
        verdicts = zip(true, predicted, scores.max(-1).values.tolist(), strict=True)
        summary = [f"{t}, predicted {p} ({s:.0%})" for t, p, s in verdicts]
        return pd.DataFrame(
            {"id": batch.ids, "target": true, "prediction": predicted, "target_index": targets, "prediction_index": best,
             "probabilities": scores.tolist(), "error": 1 - sure, "right": best == targets, "summary": summary}
        )  # fmt: skip

    def pictures(self, table: pd.DataFrame) -> Mapping[str, Figure]:
        numbers = (table["target_index"].tolist(), table["prediction_index"].tolist())
        return {"confusion_matrix": plots.confusion_matrix(*numbers, self.decoder.classes)}


class ValueReport(Report):
    """Values in the targets' unit; right is within one standard deviation of the training targets. A scatter."""

    decoder: ValueDecoder

    def rows(self, batch: Batch, scores: Tensor) -> pd.DataFrame:
        targets, scores = batch.targets[self.decoder.target].cpu(), _at_rest(scores)
        error = (scores - targets).abs()
        right = error <= self.decoder.scale.item()
        summary = [f"true {t:.3g}, predicted {s:.3g}" for t, s in zip(targets.tolist(), scores.tolist(), strict=True)]
        return pd.DataFrame(
            {"id": batch.ids, "target": targets, "prediction": scores, "error": error, "right": right, "summary": summary}
        )

    def pictures(self, table: pd.DataFrame) -> Mapping[str, Figure]:
        return {"scatter": plots.regression_scatter(table["target"].tolist(), table["prediction"].tolist())}


class SentenceReport(Report):
    """Sentences beside their references; of every fact what is true and what the sentence names.

    Also prompt, references, exact, and of each fact `true_<fact>` and `named_<fact>`, a list. Right is what names all
    facts of its sample and no other value of them (of an answer, those that a reference names), else one of the references.
    `error` is 1 - token F1. A matrix of true and named values for each fact.

    `words`: fact -> value -> phrases; None for the values' own names.
    """

    def __init__(self, decoder: Decoder, words: Words | None = None):
        super().__init__(decoder)
        self.words = words

    def rows(self, batch: Batch, scores: Sequence[str]) -> pd.DataFrame:
        references = [list(row) for row in batch.targets[self.decoder.target]]
        facts = [
            {f: v for f, v in row.items() if v not in (None, "")} for row in batch.targets.get("facts", [{}] * len(references))
        ]
        return pd.DataFrame(
            {"id": batch.ids, "prompt": batch.prompts or [""] * len(references), "target": [row[0] for row in references],
             "prediction": list(scores), "references": references, "facts": facts}
        )  # fmt: skip

    def finish(self, table: pd.DataFrame) -> pd.DataFrame:
        facts: list[dict[str, str]] = table["facts"].tolist()
        words = default_words(facts) if self.words is None else self.words
        said, references = table["prediction"].tolist(), table["references"].tolist()
        exact = [bool(exact_match(s, row)) for s, row in zip(said, references, strict=True)]
        columns: dict[str, Any] = {"exact": exact}
        for fact in dict.fromkeys(fact for row in facts for fact in row):
            columns[f"true_{fact}"] = [row.get(fact) for row in facts]
            columns[f"named_{fact}"] = [named(s, words[fact]) for s in said]
        columns["error"] = [1 - token_f1(s, row) for s, row in zip(said, references, strict=True)]
        samples = zip(said, references, facts, table["prompt"], exact, strict=True)
        columns["right"] = [_is_right(s, row, own, words, bool(prompt), e) for s, row, own, prompt, e in samples]
        lines = zip(table["prompt"], table["target"], said, strict=True)
        columns["summary"] = [f"{f'{prompt} ' if prompt else ''}{target}\n→ {s}" for prompt, target, s in lines]
        return table.drop(columns="facts").assign(**columns)

    def pictures(self, table: pd.DataFrame) -> Mapping[str, Figure]:
        found = {}
        for fact in [name.removeprefix("true_") for name in table.columns if name.startswith("true_")]:
            own = table[table[f"true_{fact}"].notna()]
            found[f"named_{fact}"] = plots.named_matrix(fact, own[f"true_{fact}"].tolist(), own[f"named_{fact}"].tolist())
        return found

    def lines(self, table: pd.DataFrame) -> list[str]:
        """Spread evenly over the table, whatever the model said."""
        count = min(SHOWN, len(table))
        shown = [table.iloc[i * len(table) // count] for i in range(count)]
        asked = [f"\n  asked: {row['prompt']}" if row["prompt"] else "" for row in shown]
        verdicts = ["right" if row["right"] else "wrong" for row in shown]
        return [
            f"{row['id']} ({verdict}){question}\n  true:  {row['target']}\n  model: {row['prediction']}"
            for row, question, verdict in zip(shown, asked, verdicts, strict=True)
        ]


def _is_right(said: str, references: Sequence[str], facts: Facts, words: Words, answers: bool, exact: bool) -> bool:
    wanted = facts
    if answers:  # asked what it hears, it need not say what it sees
        wanted = asked_for(references, facts, words)
    return all(names_rightly(said, wanted, words).values()) if wanted else exact


@singledispatch
def report_for(decoder: Decoder, data: Any = None) -> Report:
    """The report of a decoder's kind; `data`, the data module, may know what a report needs, such as the words of facts."""
    return Report(decoder)


@report_for.register
def _(decoder: ClassDecoder, data: Any = None) -> Report:
    return ClassReport(decoder)


@report_for.register
def _(decoder: ValueDecoder, data: Any = None) -> Report:
    return ValueReport(decoder)


@report_for.register
def _(decoder: SentenceDecoder, data: Any = None) -> Report:
    return SentenceReport(decoder, getattr(data, "words", None))


def _at_rest(scores: Tensor) -> Tensor:
    return scores.detach().float().cpu()


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, Tensor) else list(values)
