import json
import multiprocessing
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lightning import Callback, Trainer
from open_clip.loss import ClipLoss
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, distributed
from torch.nn import functional as F

import qmm.retrieval
from qmm import Branch, MultimodalModel, load
from qmm.contracts import Fusion
from qmm.data import VectorsDataModule
from qmm.data.descriptions import WORDS
from qmm.data.scenes import FACTS, SCENES, ScenesSource
from qmm.decoders import ClassDecoder, EmbeddingDecoder, EmbeddingPrediction
from qmm.decoders.embeddings import View, Views
from qmm.encoders import LinearCompressor, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion, QuantumFusion
from qmm.retrieval import RetrievalMetrics, chance, content_keys, rank, retrieve
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


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def view(embeddings: Tensor, keys: Tensor | None = None, present: Tensor | None = None) -> View:
    n = len(embeddings)
    there = torch.ones(n, dtype=torch.bool) if present is None else present
    return View(embeddings, there, torch.arange(n) if keys is None else keys)


class TestLoss:
    def test_is_that_of_clip_where_every_sample_is_its_own(self) -> None:
        a, b, decoder = unit(7, 8), unit(7, 8, seed=1), EmbeddingDecoder(8, temperature=0.2)
        ours = decoder.loss(Views({"a": view(a), "b": view(b)}, (("a", "b"),)), {})
        torch.testing.assert_close(ours, ClipLoss()(a, b, torch.tensor(5.0)))

    def test_of_several_that_are_right_is_the_mean_of_their_log_probabilities(self) -> None:
        a, b, labels = unit(6, 4), unit(6, 4, seed=1), [0, 0, 1, 2, 2, 2]
        expected = []
        for x, y in ((a, b), (b, a)):
            for i in range(6):
                exponents = [float(x[i] @ y[j]) / 0.1 for j in range(6)]
                total = np.logaddexp.reduce(exponents)
                expected.append(np.mean([total - exponents[j] for j in range(6) if labels[i] == labels[j]]))
        keys = torch.tensor(labels)
        ours = EmbeddingDecoder(4, 0.1).loss(Views({"a": view(a, keys), "b": view(b, keys)}, (("a", "b"),)), {})
        assert ours.item() == pytest.approx(np.mean(expected), rel=1e-5)

    def test_of_one_view_is_supervised_contrastive(self) -> None:
        """Equation 2 of arXiv:2004.11362, in loops; a sample without a class, and one without partner, are no anchors."""
        x, labels, found = unit(6, 4), torch.tensor([0, 0, 1, 1, 2, -1]), []
        for i in range(4):
            others = [j for j in range(6) if j != i]
            total = torch.logsumexp(torch.stack([x[i] @ x[j] / 0.5 for j in others]), 0)
            found += [total - x[i] @ x[j] / 0.5 for j in others if labels[j] == labels[i]]
        ours = EmbeddingDecoder(4, 0.5).loss(x, {"label": labels})
        torch.testing.assert_close(ours, torch.stack(found).mean())

    def test_same_things_do_not_repel_each_other(self) -> None:
        """Two samples have one sentence: nothing is gained by telling it from itself."""
        a, keys = torch.eye(4)[[0, 0, 1]], torch.tensor([5, 5, 6])
        decoder = EmbeddingDecoder(4, 0.01)
        same = decoder.loss(Views({"a": view(a), "b": view(a, keys)}, (("a", "b"),)), {})
        other = decoder.loss(Views({"a": view(a), "b": view(a)}, (("a", "b"),)), {})
        assert same.item() == pytest.approx(2 / 3 * np.log(2), abs=1e-5)  # shared out evenly between the two
        assert other.item() == pytest.approx(2 / 3 * np.log(2), abs=1e-5)
        a = a.clone().requires_grad_()
        decoder.loss(Views({"a": view(a), "b": view(a, keys)}, (("a", "b"),)), {}).backward()
        assert a.grad is not None
        assert a.grad.abs().max() < 1e-4

    def test_rows_without_the_other_side_take_no_part(self) -> None:
        a, b, decoder = unit(5, 4), unit(5, 4, seed=1), EmbeddingDecoder(4)
        there = torch.tensor([True, True, False, True, True])
        some = Views({"a": view(a), "b": view(b, present=there)}, (("a", "b"),))
        fewer = Views({"a": view(a[there]), "b": view(b[there])}, (("a", "b"),))
        torch.testing.assert_close(decoder.loss(some, {}), decoder.loss(fewer, {}))

    def test_without_any_pair_it_is_zero_and_can_be_trained(self) -> None:
        task = MultimodalRetrieval(model(), pairs=[[["vision"], ["text"]]])
        batch = batch_of({"vision": [True] * 3 + [False] * 3, "text": [False] * 3 + [True] * 3})
        loss = task.model.losses(task(batch), batch)["decoder"]
        loss.backward()
        assert loss.item() == 0
        assert all(p.grad is None or not p.grad.any() for p in task.parameters())

    def test_temperature_is_trained_within_bounds(self) -> None:
        decoder = EmbeddingDecoder(4, temperature=0.01)
        decoder.log_scale.data += 3
        a = unit(5, 4).requires_grad_()
        decoder.loss(Views({"a": view(a), "b": view(unit(5, 4, seed=1))}, (("a", "b"),)), {}).backward()
        assert decoder.log_scale.exp().item() == pytest.approx(100)
        assert decoder.log_scale.grad is not None
        assert decoder.log_scale.grad != 0


