"""evaluate: the metrics of a trained task under noise and with modalities missing."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from qmm.config import Configurable, to_config
from qmm.decoders import ClassDecoder, ValueDecoder
from qmm.errors import InputError
from qmm.files import write_json
from qmm.robustness.disturbing import Disturber
from qmm.robustness.noise import VERSION
from qmm.robustness.plan import CLEAN, Plan, Point
from qmm.tasks import MultimodalTask
from qmm.types import Batch, Context, Features, ModelOutput, rows_of

COLUMNS = ["kind", "modality", "level", "metric", "value", "samples"]


class Encoded(NamedTuple):
    """A batch up to the fusion, its inputs dropped."""

    batch: Batch
    features: dict[str, Features | None]
    angles: dict[str, Tensor]
    present: dict[str, Tensor]


class Measured(NamedTuple):
    metrics: dict[str, float]
    samples: int


def evaluate(
    task: Any,
    data: Any,
    levels: Sequence[float] | None = None,
    kinds: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    noise: Mapping[str, str] | None = None,
    seed: int = 0,
    split: str | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """A row for each curve, level and metric: kind ("noise" or "missing"), modality, level, metric, value, samples.

    Every curve begins at level 0, the evaluation as it is. Under noise one modality is disturbed and the others stay; noise
    depends on (seed, sample, modality, level) alone, so that every model is shown the same. A missing modality is what it is
    everywhere here: not there (`Batch.present`), so that the fusion leaves out what belongs to it; its level is 1. Joined by +
    several are missing together. Samples that have nothing else are left out of such a row, see `samples`.

    Args:
        task: A trained classification or regression task.
        data: Its data module, of `qmm.data`; or any other, for `kinds=["missing"]`.
        levels: Of noise, ascending from 0; default: 0, 0.2 ... 1. What they mean, `qmm.robustness.NOISES` says.
        kinds: "noise", "missing"; default: noise, and missing where the model reads several modalities.
        modalities: To disturb; default: all that the model reads.
        noise: Modality -> name of its noise, where it is not the first of its kind in `qmm.robustness.NOISES`.
        seed: Of the noise.
        split: "test" or "val"; default: test, else val.
        folder: Keep what is measured there, so that, killed and called again, only the rest is measured.
        progress: Show a bar.

    Raises InputError, before anything is evaluated, for a task of another kind and for what the plan cannot be.
    """
    plan = Plan(
        tuple(map(float, levels)) if levels is not None else Plan.levels,
        None if kinds is None else tuple(kinds),
        None if modalities is None else tuple(modalities),
        dict(noise or {}),
        seed,
    )
    return Evaluation(task, data, plan, split).run(folder, progress)


class Evaluation:
    """What is to be measured of a task; nothing is measured before `run`."""

    def __init__(self, task: Any, data: Any, plan: Plan, split: str | None = None):
        require_supported(task)
        self.task, self.data, self.plan = task, data, plan
        self.points = points_of(task, data, plan)
        data.connect({m: branch.encoder.preprocess for m, branch in task.model.branches.items()})
        self.split = split_of(data, split)
        self.loader = data.test_dataloader() if self.split == "test" else data.val_dataloader()
        noisy = dict.fromkeys(p.modality for p in self.points if p.kind == "noise")
        self.disturber = Disturber(self.loader.dataset, plan, list(noisy)) if noisy else None

    def run(self, folder: str | Path | None = None, progress: bool = True) -> pd.DataFrame:
        """The rows of `evaluate`."""
        if not self.points:
            return pd.DataFrame(columns=COLUMNS)
        kept = None if folder is None else Path(folder)
        key = "" if kept is None else self._fingerprint()
        found: dict[Point, Measured] = {}
        todo = []
        for point in (CLEAN, *self.points):
            path = None if kept is None else kept / f"{self._name(point, key)}.json"
            if path is not None and path.is_file():
                found[point] = Measured(**json.loads(path.read_text()))
            else:
                todo.append((point, path))
        training = self.task.training
        self.task.eval()
        try:  # circuits that are compiled here may be trained later: no inference mode
            with torch.inference_mode(False), torch.no_grad(), self._bar(len(todo), len(self.points) + 1, progress) as bar:
                for point, path in todo:
                    bar.set_postfix_str(f"{point.kind} {point.modality} {point.level:g}" if point.modalities else "as it is")
                    found[point] = self._measure(point, bar.update)
                    if path is not None:
                        write_json(path, found[point]._asdict())
        finally:
            self.task.train(training)
        return self._table(found)

    def _bar(self, todo: int, total: int, progress: bool) -> Any:
        form = "{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}{postfix}]"
        return tqdm(
            total=total, initial=total - todo, desc="robustness", bar_format=form, disable=not (progress and todo), leave=False
        )

    def _table(self, found: Mapping[Point, Measured]) -> pd.DataFrame:
        """Each curve in turn, its first row the clean one."""
        rows = []
        for kind, modalities in dict.fromkeys((p.kind, p.modalities) for p in self.points):
            curve = [p for p in self.points if (p.kind, p.modalities) == (kind, modalities)]
            for point in (CLEAN, *curve):
                label = kind, curve[0].modality, point.level
                measured = found[point]
                rows += [(*label, name, value, measured.samples) for name, value in measured.metrics.items()]
        return pd.DataFrame(rows, columns=COLUMNS)

    def _measure(self, point: Point, advance: Callable[[float], Any]) -> Measured:
        """The metrics of the split at one point; `advance` is told the shares of it that are done."""
        if point.kind == "clean":
            shown: Iterable[Encoded] = self._clean
        elif point.kind == "missing":
            shown = (without(encoded, point.modalities) for encoded in self._clean)
        else:
            shown = self._noisy(point)
        metrics, samples = self.task.make_metrics().to(self.task.device), 0
        for encoded in shown:
            if len(encoded.batch.ids):
                self._score(encoded, metrics)
                samples += len(encoded.batch.ids)
            advance(1 / len(self.loader))
        if not samples:
            raise InputError(f"without {point.modality} no sample of the split {self.split!r} has anything left to tell from")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No (positive|negative) samples")  # of a class that the split lacks
            values = {name: torch.as_tensor(value) for name, value in metrics.compute().items()}
        return Measured({name: float(value) for name, value in values.items() if value.numel() == 1}, samples)

    def _score(self, encoded: Encoded, metrics: Any) -> None:
        model, (batch, features, angles, present) = self.task.model, encoded
        fused = model.fusion(angles, present)
        context = Context(features, present, batch.prompts)
        output = ModelOutput(features, angles, fused, model.decoder(fused, context))
        self.task.update_metrics(metrics, self.task.scores_of(output, batch), batch, output)

    @cached_property
    def _clean(self) -> list[Encoded]:
        """The split as it is: of what a point disturbs, one modality, all others are encoded once."""
        return [self._encode(batch) for batch in self.loader]

    def _encode(self, batch: Batch, modalities: Iterable[str] | None = None) -> Encoded:
        model, batch = self.task.model, self.task.transfer_batch_to_device(batch, self.task.device, 0)
        branches = {m: branch for m, branch in model.branches.items() if modalities is None or m in modalities}
        present = batch.presence(branches)
        features = {m: branch.encode(batch.inputs.get(m), present[m]) for m, branch in branches.items()}
        angles = {m: branch.compress(features[m], present[m]) for m, branch in branches.items()}
        if not getattr(model.decoder, "attends", False):  # then nobody reads tokens, which are most of what there is to hold
            features = {m: None if found is None else Features(found.pooled) for m, found in features.items()}
        return Encoded(batch._replace(inputs={}), features, angles, present)

    def _noisy(self, point: Point) -> Iterator[Encoded]:
        assert self.disturber is not None
        loader = DataLoader(
            self.disturber.disturbed(point),
            self.loader.batch_size,
            num_workers=self.loader.num_workers,
            collate_fn=self.loader.collate_fn,
        )
        for clean, batch in zip(self._clean, loader, strict=True):
            noisy = self._encode(batch, point.modalities)
            yield clean._replace(features={**clean.features, **noisy.features}, angles={**clean.angles, **noisy.angles})

    @property
    def samples(self) -> list[str]:
        """The ids of the split, in order; places where the data module does not show them."""
        dataset = self.loader.dataset
        rows, ids = getattr(dataset, "rows", range(len(dataset))), getattr(getattr(dataset, "source", None), "ids", None)
        return [str(row) if ids is None else ids[row] for row in rows]

    def _name(self, point: Point, key: str) -> str:
        """Of the file that keeps a point."""
        noise = None if self.disturber is None else self.disturber.names.get(point.modality)
        asked = [key, *point, *((noise, self.plan.seed) if point.kind == "noise" else ())]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:20]

    def _fingerprint(self) -> str:
        """Changes with the task's weights and configuration, with the samples, and with what noise is."""
        data = to_config(self.data) if isinstance(self.data, Configurable) else type(self.data).__qualname__
        about = [VERSION, to_config(self.task), data, self.split, self.samples]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for part in _contents(self.task.state_dict()):
            digest.update(part)
        return digest.hexdigest()


