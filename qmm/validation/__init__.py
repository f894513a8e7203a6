"""`qmm crossval`: k-fold and grouped cross-validation."""

from qmm.validation.plan import CrossValidation, FoldCell
from qmm.validation.report import corrected_difference
from qmm.validation.running import Validated, cross_validate

__all__ = ["CrossValidation", "FoldCell", "Validated", "corrected_difference", "cross_validate"]
