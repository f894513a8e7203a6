"""Compressors beside PCA: random projection, and approximate factorisations of the training split's features."""

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmm.errors import InputError

from ._squashed import Fitted


class RandomProjectionCompressor(Fitted):
    """scikit-learn's random projection, squashed into [low, high]: k directions drawn without a look at the data, so that all
    distances are kept about equally well (Johnson-Lindenstrauss). The control for what a fitted direction is worth.

    Args:
        features: Number of directions, k.
        kind: "gaussian", or "sparse": entries 0 but for one in sqrt(D) (Li, Hastie and Church, 2006).
        seed: Of the directions.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
        whiten: Whether each direction is brought to variance 1 over the training split. Without, all are divided by the largest
            standard deviation, so that distances are kept before the squash.
    """

    def __init__(
        self,
        features: int,
        kind: Literal["gaussian", "sparse"] = "gaussian",
        seed: int = 0,
        low: float = 0.0,
        high: float = math.pi,
        gain: float = 1.0,
        whiten: bool = True,
    ):
        super().__init__(features, low, high, gain, whiten)
        if kind not in ("gaussian", "sparse"):
            raise InputError(f"RandomProjectionCompressor: kind={kind!r}; choose gaussian or sparse")
        self.kind, self.seed = kind, seed

    def decompose(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

        if self.kind == "gaussian":
            return GaussianRandomProjection(self.features, random_state=self.seed).fit(samples).components_
        components = SparseRandomProjection(self.features, random_state=self.seed).fit(samples).components_.toarray()
        empty = int((~components.any(1)).sum())
        if empty:
            raise InputError(
                f"RandomProjectionCompressor: {empty} of {self.features} sparse directions of {components.shape[1]} features "
                f"are empty with seed={self.seed}; take another seed, or kind=gaussian"
            )
        return components


class RandomizedSVDCompressor(Fitted):
    """The k largest singular directions of the training split's features, not centred, by a randomised factorisation
    (arXiv:0909.4061; scikit-learn's TruncatedSVD), squashed into [low, high]. For wide features, far quicker than PCA.

    Args:
        features: Number of directions, k.
        iterations: Power iterations; more come nearer to the exact directions.
        seed: Of the random start.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
        whiten: Whether each direction is brought to variance 1. Without, all are divided by the largest standard deviation.
    """

    def __init__(
        self,
        features: int,
        iterations: int = 5,
        seed: int = 0,
        low: float = 0.0,
        high: float = math.pi,
        gain: float = 1.0,
        whiten: bool = True,
    ):
        super().__init__(features, low, high, gain, whiten)
        if iterations < 0:
            raise InputError(f"RandomizedSVDCompressor: iterations={iterations}; expected 0 or more")
        self.iterations, self.seed = iterations, seed

    def decompose(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        from sklearn.decomposition import TruncatedSVD

        return TruncatedSVD(self.features, n_iter=self.iterations, random_state=self.seed).fit(samples).components_


class NMFCompressor(Fitted):
    """Non-negative matrix factorisation of the training split's features (scikit-learn's NMF), X ~ W H with W, H >= 0: scores
    are a sample's k non-negative weights on the parts H, which are brought to length 1, squashed into [low, high].

    New samples' weights are the exact solution of min ||x - w H|| with w >= 0 (what NMF's `transform` iterates to), and are
    differentiable in x.

    Args:
        features: Number of parts, k.
        seed: Of the first parts.
        iterations: At most so many, to fit.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash.
        whiten: Whether each weight is brought to variance 1. Without, all are divided by the largest standard deviation.
    """

    def __init__(
        self,
        features: int,
        seed: int = 0,
        iterations: int = 1000,
        low: float = 0.0,
        high: float = math.pi,
        gain: float = 1.0,
        whiten: bool = True,
    ):
        super().__init__(features, low, high, gain, whiten)
        self.seed, self.iterations = seed, iterations

    def build(self, in_features: int) -> None:
        super().build(in_features)
        self.register_buffer("mean", torch.zeros(self.features))  # of the weights, not of the features

    def decompose(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        from sklearn.decomposition import NMF

        if samples.min() < 0:
            raise InputError(
                f"NMFCompressor: training features go down to {samples.min():.3g}; non-negative factors need features of 0 or "
                "more, take RandomizedSVDCompressor"
            )
        model = NMF(self.features, init="nndsvda", random_state=self.seed, max_iter=self.iterations).fit(samples)
        rank = int(np.linalg.matrix_rank(model.components_))
        if rank < self.features:
            raise InputError(f"NMFCompressor: {self.features} parts, but only {rank} are independent; ask for at most {rank}")
        return model.components_ / np.linalg.norm(model.components_, axis=1, keepdims=True)

    def statistics(
        self, samples: NDArray[np.float64], components: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        weights = nonnegative_weights(torch.from_numpy(samples), torch.from_numpy(components)).numpy()
        return weights.mean(0), weights.std(0, ddof=1)

    def project(self, pooled: Tensor) -> Tensor:
        return nonnegative_weights(pooled, self.components) - self.mean


def nonnegative_weights(values: Tensor, components: Tensor) -> Tensor:
    """(B, D) and independent (k, D) -> the w >= 0 (B, k) with the least ||values - w components||, differentiable.

    scipy's active-set method finds which weights are above 0; these are then the solution of linear equations.
    """
    from scipy.optimize import nnls

    components = components.double()
    gram, target = components @ components.T, values.double() @ components.T
    root = torch.linalg.cholesky(gram)
    sides = torch.linalg.solve_triangular(root, target.detach().T, upper=False).T.cpu().numpy()
    matrix = root.T.cpu().numpy()
    found = np.array([nnls(matrix, side)[0] > 0 for side in sides]).reshape(target.shape)
    kept = torch.from_numpy(found).to(target)
    equations = gram * kept[:, :, None] * kept[:, None, :] + torch.diag_embed(1 - kept)
    return torch.linalg.solve(equations, target * kept).to(values.dtype)
