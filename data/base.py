"""MultimodalDataModule: rows of any source -> checked, split, varied, batched."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from qmm.config import Configurable
from qmm.errors import InputError
from qmm.types import Batch, Features

from .collate import collate
from .dataset import ContentDataset, EpochSampler, MultimodalDataset, Varied
from .shuffling import exchange
from .source import BadSample, Source, near
from .splits import fold_rows, part_rows
from .transforms import Augmentation

_NO_ROWS = np.empty(0, dtype=np.int64)
_NEEDED = {"fit": "train", "validate": "val", "test": "test"}


class MultimodalDataModule(Configurable, LightningDataModule, ABC):
    """Batches of several modalities. Nothing is read before it is asked for; `setup` checks everything before training.

    Args:
        modalities: Use these alone; rows that have none of them are dropped, and counted in `dropped`. Default: all there are.
        batch_size: Samples in a batch.
        num_workers: Processes that load; 0 loads in the main one. Batches are the same for any number.
        seed: Of the order and the augmentation of the training samples.
        augment: Modality -> augmentation of its training samples.
        mix_pairs: Probability that a training sample's content of a modality is taken from another one of the same class. Only
            where a class is all that joins a sample's modalities.
        fold: Hold out this part of the training split (0 to folds - 1) in place of `val`, which then stays untouched.
        folds: Number of parts, stratified by class; no group is torn apart.
        split_seed: Of `fold`, of `train_size`, of splits made by shares and of `shuffled`; apart from `seed`, so that studies
            compare seeds on the same split.
        train_size: Use so many rows of the training split alone (of what `fold` leaves), stratified by class; a smaller number
            takes a part of what a larger one does. For low-data curves.
        part_seed: Of `train_size`, where it is not to follow `split_seed`.
        tuning_fold: Hold out this part of what is left to train on in place of `val`; what was `val` is not used. For tuning
            within a fold or a part of the training split.
        tuning_folds: Number of such parts, made as those of `fold`.
        shuffled: Modalities whose contents are exchanged at random between the samples of each split that is not trained on,
            targets and prompts staying: a control. What a model still gets right, it did not learn from them.
    """

    skips_bad = False
    decodes_all = False

    def __init__(
        self,
        modalities: list[str] | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        augment: dict[str, Augmentation] | None = None,
        mix_pairs: float = 0.0,
        fold: int | None = None,
        folds: int = 5,
        split_seed: int = 0,
        train_size: int | None = None,
        part_seed: int | None = None,
        tuning_fold: int | None = None,
        tuning_folds: int = 4,
        shuffled: list[str] | None = None,
    ):
        super().__init__()
        if batch_size < 1 or num_workers < 0 or not 0 <= mix_pairs <= 1:
            raise InputError(
                f"batch_size {batch_size}, num_workers {num_workers}, mix_pairs {mix_pairs}: "
                "expected at least 1, at least 0, and a probability"
            )
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.augment, self.mix_pairs = dict(augment or {}), mix_pairs
        self.fold, self.folds, self.split_seed, self.train_size = fold, folds, split_seed, train_size
        self.part_seed = split_seed if part_seed is None else part_seed
        self.tuning_fold, self.tuning_folds = tuning_fold, tuning_folds
        self.shuffled = tuple(shuffled or ())
        self.preprocess: dict[str, Callable[[Any], Any]] = {}
        self.cached: dict[str, Mapping[str, Features]] = {}
        self._chosen = None if modalities is None else tuple(modalities)
        self._rows: dict[str, np.ndarray] | None = None
        self._dropped: dict[str, int] = {}
        self._problems: list[BadSample] = []

    @abstractmethod
    def make_source(self) -> Source:
        """Read or make the rows of all splits."""

    @cached_property
    def source(self) -> Source:
        return self.make_source()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that batches hold."""
        there = tuple(self.source.present)
        for name in [*(self._chosen or ()), *self.augment, *self.shuffled]:
            if name not in there:
                raise InputError(f"the data has no modality {name!r}; {near(name, there)}")
        return there if self._chosen is None else self._chosen

    @property
    def classes(self) -> list[str] | None:
        """Class names in the order of their indices; None for regression."""
        return self.source.classes

    @property
    def class_weights(self) -> Tensor | None:
        """(C,) inverse frequencies in the training split, their mean 1; None for regression."""
        if self.classes is None:
            return None
        labels = self._train_targets()
        counts = np.bincount(labels[labels >= 0], minlength=len(self.classes)).clip(min=1)
        return torch.tensor(counts.mean() / counts / np.mean(counts.mean() / counts), dtype=torch.float32)

    @property
    def target_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training values, for regression."""
        if self.classes is not None:
            raise InputError("these data name classes; for regression give a column of numbers and set `regression: true`")
        values = self._train_targets()
        return float(np.nanmean(values)), float(np.nanstd(values))

    @property
    def sentences(self) -> list[str]:
        """All references of the training split, for a tokenizer to learn from; [] where the data has none."""
        references = self.source.references
        return [] if references is None else [text for row in self._require("train") for text in references[row]]

    @property
    def prompts(self) -> list[str]:
        """The different questions and instructions of the training split, for a tokenizer to learn from, too."""
        prompts = self.source.prompts
        return [] if prompts is None else sorted({prompts[row] for row in self._require("train")} - {""})

    @property
    def words(self) -> dict[str, dict[str, list[str]]] | None:
        """Fact -> value -> the words and phrases that name it; None where the data has no facts."""
        return self.source.words

    @property
    def skipped(self) -> list[BadSample]:
        """The rows left out because something is wrong with them; empty unless they are to be skipped."""
        return sorted({*self.source.bad, *self._problems}) if self.rows else []

    @property
    def dropped(self) -> dict[str, int]:
        """Split -> how many rows were left out since they have none of `modalities`."""
        return dict(self._dropped) if self.rows else {}

    def sample_groups(self, ids: Sequence[str]) -> list[str] | None:
        """What each sample must not be torn from, such as its speaker; None where nothing was said of it."""
        if self.source.groups is None:
            return None
        known = dict(zip(self.source.ids, self.source.groups, strict=True))
        return [known[name] for name in ids]

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """Split -> the rows of `source` that are used."""
        if self._rows is None:
            self._rows = self._choose_rows()
        return self._rows

    def connect(self, preprocess: Mapping[str, Callable[[Any], Any]]) -> None:
        """Modality -> its encoder's preprocessing, to be done by the workers; from now on these modalities alone are loaded.

        One of them that `modalities` leaves out counts as missing in every sample; one that the data does not have is an error.
        """
        for modality in preprocess:
            if modality not in self.source.present:
                raise InputError(
                    f"the model has a branch for {modality!r}, the data does not; {near(modality, self.modalities)}; "
                    f"set the model's {modality} to null, or give data with it"
                )
        narrowed = tuple(modality for modality in self.modalities if modality in preprocess)
        if not narrowed:
            raise InputError(
                f"the model reads {', '.join(preprocess)}, the data gives {', '.join(self.modalities)}; choose others"
            )
        self.preprocess = dict(preprocess)
        if narrowed != self.modalities:
            self._chosen, self._rows = narrowed, None
            self.augment = {modality: own for modality, own in self.augment.items() if modality in narrowed}

    def setup(self, stage: str | None = None) -> None:
        """Check every file. Raises InputError at the first bad one in the order of the rows, saying how many there are."""
        needed = _NEEDED.get(stage or "")
        if needed is not None:
            self._require(needed)
        rows = np.sort(np.concatenate(list(self.rows.values())))
        found = {} if self.skips_bad else self.source.verify(rows.tolist(), self.modalities, self.decodes_all)
        if found:
            more = len({problem.row for problem in found.values()}) - 1
            others = f" ({more} more rows are bad; `on_bad_sample: skip` leaves them out)" if more else ""
            raise InputError(f"{next(iter(found.values()))}{others}")

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, augmented and re-paired by (seed, epoch, row)."""
        rows = self._require("train")
        if self.mix_pairs and self.classes is None:
            raise InputError("mix_pairs pairs samples of one class, and these data have none; set mix_pairs to 0")
        varied = Varied(self.augment, self.mix_pairs, self.seed)
        return self._loader(self._dataset(rows, varied=varied), sampler=EpochSampler(len(rows), self.seed))

    def plain_train_dataloader(self) -> DataLoader[Any]:
        """The training split in its own order, as it is: to fit compressors on."""
        return self._loader(self._dataset(self._require("train")))

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Empty where there is no split "val"."""
        return self._loader(self._dataset(self.rows["val"], shuffles=True)) if "val" in self.rows else []

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader(self._dataset(self._require("test"), shuffles=True))

    def predict_dataloader(self) -> DataLoader[Any]:
        """The split "predict", else "test", else "val"; without targets."""
        split = next((split for split in ("predict", "test", "val") if split in self.rows), "predict")
        return self._loader(self._dataset(self._require(split), targets=False, shuffles=True))

    def contents(self, modality: str, split: str, known: Container[str] = ()) -> DataLoader[Any]:
        """Each different content of a modality once, without augmentation, to fill a feature cache from: batches of this one
        modality whose `ids` are the content keys that `cached[modality]` is asked for. Keys in `known` are left out."""
        dataset = ContentDataset(self.source, self._require(split), modality, self.preprocess.get(modality), known)
        return self._loader(dataset, modalities=(modality,))

    def raw_sample(self, sample_id: str) -> dict[str, Any]:
        """A sample's raw content by modality, as the model gets it but for its pre-processing: for reports."""
        if sample_id not in self.source.ids:
            raise InputError(f"no sample {sample_id!r}; {near(sample_id, self.source.ids)}")
        row = self.source.ids.index(sample_id)
        split = next((split for split, rows in self.rows.items() if split != "train" and row in rows), None)
        shuffled = {} if split is None else self._exchanged(self.rows[split])
        there = [modality for modality in self.modalities if self.source.present[modality][row]]
        return {m: self.source.raw(m, shuffled.get(m, {}).get(row, row)) for m in there}

    def _choose_rows(self) -> dict[str, np.ndarray]:
        source, splits = self.source, dict(self.source.splits)
        if self.fold is not None:
            splits |= self._held_out(splits, self.fold, self.folds)
        chosen = np.any([source.present[modality] for modality in self.modalities], axis=0)
        self._dropped = {split: int((~chosen[rows]).sum()) for split, rows in splits.items()}
        splits = {split: rows[chosen[rows]] for split, rows in splits.items()}
        if self.skips_bad:
            everything = np.sort(np.concatenate(list(splits.values())))
            found = source.verify(everything.tolist(), self.modalities, thorough=True)
            self._problems = list(found.values())
            splits = {split: rows[~np.isin(rows, list(found))] for split, rows in splits.items()}
        if self.train_size is not None:
            splits["train"] = part_rows(splits.get("train", _NO_ROWS), self._labels(), self.train_size, self.part_seed)
        if self.tuning_fold is not None:
            splits |= self._held_out(splits, self.tuning_fold, self.tuning_folds)
        return {split: rows for split, rows in splits.items() if len(rows)}

    def _held_out(self, splits: Mapping[str, np.ndarray], fold: int, folds: int) -> dict[str, np.ndarray]:
        """The training split without one of its parts, and that part as `val`."""
        train = splits.get("train", _NO_ROWS)
        kept, held = fold_rows(train, self._labels(), self.source.groups, fold, folds, self.split_seed)
        return {"train": kept, "val": held}

    def _labels(self) -> np.ndarray | None:
        """Of all rows, where they name classes."""
        return self.source.targets.get("label") if self.source.classes is not None else None

    def _require(self, split: str) -> np.ndarray:
        if split not in self.rows:
            there = ", ".join(f"{name} ({len(rows)} rows)" for name, rows in self.rows.items()) or "none"
            raise InputError(f"the data has no rows for split {split!r}; its splits are: {there}")
        return self.rows[split]

    def _train_targets(self) -> np.ndarray:
        if "label" not in self.source.targets:
            raise InputError("these data have no labels, only sentences; name the labels' column in `label`")
        return self.source.targets["label"][self._require("train")]

    def _dataset(
        self, rows: np.ndarray, targets: bool = True, varied: Varied | None = None, shuffles: bool = False
    ) -> MultimodalDataset:
        shuffled = self._exchanged(rows) if shuffles else {}
        return MultimodalDataset(self.source, rows, self.modalities, self.preprocess, self.cached, targets, varied, shuffled)

    def _exchanged(self, rows: np.ndarray) -> dict[str, dict[int, int]]:
        """Modality -> row -> the row whose content it shows, among the rows that have it; for those that are shuffled."""
        there = {m: rows[self.source.present[m][rows]] for m in self.shuffled if m in self.modalities}
        return {modality: exchange(self.source, modality, own, self.split_seed) for modality, own in there.items()}

    def _loader(self, dataset: Any, sampler: EpochSampler | None = None, modalities: tuple[str, ...] = ()) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=partial(collate, modalities=modalities or self.modalities),
            pin_memory=torch.cuda.is_available(),
        )
