"""Which contents are nearly the same. Candidates by a fingerprint, confirmed by what they hold."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.metrics import pairwise_distances_chunked
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from qmm.checking.contents import Content, Contents, audible

HASH_BITS = 8
"""Of a picture's 63, so many may differ; noise, JPEG and other sizes turn fewer."""
PICTURE = 0.98
"""Least correlation of two thumbnails (32 x 32, colours)."""
SOUND_CANDIDATE = 0.9
"""Least cosine of two fingerprints; copies reach it, and few sounds of one kind."""
SOUND = 0.95
"""Least correlation of two waveforms at their best shift: it forgives noise of 10 dB below the sound. A word that one speaker
says twice reaches 0.93."""
SENTENCE = 0.8
"""Least Jaccard similarity of two sentences' sets of four-letter pieces."""
VECTOR = 0.999
"""Least cosine of two vectors, columns standardised."""
MIN_WIDTH = 8
"""Vectors of fewer numbers are alike by chance."""
MOST = 100_000
"""Pairs that are listed, and candidates among sounds that are confirmed; a set with more is full of the same thing."""

_PERMUTATIONS, _BANDS = 126, 21  # of sentences as alike as SENTENCE, 2 in 1,000 are missed; fewer the more they are alike
_BUCKET = 1000  # sentences that one band takes for the same, of which all pairs are looked at
_BLOCK = 4096  # pairs confirmed at once
_PRIME = np.uint64(2**31 - 1)


Indices = NDArray[np.int64]


class Pair(NamedTuple):
    """Two contents that are alike."""

    first: int
    second: int
    similarity: float
    """1 is equal; of what, depends on the modality."""


class Alike(NamedTuple):
    """What was found in one modality."""

    pairs: list[Pair]
    """The nearest first."""
    cut: bool
    """Whether there were more candidates than were looked at."""


def find_alike(contents: Contents, load: Callable[[int], Any]) -> Alike:
    """`load`: row -> raw content. Blank contents, and those of an unknown kind, are like nothing."""
    usable = [index for index, item in enumerate(contents.items) if item.fingerprint is not None]
    items = [contents.items[index] for index in usable]
    if len(items) < 2:
        return Alike([], False)
    if contents.kind == "picture":
        found = _pictures(items)
    elif contents.kind == "sound":
        found = _sounds(items, load)
    elif contents.kind == "sentence":
        found = similar_sentences([item.fingerprint for item in items])
    else:
        found = _vectors(items)
    pairs = [Pair(usable[a], usable[b], similarity) for a, b, similarity in found.pairs]
    return Alike(sorted(pairs, key=lambda pair: -pair.similarity), found.cut)


def _pictures(items: list[Content]) -> Alike:
    thumbnails = np.stack([_unit(item.detail) for item in items])

    def confirm(first: Indices, second: Indices) -> NDArray[Any]:
        similarity = np.einsum("nd,nd->n", thumbnails[first], thumbnails[second])
        return np.where(similarity >= PICTURE, similarity, np.nan)

    hashes = np.stack([item.fingerprint for item in items])
    return _by_cosine(hashes, 1 - 2 * HASH_BITS / 63, "comparing pictures", confirm)


def _sounds(items: list[Content], load: Callable[[int], Any]) -> Alike:
    candidates = _by_cosine(np.stack([item.fingerprint for item in items]), SOUND_CANDIDATE, "comparing sounds")
    heard: dict[int, NDArray[np.float32]] = {}
    confirmed = []
    for a, b, _ in tqdm(sorted(candidates.pairs), "confirming sounds", unit="pair", leave=False, delay=1):
        for index in (a, b):
            if index not in heard:
                raw = load(items[index].rows[0])
                heard[index] = audible(raw.waveform.numpy(), raw.sample_rate)
        similarity = float(np.abs(correlate(heard[a], heard[b], method="fft")).max())
        if similarity >= SOUND:
            confirmed.append(Pair(a, b, similarity))
        for done in [index for index in heard if index < a]:  # pairs are sorted: nobody asks for these again
            del heard[done]
    return Alike(confirmed, candidates.cut)


def _vectors(items: list[Content]) -> Alike:
    vectors = np.stack([item.fingerprint for item in items])
    if vectors.shape[1] < MIN_WIDTH:
        return Alike([], False)
    return _by_cosine(StandardScaler().fit_transform(vectors), VECTOR, "comparing vectors")


