"""What a study's table says: a Markdown summary, and a page to read and pass on."""

from qmm.study.report.figures import plot
from qmm.study.report.markdown import summary
from qmm.study.report.writing import rebuild, write_report

__all__ = ["plot", "rebuild", "summary", "write_report"]
