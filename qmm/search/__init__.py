"""`qmm search`: circuits found for a data set, under a budget of gates, against classical counterparts tuned as long."""

from qmm.search.arms import Arm, Circuits, Counterparts, Examined
from qmm.search.proposers import Evolution, Proposer, RandomSearch, TreeSearch, Trial
from qmm.search.quadratic import QuadraticModel
from qmm.search.space import Point, Space, make_space, unseen

__all__ = [
    "Arm",
    "Circuits",
    "Counterparts",
    "Evolution",
    "Examined",
    "Point",
    "Proposer",
    "QuadraticModel",
    "RandomSearch",
    "Space",
    "TreeSearch",
    "Trial",
    "make_space",
    "unseen",
]
