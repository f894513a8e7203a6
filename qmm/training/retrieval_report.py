"""RetrievalReport: what a run's folder says of embeddings: how far down each sample finds its other side."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from qmm.decoders.embeddings import EmbeddingDecoder, Views
from qmm.retrieval import chance, direction, rank
from qmm.training.reports import Report, report_for
from qmm.types import Batch


class RetrievalReport(Report):
    """For each direction, where the first right candidate stands (`rank_vision_audio_to_text`), how many are right and what
    stood first; the embeddings of each side; recall over k, beside chance.

    target, prediction, right, error (1 - average precision) and summary are of the first direction. Where classes are known,
    target and prediction are classes, else ids. Missing where a sample lacks one of the sides.
    """

    def __init__(self, decoder: EmbeddingDecoder, classes: list[str] | None = None):
        super().__init__(decoder)
        self.classes = classes
        self._pairs: tuple[tuple[str, str], ...] = ()

    def rows(self, batch: Batch, scores: Views) -> pd.DataFrame:
        self._pairs = scores.pairs
        labels = batch.targets.get(self.decoder.target)
        names = list(batch.ids)
        if self.classes is not None and isinstance(labels, Tensor):
            names = [self.classes[i] if i >= 0 else "" for i in labels.tolist()]
        columns: dict[str, Any] = {"id": batch.ids, "target": names}
        for name, view in scores.sides.items():
            here = view.present.tolist()
            rows = zip(view.embeddings.float().tolist(), here, strict=True)
            columns[f"embedding_{name}"] = [row if there else None for row, there in rows]
            columns[f"key_{name}"] = view.keys.tolist()
        return pd.DataFrame(columns)

    def finish(self, table: pd.DataFrame) -> pd.DataFrame:
        made: dict[str, Any] = {}
        for pair in self._pairs:
            for query, candidates in (pair, pair[::-1]):
                made.update(self._ranked(table, query, candidates))
        first = direction(*self._pairs[0])
        ids, names = table["id"].to_numpy(), table["target"].to_numpy()
        best = made[f"best_{first}"]
        found = [names[int(i)] if i >= 0 else None for i in best]
        ranks, n = made[f"rank_{first}"], int((best >= 0).sum())
        way = " + ".join(self._pairs[0][0].split("+")) + " -> " + self._pairs[0][1]
        made |= {
            f"best_{d}": [ids[int(i)] if i >= 0 else None for i in made[f"best_{d}"]]
            for d in (name.removeprefix("best_") for name in list(made) if name.startswith("best_"))
        }
        summary = [
            f"{way}: right one at place {rank:.0f} of {n}, first {name}" if name is not None else f"{way}: a side is missing"
            for rank, name in zip(ranks, found, strict=True)
        ]
        finished = table.drop(columns=[c for c in table if str(c).startswith("key_")]).assign(
            prediction=found, error=1 - made.pop(f"precision_{first}"), right=ranks == 1, summary=summary
        )
        made = {name: values for name, values in made.items() if not name.startswith("precision_")}
        return pd.concat([finished, pd.DataFrame(made, index=table.index)], axis=1)

    def _ranked(self, table: pd.DataFrame, query: str, candidates: str) -> dict[str, np.ndarray]:
        """Columns of one direction; `best` as a place in the table, -1 for none."""
        both = (table[f"embedding_{query}"].notna() & table[f"embedding_{candidates}"].notna()).to_numpy()
        columns = {name: np.full(len(table), np.nan) for name in ("rank", "precision", "relevant")}
        best = np.full(len(table), -1)
        if both.any():
            a, b = (torch.tensor(table.loc[both, f"embedding_{s}"].tolist()) for s in (query, candidates))
            keys = [torch.tensor(table.loc[both, f"key_{s}"].to_numpy(copy=True)) for s in (query, candidates)]
            ranks = rank(a, b, keys)
            for name, values in zip(columns, (ranks.first, ranks.precision, ranks.relevant), strict=True):
                columns[name][both] = values.numpy()
            best[both] = np.flatnonzero(both)[ranks.best.numpy()]
        way = direction(query, candidates)
        return {**{f"{name}_{way}": values for name, values in columns.items()}, f"best_{way}": best}

    def pictures(self, table: pd.DataFrame) -> Mapping[str, Figure]:
        return {"recall": recall_curves(table, [direction(*way) for pair in self._pairs for way in (pair, pair[::-1])])}


def recall_curves(table: pd.DataFrame, directions: list[str]) -> Figure:
    """The share of samples whose first right candidate stands among the first k, over k; chance is dotted."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for way in directions:
        ranks = table[f"rank_{way}"].dropna().to_numpy()
        if not len(ranks):
            continue
        k = np.arange(1, len(ranks) + 1)
        line = axes.plot(k, (ranks[:, None] <= k).mean(0), label=way.replace("_to_", " → ").replace("_", " + "))[0]
        relevant = torch.tensor(table[f"relevant_{way}"].dropna().to_numpy()).long()
        axes.plot(k, chance(relevant, len(ranks)).recall.numpy(), color=line.get_color(), linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="k", ylabel="recall@k", ylim=(0, 1.02), title=f"{len(table)} samples; dotted: chance")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=7)
    return figure


@report_for.register
def _(decoder: EmbeddingDecoder, data: Any = None) -> Report:
    return RetrievalReport(decoder, getattr(data, "classes", None))
