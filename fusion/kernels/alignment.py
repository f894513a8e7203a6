"""Kernel-target alignment: how far a Gram matrix tells the classes apart."""

import torch
from torch import Tensor

from qmm.errors import InputError


def target_alignment(gram: Tensor, labels: Tensor, balanced: bool = False) -> Tensor:
    """<K, T> / (||K|| ||T||) in the Frobenius product, in [-1, 1]; differentiable in K (arXiv:2105.03406).

    T is the Gram matrix of the labels: 1 within a class, -1/(C - 1) between two of C classes, which for two classes is y y^T of
    y = +-1. To train a kernel, climb it, batch by batch:

        loss = -target_alignment(kernel(x), labels)

    Args:
        gram: (N, N)
        labels: (N,) whole numbers or booleans, any values.
        balanced: Weigh each sample by 1 / the number of samples of its class, so that small classes count as much.

    Raises InputError for shapes that do not fit, and labels of a single class.
    """
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or labels.shape != gram.shape[:1]:
        raise InputError(f"a Gram matrix {tuple(gram.shape)} and labels {tuple(labels.shape)}; expected (N, N) and (N,)")
    classes, own, counts = labels.to(gram.device).unique(return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"all {len(labels)} labels are {classes.tolist()}; alignment needs samples of two classes at least")
    target = torch.full_like(gram, -1 / (len(classes) - 1), requires_grad=False)
    target[own[:, None] == own] = 1.0
    if balanced:
        weight = (1 / counts.to(gram.dtype))[own]
        target = weight[:, None] * target * weight
    return (gram * target).sum() / (gram.norm() * target.norm())
