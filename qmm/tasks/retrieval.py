"""MultimodalRetrieval: any of the modalities finds any others of the same sample, in one joint space."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from qmm.decoders.embeddings import EmbeddingDecoder, View, Views
from qmm.errors import InputError
from qmm.model import MultimodalModel
from qmm.overlap import encode_and_fuse
from qmm.retrieval import RetrievalMetrics, content_keys
from qmm.suggestions import did_you_mean
from qmm.tasks.base import MultimodalTask
from qmm.types import Batch, ModelOutput

Pairs = list[list[list[str]]]


class MultimodalRetrieval(MultimodalTask):
    """Contrastive training in the manner of CLIP (arXiv:2103.00020) of a model that ends in an `EmbeddingDecoder`.

    Both sides of a pair go through the same model, each as a sample that lacks all other modalities: [vision, audio] against
    [text] compares the fusion of picture and sound with the sentence alone. Each modality is encoded once a batch. A side is
    there where a sample has one of its modalities at least. In training, the candidates are the batch of the process.

    Called with a batch, it gives `Views`; `embed` and predictions are of all that a sample has.

    Args:
        model: The model to train.
        pairs: Which sides are to find each other, such as [[[vision, audio], [text]]]; default: each modality and all others.
        singles: Every modality and every other one as well.
        relevant: What is right beside the sample's own other side: with "sample" that of samples with the same content on
            one of the two sides, with "label" that of all samples of its class; one without a class is like itself alone.
            None of these count as negatives (arXiv:2004.11362).
        optimisation: Passed on to `MultimodalTask`.
    """

    def __init__(
        self,
        model: MultimodalModel,
        pairs: Pairs | None = None,
        singles: bool = False,
        relevant: Literal["sample", "label"] = "sample",
        **optimisation: Any,
    ):
        if not isinstance(model.decoder, EmbeddingDecoder):
            raise InputError(f"MultimodalRetrieval needs an EmbeddingDecoder, got {type(model.decoder).__name__}")
        if relevant not in ("sample", "label"):
            raise InputError(f"relevant is 'sample' or 'label', got {relevant!r}")
        self.sides, self.pairs = resolve_pairs(list(model.branches), pairs, singles)
        self.relevant, self.target, self._dim = relevant, model.decoder.target, model.decoder.dim
        super().__init__(model, **optimisation)
        auxiliary = [modality for modality, branch in model.branches.items() if branch.auxiliary]
        if relevant == "sample" and auxiliary:
            raise InputError(
                f"{', '.join(auxiliary)}: an auxiliary read-out learns from classes; set `relevant: label`, or `auxiliary: 0`"
            )
        if self.mixup:
            raise InputError(f"mixup={self.mixup}: blended samples have no side that is right for them; set `mixup` to 0")

    def make_metrics(self) -> MetricCollection:
        return MetricCollection({"retrieval": RetrievalMetrics(self.pairs)})

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if self.relevant == "label" and data is not None and getattr(data, "classes", ()) is None:
            raise InputError("`relevant: label` needs classes, and these data have none; set `relevant: sample`")

    def forward(self, batch: Batch) -> ModelOutput:
        """`prediction` are Views; `fused` (sides, B, F) is 0 where a side is missing."""
        present = batch.presence(self.model.branches)
        model = self.model
        (features, angles), fused = encode_and_fuse(model.encode, self.fuse, batch.inputs, present, model.micro_batch)
        views = {}
        for (name, members), own in zip(self.sides.items(), fused.unbind(1), strict=True):
            here = _any_of(members, present)
            views[name] = View(self._embed(own, here), here, self._keys(batch, members).to(here.device))
        return ModelOutput(features, angles, fused.transpose(0, 1), Views(views, self.pairs))

    def embed(self, batch: Batch) -> Tensor:
        """(B, E), of everything that each sample has."""
        return self.model(batch).prediction

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Any]:
        return self.model.decoder.predict(self.embed(batch))

    def update_metrics(self, metrics: MetricCollection, scores: Any, batch: Batch, output: ModelOutput) -> None:
        for metric in metrics.values():
            metric.detailed = self.trainer.state.fn != "fit"  # a curve for each direction would hide the others
        metrics.update(scores, batch.ids)

    def fuse(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(b, sides, F): the fused features of each side's modalities alone, 0 where it has none."""
        sides = [partial(self._fuse_side, angles, present, members) for members in self.sides.values()]
        return torch.stack(self.model.fusion.together(sides), dim=1)

    def _fuse_side(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor], members: Sequence[str]) -> Tensor:
        here = _any_of(members, present)
        rows = here.nonzero().squeeze(1)
        nothing = torch.zeros(len(here), self.model.fusion.out_features, device=here.device)
        if not len(rows):
            return nothing
        seen = {m: (flags if m in members else torch.zeros_like(flags))[rows] for m, flags in present.items()}
        own = {m: torch.where(seen[m].unsqueeze(1), x[rows], torch.zeros_like(x[rows])) for m, x in angles.items()}
        fused = self.model.fusion(own, seen)
        return nothing.to(fused.dtype).index_copy(0, rows, fused)

    def _embed(self, fused: Tensor, here: Tensor) -> Tensor:
        """(B, F) -> (B, E), 0 where a side is missing."""
        rows = here.nonzero().squeeze(1)
        blank = torch.zeros(len(here), self._dim, device=here.device)
        if not len(rows):
            return blank
        embeddings = self.model.decoder(fused[rows])
        return blank.to(embeddings.dtype).index_copy(0, rows, embeddings)

    def _keys(self, batch: Batch, members: Sequence[str]) -> Tensor:
        if self.relevant == "sample":
            return content_keys(batch, members)
        labels = batch.targets[self.target]
        return (
            labels if (labels >= 0).all() else torch.where(labels >= 0, labels, content_keys(batch, members).to(labels.device))
        )


