"""Around the training: repeatable random numbers, checkpoints that survive a kill, cached features, the run's folder."""

from qmm.training import mixed_report, retrieval_report  # noqa: F401  each tells report_for of its kind
from qmm.training.caching import FeatureCaching
from qmm.training.checkpoints import AtomicCheckpointIO
from qmm.training.dynamics import Dynamics
from qmm.training.general_ability import GeneralAbility
from qmm.training.growth import LayerwiseGrowth
from qmm.training.initialisation import Initialisation
from qmm.training.quantum_run import QuantumRun
from qmm.training.run_folder import RunFolder
from qmm.training.samples import SampleLogger
from qmm.training.seeding import RepeatableSteps

__all__ = [
    "AtomicCheckpointIO",
    "Dynamics",
    "FeatureCaching",
    "GeneralAbility",
    "Initialisation",
    "LayerwiseGrowth",
    "QuantumRun",
    "RepeatableSteps",
    "RunFolder",
    "SampleLogger",
]
