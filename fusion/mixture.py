"""MixtureFusion: several fusions on the same features, quantum and classical ones, joined or shared out."""

import copy
from collections.abc import Collection, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from qmm.contracts import Budget, Fusion
from qmm.errors import InputError
from qmm.quantum import Circuit

from .classical import ConcatFusion, classical_counterparts
from .quantum import QuantumFusion

_CLASSICAL = 8  # width of the default classical branch, about that of the default quantum one on two or three registers


class MixtureFusion(Fusion):
    """Members' fused features side by side; or, with `gate`, their sum by shares that depend on the sample (a mixture of
    experts, doi:10.1162/neco.1991.3.1.79).

    The shares are softmax(W [features, flags]), flags 1 for the modalities that are present; they start equal. Each member
    treats a missing modality in its own way; in the gate its features and its flag are 0, so that it adds exactly nothing.

    Args:
        members: Fusions by name, built on the features of all modalities; by default a QuantumFusion and a ConcatFusion.
        gate: Sum by shares instead of joining; the members then have to be of one width.
    """

    reference = "doi:10.1162/neco.1991.3.1.79"

    def __init__(self, members: dict[str, Fusion] | None = None, gate: bool = False):
        super().__init__()
        members = members or {"quantum": QuantumFusion(), "classical": ConcatFusion(_CLASSICAL, _CLASSICAL)}
        self.members: Mapping[str, Fusion] = nn.ModuleDict(copy.deepcopy(members))  # type: ignore[assignment]
        self.gated = gate

    def build(self, widths: Mapping[str, int]) -> None:
        """Raises InputError where members to be summed differ in width."""
        self.widths = dict(widths)
        for member in self.members.values():
            member.build(widths)
        outs = {name: member.out_features for name, member in self.members.items()}
        if self.gated and len(set(outs.values())) > 1:
            said = ", ".join(f"{name} {width}" for name, width in outs.items())
            raise InputError(f"a gate sums members of one width, these have {said}; match them, or set gate to false")
        self.out_features = next(iter(outs.values())) if self.gated else sum(outs.values())
        if self.gated:
            self.gate = nn.Linear(sum(widths.values()) + len(widths), len(outs), bias=False)
            nn.init.zeros_(self.gate.weight)

    def forward(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, F)"""
        fused = self.together([partial(member, angles, present) for member in self.members.values()])
        if not self.gated:
            return torch.cat(fused, dim=1)
        return torch.einsum("bm,mbf->bf", self.shares(angles, present), torch.stack(fused))

    def shares(self, angles: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """(B, k) and (B,) bool by modality -> (B, members): how much of each member the gate lets through."""
        flags = torch.stack([present[m] for m in self.widths], dim=1)
        shown = [angles[m].masked_fill(~present[m].unsqueeze(1), 0.0) for m in self.widths]
        shares: Tensor = self.gate(torch.cat([*shown, flags.to(shown[0].dtype)], dim=1))
        return shares.softmax(dim=1)

    def circuits(self, present: Collection[str] | None = None) -> dict[str, Circuit]:
        found = ((name, member.circuits(present)) for name, member in self.members.items())
        return {f"{name}.{inner}": circuit for name, circuits in found for inner, circuit in circuits.items()}

    def counterparts(self, budget: Budget) -> dict[str, Fusion]:
        """The classical members of the same capacity."""
        return classical_counterparts(self.widths, budget)
