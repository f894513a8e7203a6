"""Devices by name: the snapshots that qiskit-ibm-runtime keeps of IBM's machines."""

import difflib
from functools import cache

from qiskit.providers import BackendV2

from qmm.quantum.errors import CircuitError
from qmm.quantum.extras import require


def devices() -> list[str]:
    """The names of the snapshots: "fake_torino", ... Raises CircuitError without the extra "ibm"."""
    return sorted(_snapshots())


def device(name: str) -> BackendV2:
    """The snapshot of a device: its gates, couplings, durations and errors. Raises CircuitError for another name."""
    known = _snapshots()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3)
        offered = f"did you mean {' or '.join(near)}?" if near else f"take one of {', '.join(sorted(known))}"
        raise CircuitError(f"there is no device {name!r}; {offered}")
    return known[name]()


@cache
def _snapshots() -> dict[str, type[BackendV2]]:
    provider = require("qiskit_ibm_runtime.fake_provider", "ibm", "snapshots of IBM's devices")  # takes seconds
    classes = [c for c in vars(provider).values() if isinstance(c, type) and issubclass(c, BackendV2)]
    return {name: c for c in classes if (name := getattr(c, "backend_name", None))}
