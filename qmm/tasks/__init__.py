"""LightningModules: what is learned, scored and optimised; the model comes from outside."""

from qmm.tasks.base import MultimodalTask
from qmm.tasks.captioning import MultimodalCaptioning, SentenceEvaluator
from qmm.tasks.classification import MultimodalClassification
from qmm.tasks.estimator import EstimatorClassification
from qmm.tasks.evaluation import DecodingTask, Evaluator
from qmm.tasks.mixed import MultimodalMixed
from qmm.tasks.regression import MultimodalRegression
from qmm.tasks.retrieval import MultimodalRetrieval

__all__ = [
    "DecodingTask",
    "EstimatorClassification",
    "Evaluator",
    "MultimodalCaptioning",
    "MultimodalClassification",
    "MultimodalMixed",
    "MultimodalRegression",
    "MultimodalRetrieval",
    "MultimodalTask",
    "SentenceEvaluator",
]
