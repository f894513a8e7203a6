"""PolynomialsSource: a number that is a known random polynomial over the features of several modalities, plus noise.

The truth is known: which terms there are, how large each is, and so, by `best_score`, what a model can reach that is not told
some modality, that stops at a lower degree, or in which modalities do not meet.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import combinations_with_replacement
from typing import Any, Literal

import numpy as np
import torch
from numpy.polynomial.legendre import legval
from numpy.typing import NDArray
from torch import Tensor

from qmm.errors import InputError

from .base import MultimodalDataModule
from .source import SPLITS, Source

BASES = ("cosine", "legendre")
VERSION = 1
"""Raise it with any change of what is drawn: cached features and results are kept by it."""

_MOST_TERMS = 200_000  # of which a row's value is summed; 8 bytes each and row of a batch
_ROWS = 256  # evaluated at a time

Term = tuple[tuple[int, int], ...]
"""(feature, degree) of each feature that takes part, features ascending."""


class PolynomialsSource(Source):
    """`sizes` rows by split; a row is determined by the polynomial's seed and shape, its split and its index in that.

    Features u are independent and uniform in [-1, 1]. The value is sum_t c_t prod_j b(u_j), the product over a term's features,
    where b of degree k is of mean 0 and variance 1, and of different degrees uncorrelated:

        legendre: sqrt(2k + 1) P_k(u), so that it is a polynomial in the features themselves;
        cosine:   sqrt(2) cos(k pi (1 + u) / 2), so that it is one in the cosines of the angles that u in [-1, 1] spans.

    c is drawn from a normal distribution and scaled to length 1: without noise values have mean 0 and variance 1, whatever the
    degree and the number of modalities. `PolynomialsDataModule` explains the arguments.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        degree: int = 2,
        count: int = 3,
        features: int = 2,
        terms: int | None = None,
        basis: str = "cosine",
        noise: float = 0.1,
        seed: int = 0,
    ):
        if basis not in BASES:
            raise InputError(f"basis: expected one of {', '.join(BASES)}, got {basis!r}")
        if min(degree, count, features) < 1 or any(size < 0 for size in sizes.values()):
            raise InputError(
                f"degree {degree}, count {count}, features {features}, sizes {dict(sizes)}: expected at least 1, sizes from 0"
            )
        if not (math.isfinite(noise) and noise >= 0):
            raise InputError(f"noise: expected a standard deviation of at least 0, got {noise}")
        self.degree, self.features, self.basis, self.noise, self.bad = degree, features, basis, noise, []
        self._seed, names = seed, [f"m{place}" for place in range(count)]
        self._modality = {name: place for place, name in enumerate(names)}
        self.terms = self._draw_terms(terms)
        drawn = self._generator(1).standard_normal(len(self.terms))
        self.coefficients = drawn / np.linalg.norm(drawn)
        self.classes = None
        self.ids = [f"{split}-{index:05d}" for split, size in sizes.items() for index in range(size)]
        starts = np.cumsum([0, *sizes.values()])
        self.splits = {
            split: np.arange(start, start + size) for (split, size), start in zip(sizes.items(), starts, strict=False) if size
        }
        width = count * features
        shown = [self._generator(2, split).uniform(-1, 1, (size, width)) for split, size in sizes.items()]
        self._values = np.concatenate([np.empty((0, width)), *shown]).astype(np.float32)
        disturbed = [self._generator(3, split).standard_normal(size) for split, size in sizes.items()]
        values = self.truth(self._values) + noise * np.concatenate([np.empty(0), *disturbed])
        self.targets = {"label": values.astype(np.float32)}
        self.present = {name: np.ones(len(self.ids), dtype=bool) for name in names}

    def raw(self, modality: str, row: int) -> Tensor:
        """(features,) in [-1, 1]"""
        return torch.from_numpy(self._of(modality, row).copy())

    def key(self, modality: str, row: int) -> str:
        return hashlib.sha256(self._of(modality, row).tobytes()).hexdigest()

    def truth(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(N, count * features) in [-1, 1], modality after modality -> (N,) without noise"""
        found = [self._evaluate(values[start : start + _ROWS]) for start in range(0, len(values), _ROWS)]
        return np.concatenate([*found, np.empty(0)])

    def best_score(
        self, modalities: Collection[str] | None = None, degree: int | None = None, meeting: int | None = None
    ) -> float:
        """The best R² on new rows that any function can reach of these modalities alone; or any polynomial of that degree in
        what the basis is made of; or any sum of functions of `meeting` modalities each (1: every modality by itself).

        Terms are uncorrelated, so what is left out is lost and nothing else; the noise is lost to all.

        >>> source = PolynomialsSource({}, degree=1, count=4, noise=0.5)
        >>> round(source.best_score(), 3), source.best_score(meeting=1) == source.best_score()
        (0.8, True)
        """
        known = self._modality if modalities is None else modalities
        unknown = sorted(set(known) - set(self._modality))
        if unknown:
            raise InputError(f"no modality {', '.join(map(repr, unknown))}; there are: {', '.join(self._modality)}")
        within = {self._modality[name] for name in known}

        def reached(term: Term) -> bool:
            who = {feature // self.features for feature, _ in term}
            small = degree is None or sum(k for _, k in term) <= degree
            return small and who <= within and (meeting is None or len(who) <= meeting)

        kept = np.array([reached(term) for term in self.terms], dtype=bool)
        return float(np.square(self.coefficients)[kept].sum() / (1 + self.noise**2))

    def _draw_terms(self, wanted: int | None) -> list[Term]:
        """All products of degree 1 to `degree`, or `wanted` of them, drawn at random, one of full degree among them."""
        n = len(self._modality) * self.features
        there = math.comb(n + self.degree, self.degree) - 1
        if there > _MOST_TERMS or (wanted is not None and not 1 <= wanted <= there):
            raise InputError(
                f"degree {self.degree} over {n} features has {there} terms, terms is {wanted}; expected at most {_MOST_TERMS}, "
                "and from 1 to all of them"
            )
        every = [
            tuple(sorted(Counter(chosen).items()))
            for degree in range(self.degree, 0, -1)
            for chosen in combinations_with_replacement(range(n), degree)
        ]
        if wanted is None:
            return every
        rng, highest = self._generator(0), math.comb(n + self.degree - 1, self.degree)
        first = int(rng.integers(highest))
        others = [place for place in rng.permutation(there).tolist() if place != first]
        return [every[place] for place in (first, *others[: wanted - 1])]

    def _evaluate(self, values: NDArray[Any]) -> NDArray[np.float64]:
        own = values.astype(np.float64)[:, :, None]
        powers = np.arange(self.degree + 1)
        if self.basis == "cosine":
            table = np.sqrt(2) * np.cos(powers * np.pi * (1 + own) / 2)
        else:
            table = np.moveaxis(legval(own[:, :, 0], np.diag(np.sqrt(2 * powers + 1))), 0, -1)
        columns = [np.prod([table[:, feature, k] for feature, k in term], axis=0) for term in self.terms]
        return np.stack(columns, axis=1) @ self.coefficients

    def _of(self, modality: str, row: int) -> NDArray[np.float32]:
        start = self._modality[modality] * self.features
        return self._values[row, start : start + self.features]

    def _generator(self, purpose: int, split: str | None = None) -> np.random.Generator:
        return np.random.default_rng([VERSION, self._seed, purpose, 0 if split is None else 1 + SPLITS.index(split)])


class PolynomialsDataModule(MultimodalDataModule):
    """A number that is a known random polynomial of degree `degree` over the features of `count` modalities, named m0, m1 ...

    Args:
        size: Training samples.
        val_size: Validation samples.
        test_size: Test samples.
        degree: P, the highest total degree of a term.
        count: M, how many modalities.
        features: D, numbers a modality has, uniform in [-1, 1].
        terms: How many products are summed; default: all of degree 1 to P, comb(MD + P, P) - 1.
        basis: What the polynomial is one in: "cosine", the cosines of the angles that features span, (1 + u) pi / 2, as what is
            read of circuits is by which they are written so; or "legendre", the features themselves.
        noise: Standard deviation of what is added, in units of the polynomial's own.
        polynomial_seed: Of polynomial, features and noise; default: `seed`, so that each seed of a study is another polynomial.
        loading: Passed on to `MultimodalDataModule`.
    """

    def __init__(
        self,
        size: int = 1000,
        val_size: int = 200,
        test_size: int = 1000,
        degree: int = 2,
        count: int = 3,
        features: int = 2,
        terms: int | None = None,
        basis: Literal["cosine", "legendre"] = "cosine",
        noise: float = 0.1,
        polynomial_seed: int | None = None,
        **loading: Any,
    ):
        super().__init__(**loading)
        self.sizes = {"train": size, "val": val_size, "test": test_size}
        self._shape = (degree, count, features, terms, basis, noise)
        self.polynomial_seed = self.seed if polynomial_seed is None else polynomial_seed

    def make_source(self) -> PolynomialsSource:
        return PolynomialsSource(self.sizes, *self._shape, seed=self.polynomial_seed)
