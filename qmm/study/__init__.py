"""Studies: arms x seeds -> one table, and what it says."""

from qmm.study.plan import Cell, Study, Tuning, read_study
from qmm.study.runner import Outcome, run_study
from qmm.study.statistics import Comparison, holm, paired_difference

__all__ = ["Cell", "Comparison", "Outcome", "Study", "Tuning", "holm", "paired_difference", "read_study", "run_study"]
