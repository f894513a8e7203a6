import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Callback, Trainer

from qmm import Branch, MultimodalModel, load
from qmm.contracts import Fusion
from qmm.data import VectorsDataModule
from qmm.decoders import ClassDecoder, EmbeddingDecoder, EmbeddingPrediction
from qmm.encoders import LinearCompressor, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, QuantumFusion
from qmm.retrieval import retrieve
from qmm.tasks import MultimodalRetrieval
from qmm.training import RunFolder
from qmm.types import Batch, Features, Padded

MakeTrainer = Callable[..., Trainer]
THREE = ("vision", "audio", "text")
SIZES = {"vision": 1, "audio": 1, "text": 2}


def model(modalities: tuple[str, ...] = THREE, fusion: Fusion | None = None, **decoder: Any) -> MultimodalModel:
    branches = {m: Branch(VectorEncoder(SIZES[m]), LinearCompressor(4)) for m in modalities}
    return MultimodalModel(fusion or QuantumFusion(2), EmbeddingDecoder(**{"dim": 8, **decoder}), **branches)


def batch_of(present: dict[str, list[bool]] | None = None, n: int = 6, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = {m: Padded(torch.randn(n, SIZES[m], generator=generator)) for m in THREE}
    flags = {m: torch.tensor((present or {}).get(m, [True] * n)) for m in THREE}
    return Batch(inputs, flags, {"label": torch.arange(n) % 3}, [f"s{i}" for i in range(n)])


class TestTask:
    def test_without_any_pair_it_is_zero_and_can_be_trained(self) -> None:
        task = MultimodalRetrieval(model(), pairs=[[["vision"], ["text"]]])
        batch = batch_of({"vision": [True] * 3 + [False] * 3, "text": [False] * 3 + [True] * 3})
        loss = task.model.losses(task(batch), batch)["decoder"]
        loss.backward()
        assert loss.item() == 0
        assert all(p.grad is None or not p.grad.any() for p in task.parameters())

    def test_default_pairs(self) -> None:
        three = MultimodalRetrieval(model())
        assert three.pairs == (("vision+audio", "text"), ("vision+text", "audio"), ("audio+text", "vision"))
        with_singles = MultimodalRetrieval(model(), singles=True).pairs
        assert with_singles == (*three.pairs, ("vision", "audio"), ("vision", "text"), ("audio", "text"))
        two = model(("vision", "text"))
        assert MultimodalRetrieval(two).pairs == MultimodalRetrieval(two, singles=True).pairs == (("vision", "text"),)
        named = MultimodalRetrieval(model(), pairs=[[["text", "vision"], ["audio"]]])
        assert named.sides == {"vision+text": ("vision", "text"), "audio": ("audio",)}  # in the order of the registers

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"pairs": [[["vision"], ["adio"]]]}, r"the model has no 'adio'; .* did you mean 'audio'\?"),
            ({"pairs": [["vision", "audio"]]}, "a pair is two lists of modalities"),
            ({"pairs": [[["vision"], []]]}, "a pair is two lists of modalities"),
            ({"pairs": [[["vision", "text"], ["text"]]]}, "a modality stands twice"),
            ({"pairs": []}, "`pairs` is empty"),
            ({"relevant": "class"}, "relevant is 'sample' or 'label', got 'class'"),
            ({"mixup": 0.5}, "set `mixup` to 0"),
        ],
    )
    def test_bad_settings(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            MultimodalRetrieval(model(), **arguments)

    def test_bad_models(self) -> None:
        branches = {m: Branch(VectorEncoder(SIZES[m]), LinearCompressor(4)) for m in THREE}
        classifier = MultimodalModel(ConcatFusion(2, 2), ClassDecoder(["a", "b"]), **branches)
        with pytest.raises(InputError, match="needs an EmbeddingDecoder, got ClassDecoder"):
            MultimodalRetrieval(classifier)
        with pytest.raises(InputError, match="needs two modalities or more, the model has vision alone"):
            MultimodalRetrieval(model(("vision",)))
        with pytest.raises(InputError, match=r"temperature of at least 0\.01"):
            EmbeddingDecoder(8, temperature=0.001)
        branches = {m: Branch(VectorEncoder(SIZES[m]), LinearCompressor(4), auxiliary=0.3) for m in THREE}
        with pytest.raises(InputError, match="an auxiliary read-out learns from classes"):
            MultimodalRetrieval(MultimodalModel(ConcatFusion(2, 2), EmbeddingDecoder(8), **branches))

    @pytest.mark.parametrize("fusion", [QuantumFusion(2), ConcatFusion(4, 4)], ids=["quantum", "concat"])
    def test_a_side_is_the_sample_without_its_other_modalities(self, fusion: Fusion) -> None:
        task = MultimodalRetrieval(model(fusion=fusion), singles=True).eval()
        batch = batch_of({"audio": [True, False, True, True, False, True]})
        views = task(batch).prediction
        for name, members in task.sides.items():
            flags = {m: batch.present[m] if m in members else torch.zeros(6).bool() for m in THREE}
            here = torch.stack(list(flags.values())).any(0)
            alone = Batch(
                {m: x.rows(here) if isinstance(x, Padded) else x for m, x in batch.inputs.items()},
                {m: flag[here] for m, flag in flags.items()}, {}, [],
            )  # fmt: skip
            assert views.sides[name].present.equal(here)
            torch.testing.assert_close(views.sides[name].embeddings[here], task.embed(alone))
            assert not views.sides[name].embeddings[~here].any()
        torch.testing.assert_close(views.sides["text"].embeddings.norm(dim=1), torch.ones(6))

    def test_what_is_not_of_a_side_has_no_influence_on_it(self) -> None:
        task = MultimodalRetrieval(model()).eval()
        batch = batch_of()
        other = batch._replace(inputs={**batch.inputs, "text": Padded(torch.full((6, 2), 9.0))})
        before, after = task(batch).prediction.sides, task(other).prediction.sides
        assert before["vision+audio"].embeddings.equal(after["vision+audio"].embeddings)
        assert not torch.allclose(before["text"].embeddings, after["text"].embeddings)

    def test_each_modality_is_encoded_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[VectorEncoder] = []
        original = VectorEncoder.forward

        def counted(self: VectorEncoder, *inputs: Any) -> Features:
            calls.append(self)
            return original(self, *inputs)

        monkeypatch.setattr(VectorEncoder, "forward", counted)
        MultimodalRetrieval(model(), singles=True)(batch_of())
        assert len(calls) == 3

    def test_only_the_read_out_counts_as_reader(self, make_trainer: MakeTrainer, related: VectorsDataModule) -> None:
        task = MultimodalRetrieval(model(), weight_decay=0.3)
        decoder = task.model.decoder
        assert sum(p.numel() for p in decoder.readers()) == decoder.count_parameters(task.model.fusion.out_features)
        make_trainer(max_steps=1, limit_val_batches=0).fit(task, datamodule=related)
        groups = {g["name"]: g for g in task.optimizers().param_groups}  # type: ignore[union-attr]
        assert any(p is decoder.log_scale for p in groups["vectors"]["params"])
        assert groups["vectors"]["weight_decay"] == 0
        everything = [p for group in groups.values() for p in group["params"]]
        assert len(everything) == sum(p.requires_grad for p in task.parameters())


@pytest.fixture
def related(tmp_path: Path) -> VectorsDataModule:
    """Picture and sound each tell one of two numbers; the text tells both. Every class is a quadrant."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-1, 1, size=(2, 360))
    told = {"vision": (a,), "audio": (b,), "text": (a, b)}
    vectors: dict[str, Any] = {
        m: np.stack(numbers, 1) + 0.02 * rng.normal(size=(360, len(numbers))) for m, numbers in told.items()
    }
    split = np.array(["train"] * 240 + ["val"] * 120)
    np.savez(tmp_path / "v.npz", **vectors, label=2 * (a > 0) + (b > 0), split=split)
    columns = {m: m for m in THREE}
    return VectorsDataModule(str(tmp_path / "v.npz"), columns, classes=["--", "-+", "+-", "++"], batch_size=40)


class TestTraining:
    def test_the_fusion_of_two_finds_the_third_better_than_either(
        self, related: VectorsDataModule, make_trainer: MakeTrainer, tmp_path: Path
    ) -> None:
        torch.manual_seed(0)
        task = MultimodalRetrieval(model(), singles=True, learning_rate=0.05)
        run = make_trainer(RunFolder(str(tmp_path / "run")), epochs=20, limit_val_batches=0)
        run.fit(task, datamodule=related)
        scores = make_trainer(RunFolder(str(tmp_path / "run"))).validate(task, related, verbose=False)[0]
        both, one, other = (scores[f"val/map_{side}_to_text"] for side in ("vision_audio", "vision", "audio"))
        assert both > 0.3 > 2 * min(one, other)
        assert both > 2 * max(one, other) > 3 * scores["val/chance_map"]
        assert scores["val/recall_10_vision_audio_to_text"] > 0.7 > 5 * scores["val/chance_recall_10"]
        assert scores["val/median_rank_vision_audio_to_text"] <= 5 < 60 <= scores["val/chance_median_rank"]
        self.check_report(tmp_path / "run" / "val", scores)

    def check_report(self, folder: Path, scores: Any) -> None:
        table = pd.read_parquet(folder / "predictions.parquet")
        assert len(table) == 120
        assert (folder / "recall.png").is_file()
        for way in ("vision_audio_to_text", "text_to_vision_audio", "audio_to_vision"):
            ranks = table[f"rank_{way}"]
            assert (ranks <= 5).mean() == pytest.approx(scores[f"val/recall_5_{way}"])
            assert ranks.median() == pytest.approx(scores[f"val/median_rank_{way}"], abs=0.5)
        assert table["right"].mean() == pytest.approx(scores["val/recall_1_vision_audio_to_text"])
        assert 1 - table["error"].mean() == pytest.approx(scores["val/map_vision_audio_to_text"], abs=1e-5)
        found = table.set_index("id")
        best = found.loc[found["best_vision_audio_to_text"], "target"].tolist()
        assert best == table["prediction"].tolist()
        asked, sought = (np.stack(table[f"embedding_{side}"].tolist()) for side in ("vision+audio", "text"))
        assert table["id"].iloc[retrieve(asked, sought, 1).indices[:, 0].tolist()].tolist() == list(
            found["best_vision_audio_to_text"]
        )

    def test_relevance_by_class(self, related: VectorsDataModule, make_trainer: MakeTrainer) -> None:
        torch.manual_seed(0)
        task = MultimodalRetrieval(model(), [[["vision", "audio"], ["text"]]], relevant="label", learning_rate=0.03)
        run = make_trainer(epochs=8)
        run.fit(task, datamodule=related)
        assert run.callback_metrics["val/recall_1"] > 0.7  # chance is a quarter, and one alone tells a half
        assert not any("_to_" in name for name in run.callback_metrics)  # curves are means over directions
        assert {"val/map", "val/median_rank", "val/recall_10"} <= set(run.callback_metrics)

    def test_resumed_is_uninterrupted(
        self, related: VectorsDataModule, make_trainer: MakeTrainer, stop_after: Callable[[int], Callback], tmp_path: Path
    ) -> None:
        weights = []
        for stop in (4, 2):
            torch.manual_seed(0)
            task = MultimodalRetrieval(model(), learning_rate=0.05)
            run = make_trainer(epochs=4, limit_val_batches=0)
            if stop == 4:
                run.fit(task, datamodule=related)
            else:
                half = make_trainer(stop_after(2), epochs=4, limit_val_batches=0)
                half.fit(task, datamodule=related)
                half.save_checkpoint(tmp_path / "half.ckpt")
                task = MultimodalRetrieval(model(), learning_rate=0.05)
                run.fit(task, datamodule=related, ckpt_path=str(tmp_path / "half.ckpt"), weights_only=True)
            weights.append(torch.cat([p.detach().ravel() for p in task.parameters()]))
        torch.testing.assert_close(*weights)

    def test_checkpoint_embeds_whatever_there_is(
        self, related: VectorsDataModule, make_trainer: MakeTrainer, tmp_path: Path
    ) -> None:
        task = MultimodalRetrieval(model(dim=5), pairs=[[["vision", "audio"], ["text"]]], learning_rate=0.05)
        run = make_trainer(limit_val_batches=0)
        run.fit(task, datamodule=related)
        run.save_checkpoint(tmp_path / "task.ckpt")
        other = load(tmp_path / "task.ckpt")
        assert other.pairs == task.pairs
        batch = batch_of({"text": [False] * 6, "audio": [True, False] * 3})
        with torch.no_grad():
            predictions = other.predict_step(batch, 0)
            torch.testing.assert_close(torch.tensor([p.embedding for p in predictions]), task.eval().embed(batch))
        assert all(isinstance(p, EmbeddingPrediction) and len(p.embedding) == 5 for p in predictions)
        assert np.linalg.norm(predictions[1].embedding) == pytest.approx(1, abs=1e-5)

    def test_classes_are_needed_for_relevance_by_class(self, related: VectorsDataModule, make_trainer: MakeTrainer) -> None:
        values = VectorsDataModule(related.config_arguments()["path"], {m: m for m in THREE}, regression=True)
        with pytest.raises(InputError, match="`relevant: label` needs classes, and these data have none"):
            make_trainer().fit(MultimodalRetrieval(model(), relevant="label"), datamodule=values)


def test_from_the_command_line(qmm: Any, repository: Path, tmp_path: Path) -> None:
    """The embedded configuration, made small, with missing modalities."""
    configs = [repository / "configs" / "quickstart_retrieval.yaml", repository / "tests" / "tiny.yaml"]
    where = ["--runs", tmp_path, "--trainer.enable_progress_bar", "false"]
    qmm("fit", *(flag for path in configs for flag in ("--config", path)), *where, "--name", "run")
    folder, checkpoint = tmp_path / "run" / "test", tmp_path / "run" / "checkpoints" / "last.ckpt"
    report = json.loads((folder / "metrics.json").read_text())
    assert {"recall_1", "chance_recall_1", "map_vision_audio_to_text", "recall_10_vision_to_text"} <= set(report["metrics"])
    assert 0 < report["metrics"]["recall_10"] <= 1
    table = pd.read_parquet(folder / "predictions.parquet")
    missing = table["embedding_text"].isna()
    assert 0 < missing.sum() < len(table) == 24
    assert table.loc[missing, "rank_vision_audio_to_text"].isna().all()
    assert {"recall.png", "examples.png"} <= {path.name for path in folder.iterdir()}
    qmm("test", "--ckpt_path", checkpoint, *where, "--name", "again", "--pictures", "false")
    repeated = json.loads((tmp_path / "again" / "test" / "metrics.json").read_text())
    assert repeated["metrics"] == pytest.approx(report["metrics"], abs=1e-5)
    line = json.loads(qmm("predict", "--ckpt_path", checkpoint, "--text", "birds sing in a forest by day", "--json").stdout)
    assert np.linalg.norm(line["embedding"]) == pytest.approx(1, abs=1e-5)
    shown = qmm("predict", "--ckpt_path", checkpoint, "--text", "birds sing in a forest by day").stdout.split()
    np.testing.assert_allclose([float(number) for number in shown], line["embedding"], atol=1e-3)
