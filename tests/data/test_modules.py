"""The data modules' promises: the same samples however they are loaded, whatever happens between."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from torch import Tensor

from qmm.config import to_config
from qmm.data import ManifestDataModule, PictureAugmentation, ScenesDataModule, SoundAugmentation
from qmm.data.dataset import EpochSampler
from qmm.errors import InputError
from qmm.types import Batch, Features, Padded, Sound

Rows = list[dict[str, Any]]
Make = Callable[..., ManifestDataModule]


def first_samples(sound: Sound) -> Tensor:
    return sound.waveform[:300]


def characters(text: str) -> Tensor:
    return torch.tensor([ord(c) for c in text])


def unchanged(value: Tensor) -> Tensor:
    return value


PREPROCESS: dict[str, Callable[[Any], Any]] = {"vision": unchanged, "audio": first_samples, "text": characters}


def scenes(**arguments: Any) -> ScenesDataModule:
    settings: dict[str, Any] = {
        "size": 30,
        "val_size": 12,
        "test_size": 12,
        "batch_size": 8,
        "missing": 0.2,
        "mix_pairs": 0.4,
        "augment": {"vision": PictureAugmentation(erase=0.3), "audio": SoundAugmentation()},
        **arguments,
    }
    data = ScenesDataModule(**settings)
    data.connect(PREPROCESS)
    return data


def epoch_of(loader: Any, epoch: int) -> list[Batch]:
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_same(left: list[Batch], right: list[Batch]) -> None:
    assert [batch.ids for batch in left] == [batch.ids for batch in right]
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.targets["label"], b.targets["label"])
        for modality in a.inputs:
            assert torch.equal(a.present[modality], b.present[modality])
            one, other = a.inputs[modality], b.inputs[modality]
            assert (one is None) == (other is None)
            for x, y in zip(one or (), other or (), strict=True):
                assert (x is None and y is None) or (x is not None and y is not None and torch.equal(x, y))


def names_in(batches: list[Batch]) -> list[str]:
    return [name for batch in batches for name in batch.ids]


def by_id(batches: list[Batch]) -> dict[str, Tensor]:
    pictures = {}
    for batch in batches:
        inputs = batch.inputs["vision"]
        if inputs is not None:
            pictures.update({n: inputs[0][i] for i, n in enumerate(batch.ids) if batch.present["vision"][i]})
    return pictures


def test_batches_do_not_depend_on_the_number_of_workers() -> None:
    alone = scenes().train_dataloader()
    helped = scenes(num_workers=2).train_dataloader()
    for epoch in (0, 1, 5):  # persistent workers: the second and third epoch come from the same processes
        assert_same(epoch_of(alone, epoch), epoch_of(helped, epoch))


def test_a_new_process_sees_the_same_epoch() -> None:
    """Epoch 3 is the same whether or not epochs 0 to 2 came before, and whatever the global generators did."""
    loader = scenes().train_dataloader()
    before = [epoch_of(loader, epoch) for epoch in range(4)]
    torch.manual_seed(123)
    assert_same(before[3], epoch_of(scenes().train_dataloader(), 3))


def test_epochs_and_seeds_differ() -> None:
    loader = scenes().train_dataloader()
    zero, one, other = epoch_of(loader, 0), epoch_of(loader, 1), epoch_of(scenes(seed=1).train_dataloader(), 0)
    assert [b.ids for b in zero] != [b.ids for b in one]
    assert [b.ids for b in zero] != [b.ids for b in other]
    assert sorted(names_in(zero)) == sorted(names_in(one))
    first, second = by_id(zero), by_id(one)
    assert not any(torch.equal(first[name], second[name]) for name in first)


def test_leaving_a_modality_out_changes_nothing_in_the_others() -> None:
    both, alone = (
        scenes(missing=0.0),
        scenes(missing=0.0, modalities=["vision"]),
    )
    left, right = by_id(epoch_of(both.train_dataloader(), 2)), by_id(epoch_of(alone.train_dataloader(), 2))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_the_sampler_yields_every_index_once() -> None:
    sampler = EpochSampler(50, seed=7)
    sampler.set_epoch(3)
    pairs = list(sampler)
    assert {epoch for epoch, _ in pairs} == {3}
    assert sorted(index for _, index in pairs) == list(range(50))
    assert [index for _, index in pairs] != list(range(50))
    assert len(sampler) == 50


def test_evaluation_is_in_order_and_unchanged() -> None:
    data = scenes(missing=0.0)
    for loader, split in (
        (data.plain_train_dataloader(), "train"),
        (data.val_dataloader(), "val"),
        (data.test_dataloader(), "test"),
    ):
        batches = list(loader)
        names = names_in(batches)
        assert names == [data.source.ids[row] for row in data.rows[split]]
        pictures = by_id(batches)
        for row in data.rows[split]:
            assert torch.equal(pictures[data.source.ids[row]], data.source.raw("vision", row))


def test_mixed_pairs_stay_in_their_class_and_split(make: Make, files: Path, rows: Rows) -> None:
    rows[0]["audio"] = None
    data = make(rows, mix_pairs=1.0, modalities=["vision", "audio", "text"], batch_size=4)
    data.connect({"vision": torch.mean, "audio": first_samples, "text": characters})
    seen: dict[str, set[str]] = {}
    loader = data.train_dataloader()
    for epoch in range(30):
        for batch in epoch_of(loader, epoch):
            assert isinstance(batch.inputs["text"], Padded)
            for i, name in enumerate(batch.ids):
                sentence = "".join(map(chr, batch.inputs["text"].values[i].tolist()))
                seen.setdefault(name, set()).add(sentence)
                assert batch.present["audio"][i].item() == (name != "r0")  # what a sample lacks it goes on lacking
    even, odd = {"sentence 0", "sentence 2"}, {"sentence 1", "sentence 3"}
    assert seen == {"r0": even, "r2": even, "r1": odd, "r3": odd}


@pytest.mark.parametrize("probability", [0.0, 0.25])
def test_pairs_are_mixed_as_often_as_said(probability: float) -> None:
    data = ScenesDataModule(size=480, val_size=0, test_size=0, mix_pairs=probability)
    data.connect({"vision": unchanged})
    pictures = by_id(epoch_of(data.train_dataloader(), 0))
    kept = np.mean([torch.equal(pictures[data.source.ids[row]], data.source.raw("vision", row)) for row in range(480)])
    assert abs(kept - (1 - probability * 39 / 40)) < 0.08  # one in 40 finds itself


def test_mixing_pairs_needs_classes(make: Make, rows: Rows) -> None:
    for i, row in enumerate(rows):
        row["label"] = float(i)
    data = make(rows, regression=True, mix_pairs=0.5)
    with pytest.raises(InputError, match="mix_pairs pairs samples of one class"):
        data.train_dataloader()


def test_each_content_is_offered_once_to_a_cache(make: Make, files: Path, rows: Rows) -> None:
    rows[1]["audio"] = rows[0]["audio"]  # one sound in two rows is encoded once
    data = make(rows, batch_size=3, augment={"audio": SoundAugmentation()})
    data.connect(PREPROCESS | {"vision": torch.mean})
    cache: dict[str, Features] = {}
    for split in data.rows:
        for batch in data.contents("audio", split, known=cache):
            assert list(batch.inputs) == ["audio"]
            sounds = batch.inputs["audio"]
            assert isinstance(sounds, Padded)
            cache.update({key: Features(sounds.values[i, :2]) for i, key in enumerate(batch.ids)})
    assert len(cache) == 7
    assert all(len(data.contents("audio", split, known=cache)) == 0 for split in data.rows)
    for row in range(8):
        pooled = cache[data.source.key("audio", row)].pooled
        assert torch.equal(pooled, data.source.raw("audio", row).waveform[:2])


def test_cached_features_are_handed_out() -> None:
    data = scenes(missing=0.3, mix_pairs=0.0)
    source = data.source
    cache = {
        source.key("audio", row): Features(torch.full((2,), float(row))) for row in range(54) if source.present["audio"][row]
    }
    data.cached["audio"] = cache
    for batch in [*epoch_of(data.train_dataloader(), 0), *data.val_dataloader()]:
        audio = batch.inputs["audio"]
        assert isinstance(audio, Features)
        for i, name in enumerate(batch.ids):
            row = source.ids.index(name)
            assert audio.pooled[i].tolist() == ([float(row)] * 2 if source.present["audio"][row] else [0.0, 0.0])
    del cache[next(iter(cache))]
    with pytest.raises(InputError, match="the feature cache of 'audio' lacks sample 'train-0000"):
        list(data.plain_train_dataloader())


def test_modalities_of_the_model_are_loaded_alone() -> None:
    data = scenes(missing=0.4)
    total = len(data.rows["train"])
    assert data.dropped == {"train": 0, "val": 0, "test": 0}
    data.connect({"vision": unchanged})
    assert data.modalities == ("vision",)
    assert data.dropped["train"] > 0
    assert len(data.rows["train"]) + data.dropped["train"] == total
    batch = next(iter(data.train_dataloader()))
    assert list(batch.inputs) == ["vision"]
    assert batch.present["vision"].all()
    with pytest.raises(
        InputError, match=r"the model has a branch for 'smell', the data does not.*set the model's smell to null"
    ):
        data.connect({"smell": unchanged})


def test_modalities_that_are_left_out_count_as_missing() -> None:
    data = scenes(missing=0.0, modalities=["text", "vision"])
    assert data.modalities == ("text", "vision")
    batch = next(iter(data.val_dataloader()))
    assert list(batch.inputs) == ["text", "vision"]
    assert not batch.presence(["audio"])["audio"].any()


def test_class_weights_balance(make: Make, rows: Rows) -> None:
    rows[1]["label"] = "a"
    data = make(rows)
    assert data.class_weights is not None
    assert data.class_weights.dtype == torch.float32
    assert data.class_weights.mean().item() == pytest.approx(1)
    weighted = data.class_weights * torch.tensor([3, 1])
    assert weighted[0].item() == pytest.approx(weighted[1].item())


def test_splits_by_share_and_by_fold(make: Make, rows: Rows) -> None:
    for row in rows:
        del row["split"]
    data = make(rows, split={"val": 0.25, "test": 0.25})
    assert {split: len(used) for split, used in data.rows.items()} == {"train": 4, "val": 2, "test": 2}
    assert make(rows, split={"val": 0.25, "test": 0.25}, seed=5).rows["val"].tolist() == data.rows["val"].tolist()
    for i, row in enumerate(rows):
        row["split"], row["speaker"] = "train" if i < 6 else "val", f"person {i // 2}"
    folded = make(rows, fold=0, folds=3, group="speaker")
    assert len(folded.rows["val"]) == 2
    assert set(folded.rows["val"].tolist()) <= set(range(6))
    assert sorted([*folded.rows["train"], *folded.rows["val"]]) == list(range(6))
    few = make(rows, fold=0, folds=3, group="speaker", train_size=2)
    assert len(few.rows["train"]) == 2
    assert set(few.rows["train"].tolist()) <= set(folded.rows["train"].tolist())
    assert few.rows["val"].tolist() == folded.rows["val"].tolist()


def test_tuning_holds_out_a_part_of_what_is_left_to_train_on() -> None:
    data = {"size": 90, "val_size": 9, "test_size": 9, "fold": 1, "folds": 3, "train_size": 48, "part_seed": 4}
    whole = ScenesDataModule(**data)  # type: ignore[arg-type]
    parts = [ScenesDataModule(**data, tuning_fold=k, tuning_folds=3) for k in range(3)]  # type: ignore[arg-type]
    trained = set(whole.rows["train"].tolist())
    assert len(trained) == 48
    for part in parts:
        kept, held = set(part.rows["train"].tolist()), set(part.rows["val"].tolist())
        assert kept | held == trained
        assert not kept & held
        assert not held & set(whole.rows["val"].tolist())  # what the fold holds out, no tuning has seen
        assert part.rows["test"].tolist() == whole.rows["test"].tolist()
    assert {row for part in parts for row in part.rows["val"].tolist()} == trained
    other = ScenesDataModule(**{**data, "part_seed": 5})  # type: ignore[arg-type]
    assert other.rows["train"].tolist() != whole.rows["train"].tolist()
    assert other.rows["val"].tolist() == whole.rows["val"].tolist()


def test_the_groups_of_samples_are_known(make: Make, rows: Rows) -> None:
    for i, row in enumerate(rows):
        row["speaker"] = f"person {i // 2}"
    data = make(rows, group="speaker")
    ids = [data.source.ids[3], data.source.ids[0]]
    assert data.sample_groups(ids) == ["person 1", "person 0"]
    assert make(rows).sample_groups(ids) is None


def test_splits_that_are_not_there(make: Make, rows: Rows) -> None:
    data = make(rows[:4])
    data.setup("fit")
    assert data.val_dataloader() == []
    for stage, split in (("validate", "val"), ("test", "test")):
        with pytest.raises(InputError, match=rf"no rows for split '{split}'; its splits are: train \(4 rows\)"):
            data.setup(stage)
    with pytest.raises(InputError, match="no rows for split 'test'"):
        data.test_dataloader()


def test_arguments_are_checked() -> None:
    with pytest.raises(InputError, match=r"batch_size 0, num_workers 0, mix_pairs 0\.0: expected at least 1"):
        ScenesDataModule(batch_size=0)
    with pytest.raises(InputError, match="on_bad_sample is 'raise' or 'skip', got 'ignore'"):
        ManifestDataModule("m.jsonl", on_bad_sample="ignore")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no modality 'smell'"):
        scenes(augment={"smell": SoundAugmentation()})


def test_the_configuration_is_plain_data() -> None:
    config = to_config(scenes(seed=3))
    assert config["class_path"] == "qmm.data.modules.ScenesDataModule"
    assert config["init_args"]["seed"] == 3
    assert config["init_args"]["augment"]["vision"]["init_args"] == {"erase": 0.3}


class Recorder(LightningModule):
    """Remembers which samples it saw, and trains one weight so that Lightning has something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[str], float]] = []

    def setup(self, stage: str) -> None:
        self.trainer.datamodule.connect(PREPROCESS)  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        picture = batch.inputs["vision"]
        self.seen.append((self.current_epoch, batch.ids, 0.0 if picture is None else picture[0].sum().item()))
        return self.weight**2

    def validation_step(self, batch: Batch, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder: Path, epochs: int, **settings: Any) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,
    )


