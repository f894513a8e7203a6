"""Mixup (arXiv:1710.09412) of whole samples: every modality of a sample is blended with that of the same other sample."""

import torch
from torch import Tensor

from qmm.contracts import Encoder
from qmm.errors import InputError
from qmm.model import MultimodalModel
from qmm.types import Batch, Features, Padded


def mixup(model: MultimodalModel, batch: Batch, order: Tensor, share: float) -> Batch:
    """The batch, each row b blended with row `order[b]`; `share` in [0, 1] is what stays of b. Targets stay those of b.

    A modality that one of the two lacks is left as it is. How inputs blend, their encoders know.
    """
    if any(batch.prompts):
        raise InputError("samples with prompts cannot be blended, an answer belongs to its own question; set `mixup` to 0")
    inputs = dict(batch.inputs)
    for modality, branch in model.branches.items():
        own = inputs.get(modality)
        if own is not None:
            both = batch.present[modality] & batch.present[modality][order]
            inputs[modality] = _blend(branch.encoder, own, order, torch.where(both, share, 1.0))
    return batch._replace(inputs=inputs)


def _blend(encoder: Encoder, own: Padded | Features, order: Tensor, share: Tensor) -> Padded | Features:
    if isinstance(own, Features):
        weight = share.unsqueeze(1)
        pooled = weight * own.pooled + (1 - weight) * own.pooled[order]
        if own.tokens is None or own.mask is None:
            return Features(pooled)
        tokens = weight.unsqueeze(2) * own.tokens + (1 - weight).unsqueeze(2) * own.tokens[order]
        return Features(pooled, tokens, torch.where(weight < 1, own.mask | own.mask[order], own.mask))
    values = encoder.mix(own.values, own.values[order], share)
    if own.lengths is None:
        return Padded(values)
    return Padded(values, torch.where(share < 1, torch.maximum(own.lengths, own.lengths[order]), own.lengths))
