"""Asks packed into PUBs and jobs: as few of both as a provider's limits allow."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from qiskit.primitives import EstimatorPubLike, SamplerPubLike

from qmm.quantum.execution.answers import estimator_pub, sampler_pubs
from qmm.quantum.execution.jobs.asks import Ask
from qmm.quantum.execution.providers import Limits
from qmm.quantum.execution.requests import Request


class Piece(NamedTuple):
    """Some bindings of an ask."""

    ask: Ask
    start: int
    stop: int

    @property
    def circuits(self) -> int:
        return (self.stop - self.start) * self.ask.circuits


Pub = tuple[Piece, ...]
"""Pieces that one PUB holds, one below the other."""
Work = tuple[Pub, ...]
"""What one job holds."""


def packed(asks: Sequence[Ask], limits: Limits, circuits: int | None = None) -> list[Work]:
    """As few jobs as hold these asks. Those that one PUB can hold together are together in one, in their order.

    Args:
        asks: What to run.
        limits: Of one job. A binding that needs more circuits than it may hold has a job to itself.
        circuits: A bound of the sender's own.
    """
    if limits.uniform:
        groups: dict[int, list[Ask]] = {}
        for ask in asks:
            groups.setdefault(ask.request.shots, []).append(ask)
        apart = [packed(group, limits._replace(uniform=False), circuits) for group in groups.values()]
        return [work for jobs in apart for work in jobs]
    bounds = [bound for bound in (limits.circuits, circuits) if bound is not None]
    most = max(1, min(bounds)) if bounds else None
    done: list[Work] = []
    job: list[Pub] = []
    filled = 0
    for pub in _pubs(asks):
        left = list(pub)
        while left:
            room = None if most is None else most - filled
            taken, left = _taken(left, room, force=not job)
            if taken:
                job.append(taken)
                filled += sum(piece.circuits for piece in taken)
            if left or (limits.pubs is not None and len(job) >= max(1, limits.pubs)):
                done.append(tuple(job))
                job, filled = [], 0
    return [*done, tuple(job)] if job else done


def _pubs(asks: Sequence[Ask]) -> Iterator[Pub]:
    groups: dict[str, list[Piece]] = {}
    for ask in asks:
        groups.setdefault(ask.alike, []).append(Piece(ask, 0, len(ask.request.bindings)))
    for pieces in groups.values():
        if pieces[0].ask.request.circuit.num_parameters:
            yield tuple(pieces)
        else:  # simulators run a PUB without parameters once, however many bindings it has
            yield from ((Piece(p.ask, row, row + 1),) for p in pieces for row in range(p.start, p.stop))


def _taken(pieces: list[Piece], room: int | None, force: bool) -> tuple[Pub, list[Piece]]:
    """The first bindings, as many as there is room for (`force`: one at least), and the rest."""
    if room is None:
        return tuple(pieces), []
    taken: list[Piece] = []
    for i, piece in enumerate(pieces):
        rows = min(piece.stop - piece.start, max(0, room // piece.ask.circuits))
        if not rows and force and not taken:
            rows = 1
        if rows:
            taken.append(piece._replace(stop=piece.start + rows))
            room -= rows * piece.ask.circuits
        if rows < piece.stop - piece.start:
            return tuple(taken), [piece._replace(start=piece.start + rows), *pieces[i + 1 :]]
    return tuple(taken), []


def size(work: Work) -> int:
    """Its number of circuits."""
    return sum(piece.circuits for pub in work for piece in pub)


def bindings(work: Work) -> int:
    return sum(piece.stop - piece.start for pub in work for piece in pub)


def halves(work: Work) -> tuple[Work, Work]:
    """Two jobs of half the PUBs, or, where there is one, of half its bindings."""
    if len(work) > 1:
        middle = len(work) // 2
        return work[:middle], work[middle:]
    half = bindings(work) // 2
    first: list[Piece] = []
    second: list[Piece] = []
    for piece in work[0]:
        here = min(piece.stop - piece.start, half)
        half -= here
        if here:
            first.append(piece._replace(stop=piece.start + here))
        if piece.start + here < piece.stop:
            second.append(piece._replace(start=piece.start + here))
    return (tuple(first),), (tuple(second),)


def missing(work: Work) -> Work:
    """What of it is neither known nor has failed."""
    pubs = (tuple(part for piece in pub for part in _unknown(piece)) for pub in work)
    return tuple(pub for pub in pubs if pub)


def _unknown(piece: Piece) -> list[Piece]:
    ask, start, stop = piece
    if ask.error is not None:
        return []
    edges = np.flatnonzero(np.diff(ask.known[start:stop], prepend=True, append=True)) + start
    return [Piece(ask, int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def merged(pub: Pub) -> Request:
    """The request of a whole PUB."""
    rows = [piece.ask.request.bindings[piece.start : piece.stop] for piece in pub]
    return pub[0].ask.request._replace(bindings=np.concatenate(rows))


def primitive_pubs(work: Work, sampler: bool) -> list[SamplerPubLike] | list[EstimatorPubLike]:
    if sampler:
        return [pub for group in work for pub in sampler_pubs(merged(group))]
    return [estimator_pub(merged(group)) for group in work]
