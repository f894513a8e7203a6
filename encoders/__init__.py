"""Encoders and compressors, one modality a file. Names resolve lazily: open_clip, librosa and the rest load when first used."""

from importlib import import_module
from typing import Any

_HOMES = {
    "ViTEncoder": "vision",
    "TorchvisionViTEncoder": "vision",
    "OpenClipVisionEncoder": "vision",
    "ASTEncoder": "audio",
    "LogMel": "spectrogram",
    "KaldiLogMel": "spectrogram",
    "TextEncoder": "text",
    "OpenClipTextEncoder": "text",
    "VectorEncoder": "vectors",
    "FromCheckpoint": "from_checkpoint",
    "LinearCompressor": "compressors",
    "MLPCompressor": "compressors",
    "PCACompressor": "compressors",
    "SelectingCompressor": "compressors",
    "RangeCompressor": "compressors",
    "RandomProjectionCompressor": "factorisations",
    "RandomizedSVDCompressor": "factorisations",
    "NMFCompressor": "factorisations",
    "QuantumAutoencoder": "quantum_autoencoder",
    "ClassicalAutoencoder": "classical_autoencoder",
    "QuantumKernelPCA": "kernel_pca",
    "RBFKernelPCA": "kernel_pca",
    "ImagePreprocess": "preprocess",
    "SoundPreprocess": "preprocess",
    "TextPreprocess": "preprocess",
    "OpenClipTextPreprocess": "preprocess",
    "VectorPreprocess": "preprocess",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'qmm.encoders' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
