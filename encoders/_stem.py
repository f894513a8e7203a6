"""A convolutional stem in the place of a transformer's patch embedding (arXiv:2106.14881)."""

from itertools import pairwise

from torch import Tensor, nn

from qmm.errors import InputError


class ConvStem(nn.Module):
    """(B, C, H, W) -> (B, D, H / patch, W / patch): 3x3 convolutions of stride 2, each with batch norm and GELU,
    then the patch projection of what is left of `patch`."""

    def __init__(self, in_channels: int, widths: list[int], out_channels: int, patch: int):
        """Raises InputError unless `patch` is divisible by 2 ** len(widths)."""
        super().__init__()
        tail, rest = divmod(patch, 2 ** len(widths))
        if not widths or rest:
            most = (patch & -patch).bit_length() - 1
            raise InputError(f"stem={widths} for patches of {patch}: each width halves the input; give 1 to {most} widths")
        layers: list[nn.Module] = []
        for before, after in pairwise([in_channels, *widths]):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.projection = nn.Conv2d(widths[-1], out_channels, tail, stride=tail)

    def forward(self, images: Tensor) -> Tensor:
        return self.projection(self.layers(images))


class TokenStem(ConvStem):
    """The same, as transformers' ViT wants it: (B, 3, H, W) -> (B, T, D)."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).flatten(2).transpose(1, 2)


class SpectrogramStem(TokenStem):
    """The same, as transformers' AST wants it: (B, frames, bands) -> (B, T, D), bands outermost in T."""

    def forward(self, spectrogram: Tensor) -> Tensor:
        return super().forward(spectrogram.unsqueeze(1).transpose(2, 3))