def similar_sentences(sentences: list[str]) -> Alike:
    """MinHash with bands (doi:10.1109/SEQUEN.1997.666900), then the Jaccard similarity itself."""
    vectorizer = HashingVectorizer(analyzer="char_wb", ngram_range=(4, 4), n_features=2**20, binary=True, norm=None)
    pieces = abs(vectorizer.transform(sentences)).tocsr()
    pieces.data[:] = 1
    sizes = np.diff(pieces.indptr)
    some = np.flatnonzero(sizes)
    if len(some) < 2:
        return Alike([], False)
    pieces, sizes = pieces[some], sizes[some]
    codes = _signatures(pieces.indices.astype(np.uint64), pieces.indptr[:-1])
    seen, pairs, cut = np.empty(0, dtype=np.int64), list[Pair](), False
    for band in tqdm(np.split(codes, _BANDS), "comparing sentences", leave=False, delay=1):
        keys, full = _in_buckets(band)
        new = np.setdiff1d(keys, seen)
        seen, cut = np.union1d(seen, new), cut or full or len(pairs) > MOST
        for block in np.split(new, range(_BLOCK, len(new), _BLOCK)) if len(pairs) <= MOST else ():
            a, b = np.divmod(block, len(some))
            common = np.asarray(pieces[a].multiply(pieces[b]).sum(axis=1)).ravel()
            jaccard = common / (sizes[a] + sizes[b] - common)
            pairs += [Pair(int(some[a[i]]), int(some[b[i]]), float(jaccard[i])) for i in np.flatnonzero(jaccard >= SENTENCE)]
    return Alike(pairs[:MOST], cut or len(pairs) > MOST)


def _in_buckets(band: NDArray[np.uint64]) -> tuple[Indices, bool]:
    """Pairs of equal columns of (rows, N), as first x N + second; whether a bucket was too full to take all of it."""
    _, bucket = np.unique(band, axis=1, return_inverse=True)
    order = np.argsort(bucket, kind="stable")
    keys, full = [np.empty(0, dtype=np.int64)], False
    for own in np.split(order, np.flatnonzero(np.diff(bucket[order])) + 1):
        full, own = full or len(own) > _BUCKET, own[:_BUCKET]
        first, second = np.triu_indices(len(own), 1)
        keys.append(own[first] * band.shape[1] + own[second])
    return np.concatenate(keys), full


def _signatures(pieces: NDArray[np.uint64], starts: NDArray[Any]) -> NDArray[np.uint64]:
    """(permutations, N): the least of each sentence's pieces under so many random orders."""
    rng = np.random.default_rng(0)
    factors = rng.integers(1, int(_PRIME), _PERMUTATIONS, dtype=np.uint64)
    offsets = rng.integers(0, int(_PRIME), _PERMUTATIONS, dtype=np.uint64)
    orders = ((factor * pieces + offset) % _PRIME for factor, offset in zip(factors, offsets, strict=True))
    return np.stack([np.minimum.reduceat(order, starts) for order in orders])


def _by_cosine(
    vectors: NDArray[Any], least: float, title: str, confirm: Callable[[Indices, Indices], NDArray[Any]] | None = None
) -> Alike:
    """Pairs of rows of (N, D) whose cosine is at least this, the first index the smaller; in chunks of memory.

    `confirm`: indices (P,) twice -> the similarity (P,) that counts, NaN where they are not alike.
    """

    def near(distances: NDArray[Any], start: int) -> list[tuple[int, int, float]]:
        first, second = np.nonzero(distances <= 1 - least + 1e-6)
        above = second > first + start
        first, second = first[above], second[above]
        similarity = 1 - distances[first, second]
        if confirm is not None:
            blocks = [slice(at, at + _BLOCK) for at in range(0, len(first), _BLOCK)]
            similarity = np.concatenate([similarity[:0], *(confirm(first[own] + start, second[own]) for own in blocks)])
        alike = np.flatnonzero(np.isfinite(similarity))
        return [(int(first[i]) + start, int(second[i]), float(similarity[i])) for i in alike]

    found: list[tuple[int, int, float]] = []
    chunks = pairwise_distances_chunked(
        vectors.astype(np.float32), reduce_func=_listed(near), metric="cosine", working_memory=32
    )
    with tqdm(total=len(vectors), desc=title, unit="content", leave=False, delay=1) as bar:
        for own in chunks:
            for pairs in own:
                found += pairs
            bar.update(len(own))
            if len(found) > MOST:
                break
    return Alike([Pair(*pair) for pair in found[:MOST]], len(found) > MOST)


def _listed(near: Callable[[NDArray[Any], int], list[tuple[int, int, float]]]) -> Callable[[NDArray[Any], int], list[Any]]:
    """scikit-learn wants a list as long as the chunk has rows: all in its first place."""
    return lambda distances, start: [near(distances, start), *([] for _ in range(len(distances) - 1))]


def _unit(values: Any) -> NDArray[np.float32]:
    centred = (values - values.mean()).ravel()
    return centred / max(float(np.linalg.norm(centred)), 1e-12)
