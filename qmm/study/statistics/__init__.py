"""What a study's numbers are worth: functions of arrays and tables, nothing read or written."""

from qmm.study.statistics.bootstrap import Interval, macro_f1, mean_score, over_seeds_and_samples, sample_interval
from qmm.study.statistics.claims import Claim, claims
from qmm.study.statistics.comparing import (
    Comparison,
    holm,
    paired_difference,
    rank_biserial,
    sign_flip_p,
    signed_rank_p,
    standardised,
)
from qmm.study.statistics.low_data import area_differences, areas, learning_curves
from qmm.study.statistics.power import LEVEL, POWER, prospect, smallest_difference, smallest_effect, smallest_p
from qmm.study.statistics.robustness import (
    Robustness,
    effective_robustness,
    relative_robustness,
    robustness,
    robustness_curves,
)

__all__ = [
    "LEVEL",
    "POWER",
    "Claim",
    "Comparison",
    "Interval",
    "Robustness",
    "area_differences",
    "areas",
    "claims",
    "effective_robustness",
    "holm",
    "learning_curves",
    "macro_f1",
    "mean_score",
    "over_seeds_and_samples",
    "paired_difference",
    "prospect",
    "rank_biserial",
    "relative_robustness",
    "robustness",
    "robustness_curves",
    "sample_interval",
    "sign_flip_p",
    "signed_rank_p",
    "smallest_difference",
    "smallest_effect",
    "smallest_p",
    "standardised",
]