def without(encoded: Encoded, gone: Sequence[str]) -> Encoded:
    """The same batch where these modalities are missing; samples that have nothing else are left out."""
    batch, features, angles, present = encoded
    nowhere = torch.zeros_like(next(iter(present.values())))
    left = {m: nowhere if m in gone else there for m, there in present.items()}
    kept = torch.stack(list(left.values())).any(dim=0)
    batch = batch._replace(
        present={m: nowhere[kept] if m in gone else there[kept] for m, there in batch.present.items()},
        targets={name: rows_of(target, kept) for name, target in batch.targets.items()},
        ids=rows_of(batch.ids, kept),
        prompts=rows_of(batch.prompts, kept),
    )
    return Encoded(
        batch,
        {m: None if m in gone or f is None else f.rows(kept[present[m]]) for m, f in features.items()},
        {m: (torch.zeros_like(a) if m in gone else a)[kept] for m, a in angles.items()},
        {m: there[kept] for m, there in left.items()},
    )


def _contents(state: Any) -> Iterator[bytes]:
    """All that a state dict holds, a module's extra state too."""
    if isinstance(state, Tensor):
        yield f"{state.dtype} {tuple(state.shape)}".encode()
        yield state.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(state, Mapping):
        for name, value in sorted(state.items()):
            yield str(name).encode()
            yield from _contents(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _contents(value)
    else:
        yield repr(state).encode()


def require_supported(task: Any) -> None:
    """Raises InputError for what is neither a classification nor a regression."""
    decoder = getattr(getattr(task, "model", None), "decoder", None)
    if not isinstance(task, MultimodalTask) or not isinstance(decoder, ClassDecoder | ValueDecoder):
        raise InputError(
            f"robustness is measured of MultimodalClassification and MultimodalRegression, not of a {type(task).__name__}: a "
            "sentence or a search has no curve over noise here; leave `robustness` out, or train a classifier on the same data"
        )


def points_of(task: Any, data: Any, plan: Plan) -> list[Point]:
    """The plan for this task on these data. Raises InputError as `Plan.points`."""
    known = tuple(getattr(getattr(data, "source", None), "present", ()))
    return plan.points(list(task.model.branches), known)


def split_of(data: Any, wanted: str | None) -> str:
    """`wanted`, or test where there is one, else val. Raises InputError for one that the data does not have."""
    there = [name for name in ("test", "val") if name in getattr(data, "rows", ("test",))]
    if (wanted is not None and wanted not in there) or not there:
        raise InputError(f"the data has no split {wanted or 'test or val'!r}; it has: {', '.join(data.rows) or 'none'}")
    return wanted or there[0]
