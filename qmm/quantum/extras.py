"""Packages that not every user needs, imported when something asks for them."""

from importlib import import_module
from typing import Any

from qmm.quantum.errors import CircuitError


def require(module: str, extra: str, purpose: str) -> Any:
    """The module. Raises CircuitError that names the extra to install where its package is missing.

    Args:
        module: "mthree", "qiskit_ibm_runtime.fake_provider", ...
        extra: Of this package, "ibm" for instance.
        purpose: What it is needed for: "snapshots of IBM's devices".
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        package = error.name.split(".")[0].replace("_", "-")
        raise CircuitError(f'{purpose} need {package}, which is not installed: pip install "qmm[{extra}]"') from error
