"""What is left of a trained model when a modality is noisy or missing: `qmm robustness`, and a callback for runs."""

from qmm.robustness.callback import Robustness
from qmm.robustness.evaluating import Evaluation, evaluate
from qmm.robustness.noise import NOISES
from qmm.robustness.picture import picture
from qmm.robustness.plan import LEVELS, Plan, Point
from qmm.robustness.tables import curve_table, robustness_table, summary_table

__all__ = [
    "LEVELS",
    "NOISES",
    "Evaluation",
    "Plan",
    "Point",
    "Robustness",
    "curve_table",
    "evaluate",
    "picture",
    "robustness_table",
    "summary_table",
]
