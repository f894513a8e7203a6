"""The frequencies at which a model can follow a feature, read off the circuit that writes it (arXiv:2008.08605)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter

from qmm.circuits.contracts import FeatureMap
from qmm.errors import InputError

_HALF_TURNS = {"rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "rzx"}  # their generators' eigenvalues are 1 apart
_PROBES = (0.0, 0.7, 1.3, 2.9, 4.4)  # of the feature; not evenly spaced, so that a period or a step betrays itself
_DIGITS = 9
_SHOWN = 6


def accessible_frequencies(
    feature_map: FeatureMap, feature: int = 0, others: Sequence[float] | None = None, upload: int | None = None
) -> tuple[float, ...]:
    """Frequencies w >= 0, ascending, of all that a model can be as a function of one feature x, the others held fixed.

    Whatever is trained around the feature map and whatever is measured, the output is a sum of cos(w x) and sin(w x) over
    these w and no others; not each of them need occur. Each rotation by the angle s x + c adds -s, 0 or s.

    Args:
        feature_map: A built one, whose angles are affine in the feature.
        feature: Which.
        others: (k,) features at which the others are held, 1 by default. They matter where features are multiplied.
        upload: Of this upload alone; by default of all that the map was built for.

    Raises InputError for a map whose angles are not affine in the feature, or which writes it by other gates.
    """
    rows = torch.tensor([1.0] * feature_map.features if others is None else list(others), dtype=torch.float64)
    rows = rows.repeat(len(_PROBES), 1)
    rows[:, feature] = torch.tensor(_PROBES, dtype=torch.float64)
    kept = feature_map.training
    with torch.no_grad():
        angles = feature_map.eval()(rows)
    feature_map.train(kept)
    found = np.zeros(1)
    for place in range(feature_map.uploads) if upload is None else [upload]:
        for slope in _slopes(feature_map, feature, angles.numpy(), place):
            found = np.unique(np.round(np.add.outer(found, [-slope, 0.0, slope]), _DIGITS))
    return tuple(abs(float(w)) for w in found if w >= 0)


def _slopes(feature_map: FeatureMap, feature: int, angles: NDArray[np.float64], upload: int) -> list[float]:
    """How fast each rotation of the upload turns with the feature, where it does. `angles`: (probes, p)."""
    named = [Parameter(f"x{i}") for i in range(feature_map.n_angles)]
    circuit = feature_map.circuit(named, upload)
    used = set(circuit.parameters)
    places = [i for i, name in enumerate(named) if name in used]
    bound = [circuit.assign_parameters({named[i]: row[i] for i in places}) for row in angles]
    slopes = []
    for index, item in enumerate(circuit.data):
        if not any(getattr(p, "parameters", ()) for p in item.operation.params):
            continue
        values = np.array([float(b.data[index].operation.params[0]) for b in bound])
        steps = np.diff(values) / np.diff(_PROBES)
        if np.ptp(steps) > 1e-6:
            raise InputError(
                f"{type(feature_map).__name__}: an angle is not affine in feature {feature}, so that no list of frequencies "
                "tells what it can represent; see what `describe` says of its spectrum"
            )
        if item.operation.name not in _HALF_TURNS:
            raise InputError(f"frequencies are known of {', '.join(sorted(_HALF_TURNS))}, not of {item.operation.name}")
        if abs(steps[0]) > 10**-_DIGITS:
            slopes.append(abs(float(steps.mean())))
    return slopes


def say_frequencies(feature_map: FeatureMap) -> str:
    """One upload's frequencies in words, by feature where these differ."""
    by_feature = [accessible_frequencies(feature_map, i, upload=0) for i in range(feature_map.features)]
    said = [_listed(frequencies) for frequencies in by_feature]
    if len(set(said)) == 1:
        return f"frequencies {said[0]} in each feature, an upload"
    return f"frequencies {'; '.join(f'{s} in feature {i}' for i, s in enumerate(said))}, an upload"


def _listed(frequencies: Sequence[float]) -> str:
    written = [f"{w:.4g}" for w in frequencies]
    if len(written) <= _SHOWN:
        return ", ".join(written)
    return f"{', '.join(written[:3])} ... {written[-1]} ({len(written)} of them)"
