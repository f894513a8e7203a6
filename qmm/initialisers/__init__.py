"""Initialisers: where the training of circuit weights starts."""

from qmm.initialisers.base import Initialiser, Uniform

__all__ = ["Initialiser", "Uniform"]
