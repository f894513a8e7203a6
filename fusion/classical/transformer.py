"""A cross-modal transformer over the features as tokens."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qmm.errors import InputError

from ._base import ClassicalFusion, averaged, shown

_TINY = 1e-5  # keeps the norm's slope finite at 0


class CrossModalTransformer(ClassicalFusion):
    """Every feature is a token, x_i e_i + b_i; one pre-norm transformer layer in which tokens attend to those of the other
    modalities and to themselves; the mean over the present tokens.

    The cross-modal attention of MulT (arXiv:1906.00295), with one block for all pairs of modalities instead of one each, and
    the tokens of FT-Transformer (arXiv:2106.11959) for the steps of its sequences. Norms are RMSNorm (arXiv:1910.07467):
    LayerNorm leaves nothing but a sign of tokens of width 2, which small budgets ask for. An absent modality has no tokens.
    In a model of one modality all its tokens attend to each other.

    Args:
        hidden: Width of the feed-forward layer.
        out: Width of a token and of the fused features; a multiple of the two heads.
    """

    reference = "arXiv:1906.00295"
    NAME = "transformer"
    SIZES = ("hidden", "out")
    LEAST = STEP = HEADS = 2
    owners: Tensor
    """(T,): the modality of each token, by its place."""

    def __init__(self, hidden: int = 8, out: int = 8):
        super().__init__(hidden, out)
        if out % self.HEADS:
            raise InputError(f"CrossModalTransformer: out={out} for {self.HEADS} heads; give a multiple of {self.HEADS}")

    @classmethod
    def count(cls, widths: Mapping[str, int], *sizes: int) -> int:
        hidden, out = sizes
        attention, feed_forward, norms = 4 * out * out + out, 2 * hidden * out + hidden + out, 2 * out
        return 2 * sum(widths.values()) * out + attention + feed_forward + norms

    def _make(self) -> None:
        d, hidden = self.out_features, self.sizes["hidden"]
        owners = [place for place, k in enumerate(self.widths.values()) for _ in range(k)]
        self.register_buffer("owners", torch.tensor(owners), persistent=False)
        self.scale = nn.Parameter(torch.randn(len(owners), d) * d**-0.5)
        self.shift = nn.Parameter(torch.randn(len(owners), d) * d**-0.5)
        self.before_attention, self.before_feed_forward = nn.RMSNorm(d, _TINY), nn.RMSNorm(d, _TINY)
        self.query_key_value, self.join = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d)  # softmax feels no bias of keys
        self.feed_forward = nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, d))

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, out)"""
        here = torch.stack([present[m] for m in self.modalities], dim=1)[:, self.owners]  # (B, T)
        tokens = torch.cat(shown(angles, present, self.modalities), dim=1).unsqueeze(2) * self.scale + self.shift
        tokens = tokens + self._attend(self.before_attention(tokens), here)
        tokens = tokens + self.feed_forward(self.before_feed_forward(tokens))
        return averaged(tokens, here.to(tokens.dtype))

    def _attend(self, tokens: Tensor, here: Tensor) -> Tensor:
        """(B, T, d) and (B, T) bool -> (B, T, d)"""
        across = (self.owners.unsqueeze(1) != self.owners) | (len(self.modalities) == 1)
        itself = torch.eye(len(self.owners), dtype=torch.bool, device=here.device)
        seen = (across & here.unsqueeze(1)) | itself
        query, key, value = self.query_key_value(tokens).unflatten(2, (3, self.HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen.unsqueeze(1))
        return self.join(attended.transpose(1, 2).flatten(2))
