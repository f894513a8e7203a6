"""MultimodalDataset and EpochSampler: what a sample is in a given epoch depends on (seed, epoch, row) and on nothing else."""

import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator
from torch.utils.data import Dataset, Sampler

from qmm.errors import InputError
from qmm.types import Features

from .collate import Sample
from .source import Source
from .transforms import Augmentation

Item = int | tuple[int, int]


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) in an order drawn from (seed, epoch). Lightning calls `set_epoch`, also within its distributed wrapper."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        for index in np.random.default_rng([self.seed, epoch]).permutation(self.size).tolist():
            yield epoch, index


class Varied:
    """Another version of every training sample in every epoch: augmented, and re-paired within its class.

    With probability `mix_pairs` a sample's content of one modality is that of another training sample of its class that has it.
    """

    def __init__(self, augment: Mapping[str, Augmentation], mix_pairs: float, seed: int):
        self.augment, self.mix_pairs, self.seed = augment, mix_pairs, seed

    def generator(self, epoch: int, row: int, modality: str, purpose: int) -> Generator:
        """Apart for each modality, so that leaving one out changes nothing in the others."""
        entropy = [self.seed, epoch, row, zlib.crc32(modality.encode()), purpose]
        return torch.Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1))


class MultimodalDataset(Dataset[Sample]):
    """The rows of one split. `dataset[(epoch, index)]` is varied as `varied` says, `dataset[index]` is the sample as it is."""

    def __init__(
        self,
        source: Source,
        rows: np.ndarray,
        modalities: Sequence[str],
        preprocess: Mapping[str, Callable[[Any], Any]],
        cached: Mapping[str, Mapping[str, Features]],
        targets: bool = True,
        varied: Varied | None = None,
        shuffled: Mapping[str, Mapping[int, int]] | None = None,
    ):
        """`shuffled`: modality -> row -> the row whose content it shows, for modalities that are shuffled."""
        self.source, self.rows, self.modalities = source, rows.tolist(), tuple(modalities)
        self.preprocess, self.cached, self.varied = dict(preprocess), dict(cached), varied
        self.shuffled = shuffled or {}
        self.targets: dict[str, Any] = dict(source.targets) if targets else {}
        if targets:
            sentences = {"references": source.references, "facts": source.facts}
            self.targets.update({name: values for name, values in sentences.items() if values is not None})
        self._partners: dict[tuple[str, int], list[int]] = {}
        if varied is not None and varied.mix_pairs:
            for modality in (m for m in self.modalities if m not in source.bound):
                for row in self.rows:
                    if source.present[modality][row] and self._class(row) >= 0:
                        self._partners.setdefault((modality, self._class(row)), []).append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: Item) -> Sample:
        epoch, index = item if isinstance(item, tuple) else (None, item)
        row = self.rows[index]
        inputs = {m: self._input(m, row, epoch) for m in self.modalities if self.source.present[m][row]}
        targets = {n: v[row].item() if isinstance(v, np.ndarray) else v[row] for n, v in self.targets.items()}
        prompts = self.source.prompts
        return Sample(self.source.ids[row], inputs, targets, "" if prompts is None else prompts[row])

    def _input(self, modality: str, row: int, epoch: int | None) -> Any:
        varied = self.varied if epoch is not None else None
        origin = self.shuffled.get(modality, {}).get(row, row)
        if varied is not None and epoch is not None and self._partners:
            origin = self._partner(modality, row, varied.generator(epoch, row, modality, purpose=0))
        if modality in self.cached:
            return self._from_cache(modality, origin)
        raw = self.source.raw(modality, origin)
        if varied is not None and epoch is not None and modality in varied.augment:
            raw = varied.augment[modality](raw, varied.generator(epoch, row, modality, purpose=1))
        return self.preprocess[modality](raw) if modality in self.preprocess else raw

    def _partner(self, modality: str, row: int, generator: Generator) -> int:
        chance, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        partners = self._partners.get((modality, self._class(row)))
        if self.varied is None or chance >= self.varied.mix_pairs or partners is None:
            return row
        return partners[int(place * len(partners))]

    def _class(self, row: int) -> int:
        return int(self.source.targets["label"][row])

    def _from_cache(self, modality: str, row: int) -> Features:
        key = self.source.key(modality, row)
        if key not in self.cached[modality]:
            raise InputError(f"the feature cache of {modality!r} lacks sample {self.source.ids[row]!r}; fill it first")
        return self.cached[modality][key]


class ContentDataset(Dataset[Sample]):
    """Each different content of one modality once, pre-processed, under its key: what a feature cache is filled from."""

    def __init__(
        self,
        source: Source,
        rows: np.ndarray,
        modality: str,
        preprocess: Callable[[Any], Any] | None,
        known: Container[str] = (),
    ):
        there = {source.key(modality, row): row for row in rows.tolist() if source.present[modality][row]}
        self.items = [(key, row) for key, row in there.items() if key not in known]
        self.source, self.modality, self.preprocess = source, modality, preprocess

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        key, row = self.items[index]
        raw = self.source.raw(self.modality, row)
        return Sample(key, {self.modality: self.preprocess(raw) if self.preprocess else raw}, {})
