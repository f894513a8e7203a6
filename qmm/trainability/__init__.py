"""`qmm trainability`: how gradients vanish with qubits and depth, by the protocol of McClean et al. (arXiv:1803.11173)."""

from qmm.trainability.configured import ConfiguredFusion
from qmm.trainability.ensembles import Ensemble
from qmm.trainability.estimates import Estimate, resampled_variances, slope, two_design_variance
from qmm.trainability.families import AnsatzLayers, Family, RandomAxes
from qmm.trainability.observables import observable
from qmm.trainability.plan import Plan, read_plan

__all__ = [
    "AnsatzLayers",
    "ConfiguredFusion",
    "Ensemble",
    "Estimate",
    "Family",
    "Plan",
    "RandomAxes",
    "observable",
    "read_plan",
    "resampled_variances",
    "slope",
    "two_design_variance",
]
