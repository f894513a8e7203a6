"""What goes wrong with jobs: which errors a second attempt may mend, and what the user is told in the end."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from qmm.quantum.errors import CircuitError

_LASTING = (CircuitError, TypeError, AttributeError, NotImplementedError, ImportError)
_LASTING_NAMES = frozenset(  # of classes in packages that may not be installed
    (
        "CircuitError",  # qiskit's own
        "TranspilerError",
        "IBMAccountError",
        "IBMInputValueError",
        "IBMNotAuthorizedError",
        "AuthenticationLicenseError",
        "AccountNotFoundError",
        "InvalidAccountError",
        "AccessDeniedException",
        "NoCredentialsError",
        "ValidationException",
    )
)
_LASTING_STATUS = frozenset((400, 401, 402, 403, 404, 405, 422))  # of HTTP
_LASTING_WORDS = re.compile(
    r"unauthori[sz]ed|not authori[sz]ed|forbidden|access ?denied|invalid (api )?(token|key|credentials|instruction)"
    r"|(token|account|licen[cs]e|key) (has |is )?expired|unknown instruction|not supported (by|on) the target",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"(?i)\b(bearer|basic|(?:api[_-]?|access[_-]?|secret[_-]?)?(?:key|token)|password|secret)(['\"]?\s*[=: ]\s*)(\S{8,})"
)
_LONGEST = 500  # characters of a provider's message


class JobError(CircuitError):
    """Jobs that failed however often they were sent."""


class UnreachableError(JobError):
    """A job that may have a result which its provider does not hand over. It is not sent again: that would be paid for."""

    def __init__(self, provider: str, job_id: str | None, error: BaseException):
        super().__init__(
            f"job {job_id or '(unknown id)'} was sent to {provider}, which does not hand over its result, {described(error)}; "
            "begin again when it does, and the result is fetched. To pay for another, delete the job's lines in the journal"
        )


class UnusableError(Exception):
    """A result that is not what was asked for."""


class Failure(NamedTuple):
    """An attempt that failed."""

    job_id: str | None
    """None where the provider gave none."""
    error: Exception


def lasting(error: BaseException) -> bool:
    """Whether the same job would fail again: what is not understood, not permitted, or not a circuit for this device."""
    if isinstance(error, UnusableError):
        return False
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    names = {kind.__name__ for kind in type(error).__mro__}
    return (
        isinstance(error, _LASTING)
        or status in _LASTING_STATUS
        or bool(names & _LASTING_NAMES)
        or _LASTING_WORDS.search(str(error)) is not None
    )


def not_found(error: BaseException) -> bool:
    """Whether a provider says that it has no such job."""
    return getattr(error, "status_code", None) == 404 or any("NotFound" in kind.__name__ for kind in type(error).__mro__)


def described(error: BaseException) -> str:
    """Its class and message, on one line, without what looks like a credential."""
    text = " ".join(_SECRET.sub(r"\1\2...", str(error)).split())
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def job_error(provider: str, failures: Sequence[Failure], kept: Any) -> JobError:
    """What the user is told. `kept`: the folder of the journal, or None."""
    last = failures[-1].error
    ids = [failure.job_id for failure in failures if failure.job_id]
    jobs = f" (jobs {', '.join(ids[-5:])})" if ids else ""
    times = "once" if len(failures) == 1 else f"{len(failures)} times"
    where = f"what was returned before is in {kept}: begin the run again" if kept else "begin again"
    if lasting(last):
        return JobError(
            f"{provider} refused a job{jobs}: {described(last)}; mend that, and begin again: another attempt would not"
        )
    return JobError(
        f"{provider} failed {times}{jobs}, with smaller jobs too, at last with {described(last)}; {where} when it works, or "
        "give it more time: Jobs(attempts=..., wait=..., timeout=...)"
    )
