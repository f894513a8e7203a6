"""`qmm data check`: duplicates, leaks, balance and damage of a data set, before it is studied."""

from qmm.checking.check import Report, check
from qmm.checking.finding import Finding

__all__ = ["Finding", "Report", "check"]
