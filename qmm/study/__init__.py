"""Studies: arms x seeds -> one table, and what it says."""

from qmm.study.plan import ALL, Cell, Study
from qmm.study.reading import read_study
from qmm.study.runner import Outcome, run_study
from qmm.study.statistics import Comparison, holm, paired_difference
from qmm.study.tuning import Tuning

__all__ = [
    "ALL",
    "Cell",
    "Comparison",
    "Outcome",
    "Study",
    "Tuning",
    "holm",
    "paired_difference",
    "read_study",
    "run_study",
]
