"""Estimators of scikit-learn as parts of a checkpoint: written down as plain data, kept as arrays, never pickled."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier

from qmm.errors import InputError
from qmm.loading import find_class

LEAST = 1e-12
"""Probabilities below are taken for it, so that their logarithm is finite."""
COMPARED = 256
"""Training samples on which an estimator and what was kept of it are compared; many support vectors take seconds for all."""

Array = NDArray[Any]


def check_classifier(estimator: Any) -> None:
    """Raises InputError unless it is a classifier of scikit-learn that says more than a label."""
    name = type(estimator).__name__
    if not isinstance(estimator, BaseEstimator) or not type(estimator).__module__.startswith("sklearn."):
        raise InputError(f"estimator: {name} is not of scikit-learn; give one of its classifiers, as {_LIKE}")
    if not is_classifier(estimator):
        raise InputError(f"estimator: {name} is no classifier; give one, as {_LIKE}")
    if not hasattr(estimator, "predict_proba") and not hasattr(estimator, "decision_function"):
        raise InputError(f"estimator: {name} has neither predict_proba nor decision_function; give one that has, as {_LIKE}")


_LIKE = "sklearn.linear_model.LogisticRegression"


def describe(estimator: BaseEstimator) -> dict[str, Any]:
    """class_path and init_args, those that differ from the defaults; estimators inside it alike.

    Raises InputError for an argument that has no plain form.
    """
    defaults = type(estimator)().get_params(deep=False) if _needs_nothing(type(estimator)) else {}
    given = {k: v for k, v in estimator.get_params(deep=False).items() if k not in defaults or not _same(v, defaults[k])}
    arguments = {name: _plain(value, f"{type(estimator).__name__}.{name}") for name, value in given.items()}
    return {"class_path": f"{type(estimator).__module__}.{type(estimator).__qualname__}", "init_args": arguments}


def rebuild(description: Mapping[str, Any]) -> Any:
    """The estimator that `describe` described, not fitted. Raises InputError for a class that is not scikit-learn's."""
    path = str(description["class_path"])
    if not path.startswith("sklearn."):
        raise InputError(f"the checkpoint wants to build {path}, which is not of scikit-learn")
    arguments = {k: rebuild(v) if _is_description(v) else v for k, v in description["init_args"].items()}
    return find_class(path)(**arguments)


def keep(estimator: BaseEstimator, features: Array, labels: Array) -> dict[str, Any]:
    """Plain data and tensors of which `restore` makes the fitted estimator again: the arrays that fitting left in it, where an
    estimator made of them scores the first training features (N, F) exactly as it does; else these features and their labels
    (N,), of which the same estimator is fitted once more.
    """
    described = describe(estimator)
    state = {**described, "fitted": _encoded_attributes(estimator)}
    shown = features[:COMPARED]
    try:
        if np.array_equal(log_scores(restore(state), shown), log_scores(estimator, shown)):
            return state
    except (AttributeError, TypeError, ValueError, InputError):
        pass  # a part that is no array is missing
    return {**described, "features": torch.from_numpy(features), "labels": torch.from_numpy(labels)}


def restore(state: Mapping[str, Any]) -> Any:
    """What `keep` kept. Raises InputError for what it cannot have written."""
    estimator = rebuild(state)
    if "features" in state:
        return estimator.fit(state["features"].numpy(), state["labels"].numpy())
    for name, value in state["fitted"].items():
        if not str(name).isidentifier() or str(name).startswith("__"):
            raise InputError(f"the checkpoint sets {name!r} of a {type(estimator).__name__}; it was not written by qmm")
        try:
            setattr(estimator, name, _decoded(value))
        except AttributeError:
            continue  # a property, computed of what is kept
    return estimator


def log_scores(estimator: Any, features: Array) -> Array:
    """(B, F) -> (B, C), one for each of `estimator.classes_`: log probabilities where it tells them; else values of its
    decision function, with two classes d as -d/2 and d/2."""
    if hasattr(estimator, "predict_proba"):
        return np.log(np.maximum(estimator.predict_proba(features), LEAST))
    decided = estimator.decision_function(features)
    return np.stack([-decided / 2, decided / 2], axis=1) if decided.ndim == 1 else decided


def count_fitted(estimator: Any) -> int:
    """How many numbers a decision is computed from: of linear models `coef_` and `intercept_`, of an MLP all layers, of a
    support vector machine with a kernel support vectors x (features + classes - 1) and its intercepts; of others all numbers
    with a fraction that fitting left in them, 0 where they keep none (trees)."""
    if hasattr(estimator, "coefs_"):
        return sum(a.size for a in (*estimator.coefs_, *estimator.intercepts_))
    if hasattr(estimator, "coef_"):
        return int(np.size(estimator.coef_) + np.size(getattr(estimator, "intercept_", ())))
    if hasattr(estimator, "support_vectors_"):
        return int(estimator.support_vectors_.size + estimator.dual_coef_.size + np.size(estimator.intercept_))
    return sum(v.size for v in vars(estimator).values() if isinstance(v, np.ndarray) and v.dtype.kind == "f")


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, np.generic):  # first, for a numpy float64 is a float, too
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, BaseEstimator):
        return describe(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    raise InputError(f"{where}={value!r} cannot be written into a checkpoint as plain data; give numbers, strings and lists")


def _encoded_attributes(estimator: BaseEstimator) -> dict[str, Any]:
    """What fitting left in it, without what is no data."""
    encoded = {}
    for name, value in vars(estimator).items():
        if name not in estimator.get_params(deep=False):
            try:
                encoded[name] = _encoded(value)
            except TypeError:
                continue
    return encoded


def _encoded(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value.copy())
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_encoded(item) for item in value]}
    if isinstance(value, BaseEstimator):
        return {**describe(value), "fitted": _encoded_attributes(value)}
    raise TypeError


def _decoded(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.cpu().numpy()
    if not isinstance(value, Mapping):
        return value
    if "class_path" in value:
        return restore(value)
    return [_decoded(i) for i in value["list"]] if "list" in value else tuple(_decoded(i) for i in value["tuple"])


def _is_description(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"class_path", "init_args"}


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(np.all(value == default)))


def _needs_nothing(kind: type) -> bool:
    try:
        kind()
    except TypeError:
        return False
    return True
