"""Retrieval: what is nearest to what, how far down the right one stands, and where chance would put it."""

import hashlib
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from qmm.decoders.embeddings import Views
from qmm.errors import InputError
from qmm.types import Batch, Features

KS = (1, 5, 10)
"""The k of recall@k."""
_CHUNK = 512  # queries at a time: similarities with 100,000 candidates stay below 1 GB, sorted ones included
_DECIMALS = 6  # of similarities: what the same content differs by in another batch is less


class Found(NamedTuple):
    indices: Tensor
    """(Q, k) int64, of the candidates, the nearest first."""
    similarities: Tensor
    """(Q, k) cosines."""


class Ranks(NamedTuple):
    """Of Q queries that each have a right candidate at least."""

    first: Tensor
    """(Q,) int64, from 1: where the first right candidate stands."""
    precision: Tensor
    """(Q,) average precision: the mean, over right candidates, of the share of right ones down to there."""
    relevant: Tensor
    """(Q,) int64: how many candidates are right."""
    best: Tensor
    """(Q,) int64: the candidate that stands first."""


class Chance(NamedTuple):
    """What to expect of candidates in random order."""

    recall: Tensor
    """(N,): that a right one is among the first 1, 2, ... N."""
    median_rank: float
    precision: float
    """The mean of average precision."""


def retrieve(queries: Any, candidates: Any, k: int = 10) -> Found:
    """The k candidates nearest to each query, of embeddings (Q, E) and (N, E), as tensors, arrays or lists.

    >>> retrieve([[1.0, 0.0]], [[0.0, 2.0], [3.0, 0.0], [1.0, 1.0]], k=2).indices
    tensor([[1, 2]])
    """
    a, b = (torch.as_tensor(part, dtype=torch.float32) for part in (queries, candidates))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(b) or k < 1:
        raise InputError(
            f"retrieve got queries {tuple(a.shape)}, candidates {tuple(b.shape)} and k={k}; expected embeddings (Q, E) and "
            "(N, E) of one model, N and k at least 1"
        )
    a, b, k = F.normalize(a, dim=-1), F.normalize(b, dim=-1), min(k, len(b))
    parts = [(part @ b.T).topk(k) for part in a.split(_CHUNK)]
    if not parts:
        return Found(torch.empty(0, k, dtype=torch.int64), torch.empty(0, k))
    return Found(torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts]))


def rank(queries: Tensor, candidates: Tensor, keys: Sequence[Tensor]) -> Ranks:
    """Query i (N, E) among candidates (N, E) of the same N samples; j is right for i where one of `keys` (N,) is the same.

    Equally near candidates (one sound in several samples, say) stand in random order, the same in every call: embeddings that
    are all alike score what chance does.
    """
    parts, dice = [], torch.Generator().manual_seed(0)
    for rows in torch.arange(len(queries), device=queries.device).split(_CHUNK):
        right = torch.stack([own[rows].unsqueeze(1) == own for own in keys]).any(0)
        similarities = (queries[rows] @ candidates.T).round(decimals=_DECIMALS)
        shuffled = torch.rand(similarities.shape, generator=dice).to(queries.device).argsort(dim=1)
        order = shuffled.gather(1, similarities.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))
        hits = right.gather(1, order)
        places = torch.arange(1, hits.shape[1] + 1, device=hits.device)
        relevant = hits.sum(1)
        precision = (hits * hits.cumsum(1) / places).sum(1) / relevant
        parts.append((hits.to(torch.uint8).argmax(1) + 1, precision, relevant, order[:, 0]))
    return Ranks(*(torch.cat(part) for part in zip(*parts, strict=True)))


def chance(relevant: Tensor, n: int) -> Chance:
    """For queries with (Q,) right ones among n candidates.

    >>> result = chance(torch.tensor([1, 1]), 4)
    >>> result.recall.tolist(), result.median_rank, round(result.precision, 4)
    ([0.25, 0.5, 0.75, 1.0], 2.0, 0.5208)
    """
    kinds, how_many = relevant.cpu().unique(return_counts=True)
    weights = how_many.double() / how_many.sum()
    places = torch.arange(1, n + 1, dtype=torch.float64)
    r = kinds.double().unsqueeze(1)
    missed = ((n - r - places + 1).clamp(min=0) / (n - places + 1)).cumprod(1)  # (kinds, n): no right one down to there
    recall = 1 - weights @ missed
    harmonic = (1 / places).sum()
    precision = (harmonic + (n - harmonic) * (kinds.double() - 1) / max(1, n - 1)) / n
    median = 1 + int((recall < 0.5 - 1e-9).sum())
    return Chance(recall.float(), float(median), float(weights @ precision))


def content_keys(batch: Batch, modalities: Sequence[str]) -> Tensor:
    """(B,) int64: the same for samples whose content of all these modalities, as the model gets it, is the same."""
    columns = [_contents(batch, modality) for modality in modalities]
    return torch.tensor([_hashed(b"|".join(parts)) for parts in zip(*columns, strict=True)])