@st.composite
def ranked(draw: Any) -> tuple[Tensor, Tensor, Tensor]:
    n, seed = draw(st.integers(2, 12)), draw(st.integers(0, 10**6))
    kinds = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return unit(n, 3, seed=seed), unit(n, 3, seed=seed + 1), torch.tensor(kinds)


class TestRanks:
    @settings(deadline=None, max_examples=50)
    @given(ranked())
    def test_against_scikit_learn(self, drawn: tuple[Tensor, Tensor, Tensor]) -> None:
        queries, candidates, labels = drawn
        ranks = rank(queries, candidates, [labels])
        for i, query in enumerate(queries):
            near = (candidates @ query).numpy()
            assume(np.diff(np.sort(near)).min() > 1e-5)
            right = (labels == labels[i]).numpy()
            assert ranks.first[i] == 1 + (near > near[right].max()).sum()
            assert float(ranks.precision[i]) == pytest.approx(average_precision_score(right, near), abs=1e-5)
            assert ranks.relevant[i] == right.sum()
            assert ranks.best[i] == near.argmax()

    def test_embeddings_that_are_all_alike_gain_nothing(self) -> None:
        same, labels = unit(1, 4).expand(600, 4), torch.arange(600) % 50
        same = same + 1e-8 * torch.randn(600, 4)
        ranks, expected = rank(same, same, [labels]), chance(torch.full((600,), 12), 600)
        assert ranks.first.float().median() == pytest.approx(expected.median_rank, rel=0.2)
        assert ranks.precision.mean() == pytest.approx(expected.precision, rel=0.1)
        for one, other in zip(ranks, rank(same, same, [labels]), strict=True):
            assert one.equal(other)

    def test_one_thing_in_several_samples_is_right_as_often_as_they_are(self) -> None:
        """Each sound stands in two samples, of two classes; which is meant, nobody can tell."""
        sounds, labels = unit(200, 8).repeat(2, 1), torch.arange(400)
        ranks = rank(sounds, sounds, [labels])
        assert ((ranks.first == 1) | (ranks.first == 2)).all()
        assert (ranks.first == 1).float().mean() == pytest.approx(0.5, abs=0.08)

    def test_any_of_the_keys_makes_a_candidate_right(self) -> None:
        ranks = rank(torch.eye(3), torch.eye(3), [torch.tensor([0, 0, 1]), torch.tensor([5, 6, 6])])
        assert ranks.relevant.tolist() == [2, 3, 2]

    def test_chunks_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        a, b, labels = unit(20, 4), unit(20, 4, seed=1), torch.arange(20) % 7
        whole = rank(a, b, [labels])
        found = retrieve(a, b, 3)
        monkeypatch.setattr(qmm.retrieval, "_CHUNK", 3)
        for one, other in zip((*whole, *found), (*rank(a, b, [labels]), *retrieve(a, b, 3)), strict=True):
            torch.testing.assert_close(one, other)

    @pytest.mark.parametrize(("n", "relevant"), [(4, 1), (5, 2), (6, 3), (3, 3), (1, 1)])
    def test_chance_is_the_mean_over_all_orders(self, n: int, relevant: int) -> None:
        places = list(combinations(range(1, n + 1), relevant))
        first = np.array([place[0] for place in places])
        expected = chance(torch.full((3,), relevant), n)
        np.testing.assert_allclose(expected.recall, [(first <= k).mean() for k in range(1, n + 1)], atol=1e-6)
        precision = np.mean([np.mean([(i + 1) / p for i, p in enumerate(place)]) for place in places])
        assert expected.precision == pytest.approx(precision)
        assert expected.median_rank == next(k for k in range(1, n + 1) if (first <= k).mean() >= 0.5)

    def test_random_embeddings_score_what_chance_says(self) -> None:
        labels = torch.arange(400) % 40
        views = Views({"a": view(unit(400, 16), labels), "b": view(unit(400, 16, seed=1), labels)}, (("a", "b"),))
        metric = RetrievalMetrics(views.pairs)
        metric.update(views, [str(i) for i in range(400)])
        scores = {name: float(value) for name, value in metric.compute().items()}
        for name, slack in (("recall_1", 0.03), ("recall_10", 0.06), ("map", 0.02), ("median_rank", 8)):
            assert scores[name] == pytest.approx(scores[f"chance_{name}"], abs=slack)

    def test_retrieve_against_scikit_learn(self) -> None:
        queries, candidates = np.random.default_rng(0).normal(size=(5, 6)), np.random.default_rng(1).normal(size=(30, 6))
        distances, indices = NearestNeighbors(n_neighbors=4, metric="cosine").fit(candidates).kneighbors(queries)
        found = retrieve(queries, candidates.tolist(), 4)
        assert found.indices.tolist() == indices.tolist()
        np.testing.assert_allclose(found.similarities, 1 - distances, atol=1e-5)
        assert retrieve(queries, candidates[:2], 9).indices.shape == (5, 2)
        assert retrieve(torch.empty(0, 6), candidates, 2).indices.shape == (0, 2)
        with pytest.raises(InputError, match=r"queries \(5, 6\), candidates \(30, 5\)"):
            retrieve(queries, candidates[:, :5])


