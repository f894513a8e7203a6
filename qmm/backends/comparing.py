"""The same samples through the same model on several backends: what each makes of its values and its predictions."""

import math
import time
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmm.backends.configuration import Setup
from qmm.errors import InputError
from qmm.types import Batch, Context, Features, ModelOutput


class Samples(NamedTuple):
    """Samples up to the fusion: what no backend changes."""

    batch: Batch
    features: dict[str, Features | None]
    angles: dict[str, Tensor]
    present: dict[str, Tensor]

    @property
    def size(self) -> int:
        return len(self.batch.ids)


class Outcome(NamedTuple):
    """What a backend made of the samples."""

    fused: Tensor
    """(B, F)"""
    predictions: list[Any]
    metrics: dict[str, float]
    seconds: float
    """Of the fusion alone."""


def choose(dataset: Any, number: int | None, seed: int) -> list[int]:
    """Places of a fixed subset: the first `number` of a permutation that the seed decides; None: all."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(dataset), generator=generator).tolist()
    return sorted(order[:number]) if number is not None else list(range(len(dataset)))


@torch.no_grad()
def encode(task: Any, loader: Any, places: list[int]) -> Samples:
    """The samples of a data loader at these places, encoded and compressed, as one batch."""
    model, dataset = task.model, loader.dataset
    batch: Batch = loader.collate_fn([dataset[place] for place in places])
    present = batch.presence(model.branches)
    features = {m: branch.encode(batch.inputs.get(m), present[m]) for m, branch in model.branches.items()}
    angles = {m: branch.compress(features[m], present[m]) for m, branch in model.branches.items()}
    return Samples(batch, features, angles, present)


@torch.no_grad()
def run(task: Any, samples: Samples, setup: Setup) -> Outcome:
    """The rest of the model, its fusion on this backend."""
    model = task.model
    model.fusion.run_on(*setup)
    began = time.perf_counter()
    fused = model.fusion(samples.angles, samples.present)
    seconds = time.perf_counter() - began
    context = Context(samples.features, samples.present, samples.batch.prompts)
    output = ModelOutput(samples.features, samples.angles, fused, model.decoder(fused, context))
    return Outcome(fused, model.decoder.predict(output.prediction), _metrics(task, output, samples.batch), seconds)


def _metrics(task: Any, output: ModelOutput, batch: Batch) -> dict[str, float]:
    metrics = task.make_metrics()
    task.update_metrics(metrics, task.scores_of(output, batch), batch, output)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No (positive|negative) samples")  # of a class that a small subset lacks
        return {name: float(value) for name, value in metrics.compute().items() if torch.as_tensor(value).numel() == 1}


def compared(outcome: Outcome, exact: Outcome) -> dict[str, float]:
    """How far a backend's values are from the exact ones, and how often that changes what is predicted.

    `error`: mean absolute error of the fused values; `error_se`: its standard error over samples; `bias`: mean absolute value
    of what is left of it when each value's error is averaged over the samples; `changed`: share of other predictions.
    """
    difference = (outcome.fused - exact.fused).double()
    by_sample = difference.abs().mean(dim=1)
    answers = [[_answer(p) for p in o.predictions] for o in (outcome, exact)]
    spread = float(by_sample.std()) / math.sqrt(len(by_sample)) if len(by_sample) > 1 else math.nan
    return {
        "error": float(by_sample.mean()),
        "error_se": spread,
        "bias": float(difference.mean(dim=0).abs().mean()),
        "changed": sum(a != b for a, b in zip(*answers, strict=True)) / len(by_sample),
    }


def _answer(prediction: Any) -> Any:
    """What of a prediction is the answer, without its probability: a class, a sentence."""
    for name in ("label", "sentence", "text", "value"):
        if hasattr(prediction, name):
            return getattr(prediction, name)
    return prediction


def require_circuits(task: Any) -> None:
    """Raises InputError for a model whose fusion has no circuit to run anywhere."""
    if not task.model.fusion.circuits():
        kind = type(task.model.fusion).__name__
        raise InputError(f"{kind} is classical: no backend would change it; give a checkpoint of a quantum fusion")
