"""Efforts: a job sent again when it fails, then in parts."""

from collections.abc import Sequence

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.jobs.failures import Failure, job_error, lasting
from qmm.quantum.execution.jobs.packing import Work, bindings, halves, missing, size
from qmm.quantum.execution.jobs.sending import Sender


class Effort:
    """What is done for one job until each of its asks is known or has failed.

    It is sent `Jobs.attempts` times, then in halves; these twice each, before they are halved in turn, and a single binding
    `Jobs.attempts` times. When one has failed, what else its submission holds is not sent any more. When one has failed and
    nothing has come back at all, the provider is taken for dead: what other submissions have in the job is tried once, whole.
    """

    def __init__(self, sender: Sender):
        self._sender, self._attempts = sender, sender.settings.attempts
        self._alive = self._dead = False

    def carry(self, work: Work, failures: Sequence[Failure] = ()) -> None:
        work, failures = missing(work), list(failures)
        if not work:
            return
        divisible, bound = len(work) > 1 or bindings(work) > 1, self._sender.bearable
        if not divisible or bound is None or size(work) <= bound:
            for attempt in range(self._tries(divisible, bool(failures))):
                if failures and not lasting(failures[-1].error):
                    self._sender.pause(max(1, attempt))
                failure = self._attempt(work, again=bool(failures))
                if failure is None:
                    self._alive, self._dead = True, False
                    return
                failures.append(failure)
                if lasting(failure.error):
                    self._separate(work, failures)
                    return
        if not divisible or self._dead:
            self._fail(work, failures)
            return
        for half in halves(work):
            self.carry(half, failures)
        if failures and _known(work):
            largest = max(size(half) for half in halves(work))
            self._sender.bearable = min(largest, self._sender.bearable or largest)

    def _tries(self, divisible: bool, in_parts: bool) -> int:
        if self._dead:
            return 1
        return min(2, self._attempts) if divisible and in_parts else self._attempts

    def _attempt(self, work: Work, again: bool) -> Failure | None:
        try:
            return self._sender.attempt(work, again)
        except CircuitError as error:  # before it was sent
            return Failure(None, error)

    def _separate(self, work: Work, failures: Sequence[Failure]) -> None:
        """One submission's mistake is not another's."""
        owners = list({id(piece.ask.owner): piece.ask.owner for pub in work for piece in pub}.values())
        if len(owners) == 1:
            self._fail(work, failures)
            return
        for owner in owners:
            pubs = (tuple(piece for piece in pub if piece.ask.owner is owner) for pub in work)
            self.carry(tuple(pub for pub in pubs if pub), failures)

    def _fail(self, work: Work, failures: Sequence[Failure]) -> None:
        self._dead = not self._alive
        last = failures[-1].error
        error = (
            last
            if isinstance(last, CircuitError)
            else job_error(self._sender.provider.name, failures, self._sender.journal.folder)
        )
        if error is not last:
            error.__cause__ = last
        for pub in work:
            for piece in pub:
                piece.ask.owner.fail(error)


def _known(work: Work) -> bool:
    return all(piece.ask.known[piece.start : piece.stop].all() for pub in work for piece in pub)