class TestKeys:
    def test_say_what_is_the_same_whatever_the_batch(self) -> None:
        words = torch.tensor([[1, 2, 3, 0], [1, 2, 3, 9], [1, 2, 3, 0]])
        present = {"text": torch.tensor([True, True, True])}
        keys = content_keys(Batch({"text": Padded(words, torch.tensor([3, 3, 4]))}, present, {}, list("abc")), ["text"])
        assert keys[0] == keys[1] != keys[2]  # what stands beyond a row's length is nothing
        short = Batch({"text": Padded(words[:1, :3], torch.tensor([3]))}, {"text": torch.tensor([True])}, {}, ["a"])
        assert content_keys(short, ["text"]) == keys[0]

    def test_tell_missing_modalities_and_cached_features_apart(self) -> None:
        features = Features(torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]))
        sound = Padded(torch.zeros(3, 2))
        flags = {"vision": torch.tensor([True] * 3), "audio": torch.tensor([True, True, False])}
        batch = Batch({"vision": features, "audio": sound}, flags, {}, list("abc"))
        both = content_keys(batch, ["vision", "audio"]).tolist()
        assert both[0] == both[1] != both[2]
        assert len(set(content_keys(batch, ["vision"]).tolist())) == 1
        nobody = batch._replace(inputs={**batch.inputs, "audio": None}, present={**flags, "audio": torch.zeros(3).bool()})
        assert content_keys(nobody, ["audio"]).tolist() == [content_keys(nobody, ["audio"])[0]] * 3


