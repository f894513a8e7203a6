"""Studies: arms x seeds -> one table, and what it says."""

from qmm.study.plan import Cell, Study, read_study
from qmm.study.runner import run_study
from qmm.study.statistics import Comparison, paired_difference

__all__ = ["Cell", "Comparison", "Study", "paired_difference", "read_study", "run_study"]
