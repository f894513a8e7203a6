"""The main path: encode -> compress -> fuse -> decode."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from qmm.config import Configurable
from qmm.contracts import Budget, Compressor, Decoder, Encoder, Fusion, RunsCircuits
from qmm.errors import InputError
from qmm.overlap import Encoded, Inputs, Present, encode_and_fuse
from qmm.quantum import Backend, Gradient
from qmm.suggestions import did_you_mean
from qmm.types import Batch, Context, Features, ModelOutput, Padded, rows_of


@final
class Branch(Configurable, nn.Module):
    """One modality's way to its register: an encoder, then a compressor.

    `auxiliary` > 0 adds the decoder's loss of a linear read-out of the encoder alone, with that weight, so that no modality
    idles while another one is quicker to learn; the read-out takes no part in predictions.
    """

    def __init__(self, encoder: Encoder, compressor: Compressor, auxiliary: float = 0.0):
        super().__init__()
        self.encoder, self.compressor, self.auxiliary = encoder.train(), compressor, auxiliary
        compressor.build(encoder.dim)
        self.head: Decoder | None = None

    def encode(self, inputs: Padded | Features | None, present: Tensor) -> Features | None:
        """Features of the rows where `present`, (P, D); None where there are none. Cached features pass as they are."""
        if inputs is None or not present.any():
            return None
        rows = inputs.rows(present)
        return rows if isinstance(rows, Features) else self.encoder(*rows)

    def compress(self, features: Features | None, present: Tensor) -> Tensor:
        """(B, k) angles in radians, exactly 0 in the rows that lack the modality."""
        if features is None:
            return torch.zeros(len(present), self.compressor.features, device=present.device)
        angles = self.compressor(features.pooled)
        return angles.new_zeros(len(present), self.compressor.features).masked_scatter(present.unsqueeze(1), angles)


@final
class MultimodalModel(Configurable, nn.Module):
    """Branches by modality, a fusion and a decoder, wired by their own widths.

    Modalities stand in the order vision, audio, text, then `others` as given; that is the order of the registers.
    `counterpart` replaces the fusion by one that it names itself (`fusion.counterparts`): another kind, equal capacity.
    `backend` and `gradient` say where circuits run, the fusion's and those of compressors, and how they are differentiated
    (default: exactly, by the adjoint method). With `micro_batch`, so many rows are encoded at a time, and their circuits run
    while the next are encoded: worth it where circuits take as long as encoders; in training with a gradient that is sent
    `ahead`, since backward waits for one micro-batch after the other. Encoders then see micro-batches, which the running
    statistics of some (BatchNorm) and dropout's random numbers tell from whole ones, and a KernelFusion measures its landmarks
    once for each. None of the three is part of what a checkpoint says of the model.
    """

    def __init__(
        self,
        fusion: Fusion,
        decoder: Decoder,
        vision: Branch | None = None,
        audio: Branch | None = None,
        text: Branch | None = None,
        others: Mapping[str, Branch] | None = None,
        counterpart: str | None = None,
        backend: Backend | None = None,
        gradient: Gradient | None = None,
        micro_batch: int | None = None,
    ):
        super().__init__()
        if micro_batch is not None and micro_batch < 1:
            raise InputError(f"micro_batch={micro_batch}; give a number of rows, 8 for instance, or leave it out")
        named = {"vision": vision, "audio": audio, "text": text, **(others or {})}
        self.branches: Mapping[str, Branch] = nn.ModuleDict({m: b for m, b in named.items() if b is not None})  # type: ignore[assignment]
        if not self.branches:
            raise InputError("the model has no modality; give it at least one branch (vision, audio, text or others)")
        widths = {modality: branch.compressor.features for modality, branch in self.branches.items()}
        fusion.build(widths)
        self.fusion = counterpart_of(fusion, decoder, widths, counterpart) if counterpart else fusion
        self.run_on(backend, gradient)
        self.decoder, self.micro_batch = decoder, micro_batch
        for branch in self.branches.values():
            branch.head = decoder.spawn(branch.encoder.dim) if branch.auxiliary else None
        decoder.build(self.fusion.out_features, {m: branch.encoder.dim for m, branch in self.branches.items()})

    def run_on(self, backend: Backend | None = None, gradient: Gradient | None = None) -> None:
        """Run all circuits, the fusion's and those of compressors, there from now on; by default exactly."""
        for module in self.modules():
            if isinstance(module, RunsCircuits):
                module.run_on(backend, gradient)

    def config_arguments(self) -> dict[str, Any]:
        """Without what says where circuits run, and when: what was trained here may run anywhere."""
        return {k: v for k, v in super().config_arguments().items() if k not in ("backend", "gradient", "micro_batch")}

    def forward(self, batch: Batch) -> ModelOutput:
        present = batch.presence(self.branches)
        (features, angles), fused = encode_and_fuse(self.encode, self.fusion, batch.inputs, present, self.micro_batch)
        return ModelOutput(features, angles, fused, self.decoder(fused, Context(features, present, batch.prompts)))

    def encode(self, inputs: Inputs, present: Present) -> Encoded:
        """Inputs and (b,) bool by modality -> features and angles by modality."""
        features = {m: branch.encode(inputs.get(m), present[m]) for m, branch in self.branches.items()}
        return Encoded(features, {m: branch.compress(features[m], present[m]) for m, branch in self.branches.items()})

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Named losses, weighted; their sum is what is trained: the decoder's, and each branch's auxiliary one."""
        losses = self.decoder.losses(output.prediction, batch.targets)
        for modality, branch in self.branches.items():
            features = output.features[modality]
            if branch.head is not None and features is not None:
                targets = {name: rows_of(target, batch.present[modality]) for name, target in batch.targets.items()}
                losses[modality] = branch.auxiliary * branch.head.loss(branch.head(features.pooled), targets)
        return losses


def counterpart_of(fusion: Fusion, decoder: Decoder, widths: Mapping[str, int], name: str) -> Fusion:
    """The fusion that a built one names as its counterpart, built for the same features and as large, decoder included."""
    own = sum(p.numel() for p in fusion.parameters())  # frozen ones, too: a sham keeps its size
    budget = Budget(own + decoder.count_parameters(fusion.out_features), decoder.count_parameters)
    found = fusion.counterparts(budget)
    if name not in found:
        offered, kin = ", ".join(found) or "none", [other for other in found if _unsized(other) == _unsized(name)]
        meant = f"; at this size take {' or '.join(map(repr, kin))}" if kin else did_you_mean(name, found)
        raise InputError(f"{type(fusion).__name__} has no counterpart {name!r}; it offers: {offered}{meant}")
    found[name].build(widths)
    return found[name]


def _unsized(name: str) -> str:
    return name.removesuffix("-below").removesuffix("-above")