@pytest.mark.filterwarnings(
    "ignore:The '.*_dataloader' does not have many workers", "ignore:isinstance.*LeafSpec", "ignore:`isinstance.*LeafSpec"
)
def test_lightning_resumes_with_the_samples_that_were_to_come(tmp_path: Path) -> None:
    whole, start, rest = Recorder(), Recorder(), Recorder()
    trainer(tmp_path, 4, enable_checkpointing=False).fit(whole, datamodule=scenes())
    first = trainer(tmp_path, 2, enable_checkpointing=False)
    first.fit(start, datamodule=scenes())
    first.save_checkpoint(tmp_path / "two.ckpt")
    trainer(tmp_path, 4, enable_checkpointing=False).fit(rest, datamodule=scenes(), ckpt_path=tmp_path / "two.ckpt")
    assert [epoch for epoch, _, _ in whole.seen] == sorted([0, 1, 2, 3] * 4)
    assert start.seen + rest.seen == whole.seen


@pytest.mark.parametrize("ranks", [2, 3])
def test_lightnings_distributed_sampler_divides_an_epoch(ranks: int) -> None:
    """Lightning wraps the sampler so in each process; together the processes see what one alone would."""
    whole = EpochSampler(30, seed=1)
    shares = [
        DistributedSamplerWrapper(EpochSampler(30, seed=1), num_replicas=ranks, rank=r, shuffle=False) for r in range(ranks)
    ]
    for epoch in (0, 4):
        whole.set_epoch(epoch)
        for share in shares:
            share.set_epoch(epoch)
        assert sorted(item for share in shares for item in share) == sorted(whole)


