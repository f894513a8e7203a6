"""Contents exchanged between samples, targets staying: a control of what a model makes of a modality."""

import zlib

import numpy as np

from qmm.errors import InputError

from .source import Source


def exchange(source: Source, modality: str, rows: np.ndarray, seed: int) -> dict[int, int]:
    """Row -> the row whose content it gets: each is given away once, and none gets one that is equal to its own.

    Where more than half of the rows share one content, as many as possible get another. Raises InputError for a single row.
    """
    if len(rows) == 0:
        return {}
    keys = [source.key(modality, row) for row in rows.tolist()]
    if len(rows) == 1:
        raise InputError(f"{modality} cannot be shuffled: a single sample of the split has it; leave it out of `shuffled`")
    order = np.random.default_rng([seed, zlib.crc32(modality.encode())]).permutation(len(rows))
    first: dict[str, int] = {}
    for place in order.tolist():
        first.setdefault(keys[place], len(first))
    order = np.array(sorted(order.tolist(), key=lambda place: first[keys[place]]))  # equal contents side by side
    largest = max(np.bincount([first[key] for key in keys]).tolist())
    # going on by the length of the longest run leaves every run, also round the end
    others = np.roll(order, -min(largest, len(rows) // 2))
    return dict(zip(rows[order].tolist(), rows[others].tolist(), strict=True))