def _any_of(members: Sequence[str], present: Mapping[str, Tensor]) -> Tensor:
    """(B,) bool: which samples have one of these modalities at least."""
    return torch.stack([present[m] for m in members]).any(0)


def resolve_pairs(
    modalities: Sequence[str], pairs: Pairs | None, singles: bool
) -> tuple[dict[str, tuple[str, ...]], tuple[tuple[str, str], ...]]:
    """Sides (name -> modalities, in the order of the registers), and the pairs of their names. Raises InputError."""
    if len(modalities) < 2:
        raise InputError(f"retrieval needs two modalities or more, the model has {', '.join(modalities)} alone")
    wanted: Any = pairs
    if pairs is None:  # what is left for the last modality comes first: usually a sentence for all the rest
        wanted = [[[other for other in modalities if other != m], [m]] for m in reversed(modalities)]
    if singles:
        wanted = [*wanted, *([[a], [b]] for a, b in combinations(modalities, 2))]
    sides: dict[str, tuple[str, ...]] = {}
    named: dict[frozenset[str], tuple[str, str]] = {}
    for pair in wanted:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(side, list) and side for side in pair):
            raise InputError(f"a pair is two lists of modalities, such as [[vision, audio], [text]], got {pair!r}")
        for modality in (flat := [m for side in pair for m in side]):
            if modality not in modalities:
                meant = did_you_mean(str(modality), modalities)
                raise InputError(f"pair {pair!r}: the model has no {modality!r}; it has {', '.join(modalities)}{meant}")
        if len(set(flat)) < len(flat):
            raise InputError(f"pair {pair!r}: a modality stands twice, and a sample finds itself too easily; name it once")
        ordered = [tuple(m for m in modalities if m in side) for side in pair]
        a, b = ("+".join(side) for side in ordered)
        sides.update({a: ordered[0], b: ordered[1]})
        named.setdefault(frozenset((a, b)), (a, b))
    if not named:
        raise InputError("`pairs` is empty; name one pair at least, or leave `pairs` out")
    return sides, tuple(named.values())
