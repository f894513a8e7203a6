"""Quantum kernels in scikit-learn: a Gram matrix as the first step of a pipeline."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from .kernel import QuantumKernel
from .samples import Rows, as_samples


class GramMatrix(TransformerMixin, BaseEstimator):
    """Samples -> their kernel values to the samples it was fitted on, (N, N_fitted), for estimators that take a precomputed
    kernel. Samples are what `QuantumKernel.gram` takes: features by modality, or one array, NaN where a modality is missing.

        kernel = FidelityKernel(layers=1).build({"vision": 4, "audio": 2})
        make_pipeline(GramMatrix(kernel), SVC(kernel="precomputed")).fit(x, labels)                   # QSVC
        make_pipeline(GramMatrix(kernel), KernelRidge(kernel="precomputed")).fit(x, values)
        make_pipeline(GramMatrix(kernel), KernelPCA(2, kernel="precomputed")).fit_transform(x)
        make_pipeline(GramMatrix(kernel), SpectralClustering(2, affinity="precomputed")).fit_predict(x)

    `SVC(kernel=kernel.gram)` is the same as the first one. Cross-validation and grid search split rows of an array.

    Args:
        kernel: A built QuantumKernel. `clone` copies it, with its weights.
    """

    def __init__(self, kernel: QuantumKernel):
        self.kernel = kernel

    def fit(self, X: Rows, y: Any = None) -> Self:
        self.fitted_ = as_samples(X, self.kernel.widths, self.kernel.weights)
        return self

    def fit_transform(self, X: Rows, y: Any = None, **fit_params: Any) -> NDArray[np.floating[Any]]:
        """The symmetric Gram matrix, each pair computed once."""
        return self.fit(X).kernel.gram(self.fitted_)

    def transform(self, X: Rows) -> NDArray[np.floating[Any]]:
        return self.kernel.gram(X, self.fitted_)
