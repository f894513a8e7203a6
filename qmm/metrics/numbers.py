"""The metric collections of classes and values, all of torchmetrics."""

from torchmetrics import MeanAbsoluteError, MetricCollection, R2Score, SpearmanCorrCoef
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassCalibrationError,
    MulticlassF1Score,
)


def classification_metrics(n_classes: int) -> MetricCollection:
    """Of probabilities (B, C) and class indices (B,)."""
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(n_classes, average="micro"),
            "f1": MulticlassF1Score(n_classes, average="macro"),
            "auroc": MulticlassAUROC(n_classes),
            "calibration_error": MulticlassCalibrationError(n_classes, n_bins=15),
        },
        compute_groups=False,
    )


def regression_metrics() -> MetricCollection:
    """Of values (B,) and targets (B,)."""
    return MetricCollection({"mae": MeanAbsoluteError(), "r2": R2Score(), "spearman": SpearmanCorrCoef()}, compute_groups=False)
