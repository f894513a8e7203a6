"""Reports: what an evaluation's folder says of a decoder's predictions, a class for each kind of decoder.

`report_for(decoder, data)` finds the one for a decoder. Another kind joins in without a change here:

    @report_for.register
    def _(decoder: MyDecoder, data: Any = None) -> Report:
        return MyReport(decoder)
"""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from qmm.contracts import Decoder
from qmm.decoders import ClassDecoder, ValueDecoder
from qmm.training import plots
from qmm.types import Batch


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


def _at_rest(scores: Tensor) -> Tensor:
    return scores.detach().float().cpu()


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, Tensor) else list(values)
