"""Gated cross-attention (Flamingo, arXiv:2204.14198): the layers of any causal language model look at what was perceived."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qmm.types import Context, Features


class Perceived(NamedTuple):
    """What a language model looks at. M tokens of its own width E."""

    tokens: Tensor
    """(B, M, E)"""
    mask: Tensor
    """(B, M) bool, True where a token is real."""


class Perception(nn.Module):
    """The fused vector as a token, and every encoder's tokens (its pooled features where it has none), brought to one width.

    Tokens of a modality that a sample lacks are masked.
    """

    def __init__(self, in_features: int, widths: Mapping[str, int], width: int):
        super().__init__()
        self.fused = nn.Linear(in_features, width)
        self.modalities = nn.ModuleDict({m: nn.Sequential(nn.LayerNorm(d), nn.Linear(d, width)) for m, d in widths.items()})

    def forward(self, fused: Tensor, context: Context | None) -> Perceived:
        """(B, F) -> (B, M, E) and its mask"""
        tokens = [self.fused(fused).unsqueeze(1)]
        masks = [torch.ones(len(fused), 1, dtype=torch.bool, device=fused.device)]
        for modality, project in self.modalities.items():
            features = None if context is None else context.features.get(modality)
            if context is None or features is None:
                continue
            present = context.present[modality].to(fused.device)
            own, real = _tokens_of(features)
            own = project(own.to(fused.dtype))
            tokens.append(own.new_zeros(len(fused), *own.shape[1:]).index_put((present.nonzero().squeeze(1),), own))
            masks.append(torch.zeros(len(fused), own.shape[1], dtype=torch.bool, device=fused.device))
            masks[-1][present] = real
        return Perceived(torch.cat(tokens, 1), torch.cat(masks, 1))


def _tokens_of(features: Features) -> tuple[Tensor, Tensor]:
    """(P, T, D) and (P, T) bool"""
    tokens = features.pooled.unsqueeze(1) if features.tokens is None else features.tokens
    if features.tokens is None or features.mask is None:
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return tokens.masked_fill(~features.mask.unsqueeze(-1), 0), features.mask


class CrossAttention(nn.Module):
    """h + tanh(a) attention(h, perceived), then h + tanh(b) mlp(h), before a layer of the language model; a and b begin at 0,
    so that the model is at first what it was.

    It acts only inside `looking_at`, and on the layer that it was put `before`.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = gcd(width, heads)
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.gate, self.mlp_gate = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None

    def before(self, layer: nn.Module) -> None:
        """Act on what goes into `layer`. (A bound method, so that copies of the model act on themselves.)"""
        layer.register_forward_pre_hook(self._hook, with_kwargs=True)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B n, T, E) -> (B n, T, E): every sample stands n times in a row, as beams do."""
        assert self._seen is not None
        keys, values, mask = (part.repeat_interleave(len(hidden) // len(part), 0) for part in self._seen)
        queries = self._heads(self.query(self.norm(hidden)))
        read = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask[:, None, None, :])
        hidden = hidden + self.gate.tanh() * self.out(read.transpose(1, 2).flatten(2))
        return hidden + self.mlp_gate.tanh() * self.mlp(self.mlp_norm(hidden))

    def look_at(self, perceived: Perceived | None) -> None:
        """Keys and values are made once, however many tokens are written after. None: act no more."""
        if perceived is None:
            self._seen = None
            return
        keys, values = self.key_value(perceived.tokens).chunk(2, -1)
        self._seen = (self._heads(keys), self._heads(values), perceived.mask)

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _hook(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        if self._seen is None:
            return None
        if args:
            return (self(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": self(kwargs["hidden_states"])}


@contextmanager
def looking_at(layers: Sequence[CrossAttention] | nn.ModuleList, perceived: Perceived | None) -> Iterator[None]:
    """Inside, the language model sees `perceived`; outside it is the bare one."""
    try:
        for layer in layers:
            layer.look_at(perceived)  # type: ignore[operator]
        yield
    finally:
        for layer in layers:
            layer.look_at(None)  # type: ignore[operator]
