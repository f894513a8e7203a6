"""RetrievalReport: what a run's folder says of embeddings: how far down each sample finds its other side."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
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
        found = {direction(*way): self._ranked(table, *way) for way in self._ways()}
        query, candidates = self._pairs[0]
        first = found[direction(query, candidates)]
        named = first["best"] >= 0
        columns: dict[str, Any] = {
            "prediction": np.where(named, table["target"].to_numpy(dtype=object)[first["best"]], None),
            "error": 1 - first["precision"],
            "right": first["rank"] == 1,
        }
        way = f"{' + '.join(query.split('+'))} → {' + '.join(candidates.split('+'))}"
        columns["summary"] = [
            f"{way}: right one at place {rank:.0f} of {named.sum()}, first {name}"
            if name is not None
            else f"{way}: one is missing"
            for rank, name in zip(first["rank"], columns["prediction"], strict=True)
        ]
        ids = table["id"].to_numpy(dtype=object)
        for direct, own in found.items():
            columns |= {f"{name}_{direct}": own[name] for name in ("rank", "relevant")}
            columns[f"best_{direct}"] = np.where(own["best"] >= 0, ids[own["best"]], None)
        kept = table.drop(columns=[name for name in table.columns if name.startswith("key_")])
        return pd.concat([kept, pd.DataFrame(columns, index=table.index)], axis=1)

    def _ways(self) -> list[tuple[str, str]]:
        """Both directions of every pair."""
        return [way for a, b in self._pairs for way in ((a, b), (b, a))]

    def _ranked(self, table: pd.DataFrame, query: str, candidates: str) -> dict[str, np.ndarray]:
        """rank, precision, relevant and best (a place in the table, -1 for none) of one direction, by row."""
        both = (table[f"embedding_{query}"].notna() & table[f"embedding_{candidates}"].notna()).to_numpy()
        columns = {name: np.full(len(table), np.nan) for name in ("rank", "precision", "relevant")}
        best = np.full(len(table), -1, dtype=np.int64)
        if both.any():
            a, b = (torch.tensor(table.loc[both, f"embedding_{s}"].tolist()) for s in (query, candidates))
            keys = [torch.tensor(table.loc[both, f"key_{s}"].to_numpy(copy=True)) for s in (query, candidates)]
            ranks = rank(a, b, keys)
            for name, values in zip(columns, (ranks.first, ranks.precision, ranks.relevant), strict=True):
                columns[name][both] = values.numpy()
            best[both] = np.flatnonzero(both)[ranks.best.numpy()]
        return {**columns, "best": best}

    def pictures(self, table: pd.DataFrame) -> Mapping[str, Figure]:
        return {"recall": recall_curves(table, [direction(*way) for way in self._ways()])}


def recall_curves(table: pd.DataFrame, directions: list[str]) -> Figure:
    """The share of samples whose first right candidate stands among the first k, over k; chance is dotted."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=list(colormaps["tab20"].colors))  # type: ignore[attr-defined]
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