DDP = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch
from lightning import LightningModule, Trainer
from qmm.data import ScenesDataModule

class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []
    def setup(self, stage):
        self.trainer.datamodule.connect({"vision": torch.clone})
    def training_step(self, batch, batch_idx):
        sums = batch.inputs["vision"].values.sum(dim=(1, 2, 3)).tolist()
        self.seen += [f"{self.current_epoch} {name} {total:.4f}" for name, total in zip(batch.ids, sums)]
        return self.weight ** 2
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

model = Recorder()
data = ScenesDataModule(size=24, val_size=0, test_size=0, batch_size=4, mix_pairs=0.5)
trainer = Trainer(max_epochs=2, accelerator="cpu", devices=int(sys.argv[2]), strategy="ddp" if sys.argv[2] != "1" else "auto",
                  logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
trainer.fit(model, datamodule=data)
Path(sys.argv[1], f"rank{trainer.global_rank}").write_text("\\n".join(model.seen))
"""


@pytest.mark.slow
def test_two_processes_share_the_samples_of_one(tmp_path: Path, repository: Path) -> None:
    """DDP: each epoch's samples, augmented and paired alike, are divided between the ranks, none twice."""
    (tmp_path / "train.py").write_text(DDP)
    seen = {}
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_"))}
        command = [sys.executable, str(tmp_path / "train.py"), str(folder), str(devices)]
        done = subprocess.run(command, cwd=repository, env=environment, timeout=240, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        ranks = [path.read_text().splitlines() for path in sorted(folder.iterdir())]
        assert len(ranks) == devices
        assert len({len(rank) for rank in ranks}) == 1
        seen[devices] = sorted(sample for rank in ranks for sample in rank)
    assert len(seen[1]) == 48
    assert seen[1] == seen[2]
