"""IBM Quantum's service: accounts, devices, and what to do where either is missing."""

import difflib
import re
from typing import Any

from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target

from qmm.quantum.errors import CircuitError
from qmm.quantum.extras import require

_SAVE = 'from qiskit_ibm_runtime import QiskitRuntimeService; QiskitRuntimeService.save_account(token="...", overwrite=True)'
_LONGEST_WORD = 24  # characters; API keys are longer, and words of a message are not
_UNREACHED = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "MaxRetryError", "NameResolutionError", "NewConnectionError")


def service(account: str | None = None, instance: str | None = None) -> Any:
    """A `QiskitRuntimeService` with a saved account.

    Args:
        account: Its name in IBM's own store; None: the default one, or that of the environment.
        instance: Of the service; None: as the account says.

    Raises CircuitError where there is no account, where it is refused, and where the service cannot be reached; without what
    the service says, which may hold credentials.
    """
    runtime = require("qiskit_ibm_runtime", "ibm", "IBM's devices")
    which = "the default account" if account is None else f"account {account!r}"
    try:
        return runtime.QiskitRuntimeService(name=account, instance=instance)
    except Exception as error:  # of any kind, since its text may hold credentials: each becomes a CircuitError without them
        kinds = {kind.__name__ for link in _chain(error) for kind in type(link).__mro__}
        if "AccountNotFoundError" in kinds:
            text = f"{which} of IBM Quantum is not saved here; save it once, in Python: {_named(account)}"
        elif not kinds.isdisjoint(_UNREACHED):
            text = "IBM Quantum cannot be reached; check the network, or take a snapshot of a device: device='fake_torino'"
        elif kinds & {"InvalidAccountError", "IBMNotAuthorizedError", "AuthenticationLicenseError"} or _refused(error):
            text = (
                f"IBM Quantum refuses {which}: its API key is wrong, has expired, or was withdrawn; make a new one at "
                f"https://quantum.cloud.ibm.com and save it in Python: {_named(account)}"
            )
        else:
            text = f"IBM Quantum does not open {which}: {redacted(error)}"
    raise CircuitError(text) from None  # what came before may hold the key


def backend(name: str, account: str | None = None, instance: str | None = None) -> Any:
    """A device of IBM Quantum. Raises CircuitError for one that the account does not have, and as `service` does."""
    found = service(account, instance)
    try:
        return found.backend(name)
    except Exception as error:
        if "NotFound" not in type(error).__name__:
            raise CircuitError(f"IBM Quantum does not hand out {name}: {redacted(error)}") from None
    try:
        known = [device.name for device in found.backends()]
    except Exception:  # the names are a courtesy; that there is no such device is told below in any case
        known = []
    near = difflib.get_close_matches(name, known, n=3)
    offered = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known) or 'none'}"
    raise CircuitError(f"the account has no device {name!r}; {offered}") from None


def redacted(error: BaseException) -> str:
    """What an error says, without words that are as long as an API key."""
    text = re.sub(rf"\S{{{_LONGEST_WORD},}}", "...", str(error))
    return f"{type(error).__name__}: {text[:300]}"


class RemoteDevice(BackendV2):
    """A device of IBM Quantum that is asked for when something of it is needed, not before."""

    def __init__(self, name: str, account: str | None = None, instance: str | None = None):
        super().__init__(name=name, description="a device of IBM Quantum")
        self._which = name, account, instance
        self._found: Any = None

    @property
    def real(self) -> Any:
        """The device as qiskit-ibm-runtime gives it."""
        if self._found is None:
            self._found = backend(*self._which)
        return self._found

    @property
    def target(self) -> Target:
        return self.real.target

    @property
    def max_circuits(self) -> int | None:
        return self.real.max_circuits

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def run(self, run_input: Any, **options: Any) -> Any:
        """IBM's devices run primitives only."""
        raise CircuitError(f"{self.name} runs primitives only; take qmm.quantum.execution.Runtime")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also asked for while a copy is made
            raise AttributeError(name)
        return getattr(self.real, name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_found": None}  # copies and pickles ask anew: what was found holds the account


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _refused(error: BaseException) -> bool:
    return any(getattr(link, "status_code", None) in (401, 403) for link in _chain(error))


def _named(account: str | None) -> str:
    return _SAVE if account is None else _SAVE.replace('token="..."', f'token="...", name="{account}"')
