"""FeatureCache: it returns what was put, whoever writes, and whatever is killed or damaged."""

import logging
import multiprocessing
import os
import pickle
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmm.encoders import LogMel, TextEncoder, VectorEncoder, ViTEncoder
from qmm.encoders.audio import ASTEncoder
from qmm.errors import InputError
from qmm.feature_cache import FeatureCache, encoder_fingerprint
from qmm.types import Features

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


def row(key: str) -> torch.Tensor:
    """The features that every writer computes for a key."""
    return torch.randn(6, generator=torch.Generator().manual_seed(int(key)))


def features(keys: list[str]) -> Features:
    return Features(torch.stack([row(key) for key in keys]))


@given(batches=st.lists(st.lists(st.integers(0, 50).map(str), min_size=1, max_size=8), max_size=8))
@settings(max_examples=25, deadline=None)
def test_round_trip(batches: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = FeatureCache(folder, "f")
    for batch in batches:
        cache.put(batch, features(batch))
    known = {key for batch in batches for key in batch}
    for again in (cache, FeatureCache(folder, "f"), pickle.loads(pickle.dumps(cache))):
        assert len(again) == len(known)
        assert all(torch.equal(again[key].pooled, row(key)) for key in known)
        assert again.missing(map(str, range(51))) == [k for k in map(str, range(51)) if k not in known]
    assert "none" not in cache
    with pytest.raises(KeyError):
        cache["none"]


def test_tokens_lose_their_padding_only(tmp_path: Path) -> None:
    tokens, mask = torch.randn(2, 5, 3), torch.tensor([[1, 0, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    cache = FeatureCache(tmp_path, "f", tokens=True)
    cache.put(["a", "b"], Features(tokens[:, 0], tokens, mask))
    got = FeatureCache(tmp_path, "f", tokens=True)["a"]
    assert got.tokens is not None
    assert got.mask is not None
    assert torch.equal(got.tokens, tokens[0, :3])
    assert got.mask.tolist() == [True, False, True]
    assert cache["b"].tokens.shape == (5, 3)  # type: ignore[union-attr]
    assert FeatureCache(tmp_path, "f").missing(["a"]) == ["a"]  # without tokens it is another cache
    cache.put(["pooled"], Features(torch.ones(1, 3)))  # of an encoder that has none
    assert FeatureCache(tmp_path, "f", tokens=True)["pooled"].tokens is None
    with pytest.raises(InputError, match="2 keys for 1 rows"):
        cache.put(["c", "d"], Features(torch.zeros(1, 3)))


def test_what_is_returned_may_be_changed(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "f")
    cache.put(["1"], features(["1"]))
    cache["1"].pooled.zero_()
    assert torch.equal(cache["1"].pooled, row("1"))


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "garbage", "not ours"])
def test_damaged_shards_are_computed_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    cache = FeatureCache(tmp_path, "f")
    cache.put(["1", "2"], features(["1", "2"]))
    (hurt,) = cache.folder.glob("*.safetensors")
    cache.put(["3"], features(["3"]))
    content = hurt.read_bytes()
    flipped = content[:-5] + bytes([content[-5] ^ 4]) + content[-4:]
    other = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"
    hurt.write_bytes({"truncate": content[:-9], "empty": b"", "flip": flipped, "garbage": b"x" * 99, "not ours": other}[damage])
    with caplog.at_level(logging.WARNING):
        again = FeatureCache(tmp_path, "f")
    assert hurt.name in caplog.text
    assert again.missing(["1", "2", "3"]) == ["1", "2"]
    again.put(["1", "2"], features(["1", "2"]))
    caplog.clear()
    assert FeatureCache(tmp_path, "f").missing(["1", "2", "3"]) == []
    assert not caplog.records


def _write(folder: str, keys: range) -> None:
    cache = FeatureCache(folder, "f")
    for key in keys:
        cache.put([str(key)], features([str(key)]))


FORK = multiprocessing.get_context("fork")
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")  # fresh interpreters would be slow


@forks
def test_two_processes_write_at_once(tmp_path: Path) -> None:
    writers = [FORK.Process(target=_write, args=(str(tmp_path), keys)) for keys in (range(60), range(30, 90))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    cache = FeatureCache(tmp_path, "f")
    assert len(cache) == 90
    assert all(torch.equal(cache[str(k)].pooled, row(str(k))) for k in range(90))


@forks
def test_a_killed_writer_leaves_whole_shards_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Killed by SIGKILL at random moments; what is there is right, and nothing is reported damaged."""
    rng = random.Random(0)
    for _ in range(6):
        writer = FORK.Process(target=_write, args=(str(tmp_path), range(10_000)))
        writer.start()
        time.sleep(rng.uniform(0.05, 0.2))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        with caplog.at_level(logging.WARNING):
            cache = FeatureCache(tmp_path, "f")
        assert not caplog.records
        assert all(torch.equal(cache[key].pooled, row(key)) for key in map(str, range(len(cache))))
    assert len(cache) > 0


def test_stale_leftovers_are_swept(tmp_path: Path) -> None:
    folder = FeatureCache(tmp_path, "f").folder
    old, new = folder / "old.tmp", folder / "new.tmp"
    for path in (old, new):
        path.write_bytes(b"half a shard")
    os.utime(old, (0, 0))
    FeatureCache(tmp_path, "f")
    assert not old.exists()
    assert new.exists()  # its writer may be alive


def test_a_folder_that_cannot_be_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another"):
        FeatureCache(tmp_path / "file", "f")


def test_fingerprint_follows_everything_that_decides_the_features() -> None:
    def vit(**arguments: object) -> ViTEncoder:
        torch.manual_seed(0)
        return ViTEncoder({**TINY, "image_size": 16, "patch_size": 8}, tuning="frozen", **arguments)

    def ast(**arguments: object) -> ASTEncoder:
        torch.manual_seed(0)
        return ASTEncoder(TINY, front_end=LogMel(seconds=1.0, **arguments))

    same = encoder_fingerprint(vit())
    assert same == encoder_fingerprint(vit())
    changed = vit()
    changed.model.layernorm.weight.data[3] += 1e-6
    others = [
        changed,
        vit(fit="squash"),
        vit(mean=[0.4, 0.5, 0.5]),
        vit(pooling="mean"),
        ast(),
        ast(f_min=20.0),
        TextEncoder(TINY),
    ]
    prints = [same, *map(encoder_fingerprint, others)]
    assert len(set(prints)) == len(prints)
    learned = VectorEncoder(3)
    before = encoder_fingerprint(learned)
    learned(torch.randn(9, 3))
    assert encoder_fingerprint(learned) != before
