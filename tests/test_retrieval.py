"""The loss and the ranks of embeddings, on tensors alone; tests/tasks/test_retrieval.py has the model around them."""

import multiprocessing
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from open_clip.loss import ClipLoss
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, distributed
from torch.nn import functional as F

import qmm.retrieval
from qmm.decoders import EmbeddingDecoder
from qmm.decoders.embeddings import View, Views
from qmm.errors import InputError
from qmm.retrieval import RetrievalMetrics, chance, content_keys, rank, retrieve
from qmm.types import Batch, Features, Padded


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