class TestTask:
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

    def test_resumed_is_uninterrupted(self, related: VectorsDataModule, make_trainer: MakeTrainer, tmp_path: Path) -> None:
        weights = []
        for stop in (4, 2):
            torch.manual_seed(0)
            task = MultimodalRetrieval(model(), learning_rate=0.05)
            run = make_trainer(epochs=4, limit_val_batches=0)
            if stop == 4:
                run.fit(task, datamodule=related)
            else:
                half = make_trainer(Stop(2), epochs=4, limit_val_batches=0)
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


def score_share(place: int, folder: Path, sides: dict[str, View]) -> None:
    torch.set_num_threads(1)  # the threads that the parent may have are not there in a fork
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=place, world_size=2)
    rows = [[0, 2, 4, 6, 8], [1, 3, 5, 7, 0]][place]  # a sampler repeats one to make even shares
    metric = RetrievalMetrics((("a", "b"),))
    share = {name: View(*(part[rows] for part in side)) for name, side in sides.items()}
    metric.update(Views(share, metric.pairs), [str(i) for i in rows])
    torch.save({name: value.item() for name, value in metric.compute().items()}, folder / f"{place}.pt")
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")  # fresh interpreters would be slow
def test_metrics_over_two_processes_are_those_over_one(tmp_path: Path) -> None:
    sides = {"a": view(unit(9, 4)), "b": view(unit(9, 4, seed=1), present=torch.arange(9) != 4)}
    fork = multiprocessing.get_context("fork")
    shares = [fork.Process(target=score_share, args=(place, tmp_path, sides)) for place in (0, 1)]
    for share in shares:
        share.start()
    for share in shares:
        share.join(60)
    assert [share.exitcode for share in shares] == [0, 0]
    alone = RetrievalMetrics((("a", "b"),))
    alone.update(Views(sides, alone.pairs), [str(i) for i in range(9)])
    expected = {name: value.item() for name, value in alone.compute().items()}
    for place in (0, 1):
        assert torch.load(tmp_path / f"{place}.pt") == pytest.approx(expected)
    assert expected["chance_recall_1"] == pytest.approx(1 / 8)


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


def test_scenes_can_tell_all_in_their_text() -> None:
    plain, told = (ScenesSource({"train": 24}, text=text) for text in ("time", "caption"))
    assert all(torch.equal(plain.raw("vision", row), told.raw("vision", row)) for row in range(3))
    for row in range(24):
        scene = SCENES[told.classes[told.targets["label"][row]]]  # type: ignore[index]
        for fact, modality in FACTS.items():
            said = {
                value for value, phrases in WORDS[fact].items() if any(phrase in told.raw("text", row) for phrase in phrases)
            }
            assert said == {getattr(scene, modality)}
        assert plain.key("text", row) != told.key("text", row)
        assert plain.key("audio", row) == told.key("audio", row)
    with pytest.raises(InputError, match="is told what `captions` and `questions` ask of it"):
        ScenesSource({"train": 1}, text="caption", captions=True)
    with pytest.raises(InputError, match="expected 'time' or 'caption', got 'place'"):
        ScenesSource({"train": 1}, text="place")


class Stop(Callback):
    """Ends a training after some epochs, as an interrupt would."""

    def __init__(self, after: int):
        self.after = after

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.after