def _contents(batch: Batch, modality: str) -> list[bytes]:
    inputs, here = batch.inputs.get(modality), batch.presence([modality])[modality].tolist()
    if inputs is None:
        return [b""] * len(here)
    values = (inputs.pooled if isinstance(inputs, Features) else inputs.values).detach().cpu()
    lengths = [values.shape[1] if values.ndim > 1 else 1] * len(values)
    if not isinstance(inputs, Features) and inputs.lengths is not None:
        lengths = inputs.lengths.tolist()
    rows = zip(values.unbind(), lengths, here, strict=True)
    return [row[:n].contiguous().numpy().tobytes() if there else b"" for row, n, there in rows]


def _hashed(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def direction(query: str, candidates: str) -> str:
    """A name for metrics: `vision_audio_to_text`."""
    return f"{query}_to_{candidates}".replace("+", "_")


class RetrievalMetrics(Metric):
    """recall@1, 5 and 10, median rank and mean average precision over a whole split, and what chance would give.

    Each number is the mean over all directions (both of every pair). With `detailed` chance stands beside it, and then each
    direction's own numbers, such as `recall_1_vision_audio_to_text`, where of chance only recall@1 is repeated. Only samples
    that have both sides are queries or candidates. NaN where no sample has.
    """

    full_state_update = False
    higher_is_better = True

    def __init__(self, pairs: Sequence[tuple[str, str]], detailed: bool = True):
        super().__init__()
        self.pairs, self.detailed = tuple(pairs), detailed
        self.names = tuple(dict.fromkeys(chain.from_iterable(self.pairs)))
        self.add_state("ids", [], dist_reduce_fx="cat")
        for i in range(len(self.names)):
            for state in ("embeddings", "present", "keys"):
                self.add_state(f"{state}_{i}", [], dist_reduce_fx="cat")

    def update(self, views: Views, ids: Sequence[str]) -> None:
        device = next(iter(views.sides.values())).keys.device
        self.ids.append(torch.tensor([_hashed(name.encode()) for name in ids], device=device))  # type: ignore[operator, union-attr]
        for i, name in enumerate(self.names):
            for state, value in zip(("embeddings", "present", "keys"), views.sides[name], strict=True):
                getattr(self, f"{state}_{i}").append(value.detach())

    def compute(self) -> dict[str, Tensor]:
        results = {
            direction(query, candidates): self._scores(query, candidates)
            for a, b in self.pairs
            for query, candidates in ((a, b), (b, a))
        }
        first = next(iter(results.values()))
        means = {name: torch.stack([scores[name] for scores in results.values()]).nanmean() for name in first}
        if not self.detailed:
            return {name: mean for name, mean in means.items() if not name.startswith("chance")}
        own = {f"{name}_{way}": value for way, scores in results.items() for name, value in scores.items() if _shown(name)}
        return {**means, **own}

    def _scores(self, query: str, candidates: str) -> dict[str, Tensor]:
        rows = self._rows()
        a, b = (self._view(name, rows) for name in (query, candidates))
        both = a[1] & b[1]
        n = int(both.sum())
        if not n:
            names = [*(f"recall_{k}" for k in KS), "median_rank", "map"]
            return {f"{prefix}{name}": torch.tensor(torch.nan) for name in names for prefix in ("", "chance_")}
        ranks = rank(a[0][both], b[0][both], [a[2][both], b[2][both]])
        expected = chance(ranks.relevant, n)
        scores = {f"recall_{k}": (float((ranks.first <= k).float().mean()), float(expected.recall[min(k, n) - 1])) for k in KS}
        scores["median_rank"] = (float(ranks.first.float().quantile(0.5)), expected.median_rank)
        scores["map"] = (float(ranks.precision.mean()), expected.precision)
        named = {f"{prefix}{name}": v for name, both in scores.items() for prefix, v in zip(("", "chance_"), both, strict=True)}
        return {name: torch.tensor(value) for name, value in named.items()}

    def _rows(self) -> Tensor:
        """Each sample once: distributed samplers repeat some to make even shares."""
        ids = _joined(self.ids)
        seen: dict[int, int] = {}
        for row, name in enumerate(ids.tolist()):
            seen.setdefault(name, row)
        return torch.tensor(list(seen.values()), device=ids.device)

    def _view(self, name: str, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i = self.names.index(name)
        embeddings, present, keys = (
            _joined(getattr(self, f"{state}_{i}"))[rows] for state in ("embeddings", "present", "keys")
        )
        return embeddings.float(), present, keys


def _shown(name: str) -> bool:
    return not name.startswith("chance") or name == "chance_recall_1"


def _joined(state: Any) -> Tensor:
    """A list of tensors, or, once processes have met, one."""
    return state if isinstance(state, Tensor) else torch.cat(list(state))
