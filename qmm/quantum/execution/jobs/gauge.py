"""What circuits take of a device: gates, and seconds by the durations that it states."""

from typing import NamedTuple

from qiskit.circuit import QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.providers import BackendV2
from qiskit.quantum_info import Pauli

from qmm.quantum.execution.jobs.keys import content_key
from qmm.quantum.execution.requests import Request
from qmm.quantum.pubs import Cache
from qmm.quantum.settings import measured

_NO_GATES = frozenset(("barrier", "delay", "measure", "reset"))


class Taken(NamedTuple):
    """What something takes of a device."""

    circuits: int
    """Bindings times bases."""
    shots: int
    """Of all circuits together."""
    instructions: int
    """Gates executed: over all shots, without barriers, delays, measurements and resets, with those that turn bases."""
    seconds: float | None
    """Shots times the duration of the scheduled circuit; None where the device states no durations."""

    def plus(self, other: "Taken") -> "Taken":
        seconds = None if self.seconds is None or other.seconds is None else self.seconds + other.seconds
        return Taken(self.circuits + other.circuits, self.shots + other.shots, self.instructions + other.instructions, seconds)


NOTHING = Taken(0, 0, 0, 0.0)


class Gauge:
    """Measures circuits, each once."""

    def __init__(self, device: BackendV2 | None):
        self._device = device
        self._known: Cache[list[tuple[int, float | None]]] = Cache()

    def taken(self, request: Request, alike: str | None = None, bindings: int | None = None) -> Taken:
        """Args:
        request: In the instruction set of the device.
        alike: Equal for requests of equal circuits and bases, where that is known.
        bindings: In place of the request's own number.
        """
        bases = request.measurement.bases
        key = alike or content_key(request.circuit, bases)
        each = self._known.get(key, lambda: [self._measure(request.circuit, basis) for basis in bases])
        n = len(request.bindings) if bindings is None else bindings
        shots, gates, durations = n * request.shots, sum(g for g, _ in each), [s for _, s in each]
        seconds = None if None in durations else sum(s for s in durations if s is not None) * shots
        return Taken(n * len(each), shots * len(each), shots * gates, seconds)

    @property
    def delay(self) -> float:
        """Seconds between one shot and the next, beyond the circuit's duration."""
        return float(getattr(self._device, "default_rep_delay", None) or 0.0)

    def _measure(self, circuit: QuantumCircuit, basis: Pauli) -> tuple[int, float | None]:
        """Gates, seconds of one shot."""
        gates = sum(n for name, n in circuit.count_ops().items() if name not in _NO_GATES)
        gates += int(basis.x.sum() + (basis.x & basis.z).sum())  # H turns X into Z; S^+ and H turn Y
        if self._device is None:
            return gates, None
        z_only = Pauli((basis.z | basis.x, basis.x & False))  # the gates that turn a basis need not be the device's
        try:
            return gates, float(measured(circuit, z_only).estimate_duration(self._device.target, unit="s"))
        except (
            QiskitError,
            TypeError,
            ValueError,
            KeyError,
        ):  # control flow, delays of unknown length, a target that is not complete
            return gates, None
