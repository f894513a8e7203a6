"""Circuits in the instruction set of a device, each transpiled once."""

from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.transpiler import generate_preset_pass_manager

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Request
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.pubs import Cache

# What simulators without a device of their own take. Controlled rotations and phases are left out: qiskit-aer 0.18 binds their
# parameters wrongly, which shows in the values only.
_ANY_GATE = (
    *("rx", "ry", "rz", "p", "u", "h", "s", "sdg", "t", "tdg", "x", "y", "z", "sx", "sxdg"),
    *("cx", "cy", "cz", "swap", "rxx", "ryy", "rzz", "rzx"),
)


class Transpiler:
    """Transpiles requests for a device, and remembers.

    Args:
        device: The device; None: for simulators that take any gate on any qubits.
        level: The transpiler's optimization level, 0 to 3.
        seed: Of its layout and routing.
    """

    def __init__(self, device: BackendV2 | None, level: int = 3, seed: int = 0):
        """Raises CircuitError for a level that there is not."""
        if level not in (0, 1, 2, 3):
            raise CircuitError(f"optimization_level={level}; the transpiler has 0, 1, 2 and 3")
        self.device, self.level, self.seed = device, level, seed
        self._known: Cache[QuantumCircuit] = Cache()

    def __call__(self, request: Request) -> Request:
        """The request with its circuit in the device's instruction set, on all of the device's qubits.

        Raises CircuitError for a device that has too few qubits, and for one on which the circuit cannot be written.
        """
        key = Fingerprint(request.circuit), request.initial_layout
        physical = self._known.get(key, lambda: self._transpile(request.circuit, request.initial_layout))
        return request._replace(circuit=physical, measurement=request.measurement.apply_layout(physical.layout))

    def _transpile(self, circuit: QuantumCircuit, layout: tuple[int, ...] | None) -> QuantumCircuit:
        if self.device is None:
            passes = generate_preset_pass_manager(min(self.level, 1), basis_gates=list(_ANY_GATE), seed_transpiler=self.seed)
            return passes.run(circuit)
        available = self.device.num_qubits
        if available is not None and circuit.num_qubits > available:
            raise CircuitError(
                f"the circuit has {circuit.num_qubits} qubits, {self.device.name} has {available}; take a larger device, or "
                "cut the circuit between its registers, so that each runs on its own device (qmm.quantum.scaling.CutBackend)"
            )
        passes = generate_preset_pass_manager(
            self.level,
            backend=self.device,
            initial_layout=None if layout is None else list(layout),
            seed_transpiler=self.seed,
        )
        return passes.run(circuit)
