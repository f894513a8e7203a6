"""Data: scenes and polynomials made on the spot, users' own files, vectors; a data module for each."""

from .base import MultimodalDataModule
from .collate import Sample, collate
from .files import read_picture, read_sound
from .manifest import ManifestSource
from .modules import ManifestDataModule, ScenesDataModule, VectorsDataModule
from .polynomials import PolynomialsDataModule, PolynomialsSource
from .scenes import SCENES, ScenesSource, best_score
from .source import BadSample, Source
from .transforms import Augmentation, PictureAugmentation, SoundAugmentation
from .vectors import VectorsSource

__all__ = [
    "SCENES",
    "Augmentation",
    "BadSample",
    "ManifestDataModule",
    "ManifestSource",
    "MultimodalDataModule",
    "PictureAugmentation",
    "PolynomialsDataModule",
    "PolynomialsSource",
    "Sample",
    "ScenesDataModule",
    "ScenesSource",
    "SoundAugmentation",
    "Source",
    "VectorsDataModule",
    "VectorsSource",
    "best_score",
    "collate",
    "read_picture",
    "read_sound",
]
