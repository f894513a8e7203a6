"""Noise that is written down: probabilities and times, as a noise model and as a device to transpile for."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from qiskit.circuit import Delay, Gate, Measure, Parameter, Reset
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import BackendV2, Options
from qiskit.providers.backend import QubitProperties
from qiskit.transpiler import CouplingMap, InstructionProperties, Target

from qmm.quantum.errors import CircuitError

_VIRTUAL = ("rz",)  # done by whoever plays the pulses: no time passes, and an error by the number of qubits leaves it out
_SHAPES = ("line", "ring", "full")
_TIMED = 1024  # qubits whose waiting is noisy where the device has no size
_DT = 1e-9  # seconds: the clock that delays are counted in

PerGate = float | dict[str | int, float]


@dataclass(frozen=True)
class Noise:
    """The same noise on every qubit.

    What is given per gate is one number, or a mapping from gates or their numbers of qubits to numbers. One number, and those
    by number of qubits, leave out "rz", which devices do by software.

    Attributes:
        depolarizing: Per gate: the probability that all qubits of the gate are replaced by fully mixed ones.
        amplitude_damping: Per gate: the probability that |1> decays to |0>, on each of its qubits.
        phase_damping: Per gate: the probability that a qubit's phase is lost, on each of its qubits.
        readout: The probability of a wrong bit, or [[p(0|0), p(1|0)], [p(0|1), p(1|1)]].
        t1: Microseconds; acts while gates and delays last.
        t2: Microseconds, at most 2 t1.
        durations: Per gate, and of "measure": nanoseconds.
        basis_gates: The device's gates.
        coupling_map: Pairs of qubits, each in the direction that the device has; "line", "ring" or "full" of `qubits`, in both
            directions; None: any.
        qubits: How many there are; None: as many as a circuit has, or as the pairs name.
    """

    depolarizing: PerGate | None = None
    amplitude_damping: PerGate | None = None
    phase_damping: PerGate | None = None
    readout: float | list[list[float]] | None = None
    t1: float | None = None
    t2: float | None = None
    durations: dict[str | int, float] | None = None
    basis_gates: Sequence[str] = ("rz", "sx", "x", "cx")
    coupling_map: list[list[int]] | str | None = None
    qubits: int | None = None

    def __post_init__(self) -> None:
        """Raises CircuitError for gates that there are not, and for numbers that are no probabilities or times."""
        for gate in self.basis_gates:
            if gate not in _gates():
                raise CircuitError(unknown("gate", gate, _gates()))
            if _gates()[gate].num_qubits > 2:
                raise CircuitError(f"basis_gates has {gate!r}; the gates of a device are of one or two qubits")
        for name in ("depolarizing", "amplitude_damping", "phase_damping"):
            for gate, value in self._per_gate(name).items():
                _probability(value, f"{name} of {gate}")
        self._per_gate("durations", "measure")
        for what, value in (self.durations or {}).items():
            if not value >= 0:
                raise CircuitError(f"the duration of {what} is {value}; give nanoseconds, 0 or more")
        self._check_times()
        if isinstance(self.readout, Sequence):
            _check_matrix(self.readout)
        elif self.readout is not None:
            _probability(self.readout, "readout")
        self._check_map()

    def model(self) -> Any:
        """A `qiskit_aer.noise.NoiseModel`."""
        from qiskit_aer import noise
        from qiskit_aer.noise.passes import RelaxationNoisePass

        model = noise.NoiseModel(basis_gates=list(self.basis_gates))
        durations = self._per_gate("durations", "measure")
        t1, t2 = self._times()
        for gate in self.basis_gates:
            width, parts = _gates()[gate].num_qubits, []
            if p := self._per_gate("depolarizing").get(gate, 0.0):
                parts.append(noise.depolarizing_error(p, width))
            single = [
                make(p)
                for name, make in (
                    ("amplitude_damping", noise.amplitude_damping_error),
                    ("phase_damping", noise.phase_damping_error),
                )
                if (p := self._per_gate(name).get(gate, 0.0))
            ]
            if math.isfinite(t2) and (duration := durations.get(gate, 0.0)):
                single.append(noise.thermal_relaxation_error(t1 * 1e3, t2 * 1e3, duration))
            for error in single:
                together = error
                for _ in range(width - 1):
                    together = together.tensor(error)
                parts.append(together)
            if parts:
                whole = parts[0]
                for part in parts[1:]:
                    whole = whole.compose(part)
                model.add_all_qubit_quantum_error(whole, gate)
        if self.readout is not None:
            read = self.readout
            model.add_all_qubit_readout_error(read if isinstance(read, Sequence) else [[1 - read, read], [read, 1 - read]])
        if math.isfinite(t2):
            n = self.qubits or _TIMED
            times = [[t * 1e-6] * n for t in (t1, t2)]
            model._custom_noise_passes.append(RelaxationNoisePass(times[0], times[1], _DT, Delay))  # as Aer's own models
        return model

    def device(self) -> BackendV2:
        """What circuits are transpiled for."""
        return NoisyDevice(self)

    def target(self) -> Target:
        """Gates, couplings and durations."""
        durations = self._per_gate("durations", "measure")
        durations |= {gate: 0.0 for gate in _VIRTUAL if durations and gate in self.basis_gates and gate not in durations}
        pairs = self._pairs()
        n = self.qubits if self.qubits is not None or pairs is None else 1 + max(q for pair in pairs for q in pair)
        if n is None:  # whatever a circuit has: the target cannot say how long a gate lasts on any qubit
            target = Target(num_qubits=None, dt=_DT)
            for instruction in (*(_gates()[gate] for gate in self.basis_gates), Measure(), Reset(), Delay(Parameter("t"))):
                target.add_instruction(instruction)
            return target
        t1, t2 = (t * 1e-6 for t in self._times())
        target = Target(num_qubits=n, dt=_DT, qubit_properties=[QubitProperties(t1=t1, t2=t2) for _ in range(n)])
        singles: list[tuple[int, ...]] = [(q,) for q in range(n)]
        doubles = [tuple(pair) for pair in pairs or CouplingMap.from_full(n).get_edges()]
        for gate in self.basis_gates:
            found = _gates()[gate]
            places = singles if found.num_qubits == 1 else doubles
            target.add_instruction(found, dict.fromkeys(places, _lasting(durations.get(gate))))
        target.add_instruction(Measure(), dict.fromkeys(singles, _lasting(durations.get("measure"))))
        target.add_instruction(Reset(), dict.fromkeys(singles))
        target.add_instruction(Delay(Parameter("t")), dict.fromkeys(singles))
        return target

    def _per_gate(self, name: str, *more: str) -> dict[str, float]:
        """By gate. Raises CircuitError for a gate that the device does not have."""
        value: PerGate | None = getattr(self, name)
        if value is None:
            return {}
        noisy = [gate for gate in self.basis_gates if gate not in _VIRTUAL]
        if not isinstance(value, Mapping):
            return dict.fromkeys(noisy, float(value))
        known = (*self.basis_gates, *more)
        found: dict[str, float] = {}
        for key, number in sorted(value.items(), key=lambda item: not str(item[0]).isdigit()):  # a gate's own name comes last
            if str(key).isdigit():
                found |= {gate: float(number) for gate in noisy if _gates()[gate].num_qubits == int(key)}
            elif key in known:
                found[str(key)] = float(number)
            else:
                raise CircuitError(f"{name}: {unknown('gate of this device', str(key), known)}")
        return found

    def _times(self) -> tuple[float, float]:
        """T1 and T2 in microseconds; infinite where nothing is lost."""
        t1 = math.inf if self.t1 is None else self.t1
        return t1, 2 * t1 if self.t2 is None else self.t2

    def _check_times(self) -> None:
        for name in ("t1", "t2"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise CircuitError(f"{name}={value}; give microseconds, more than 0")
        t1, t2 = self._times()
        if t2 > 2 * t1:
            raise CircuitError(
                f"t2={t2} with t1={t1}; a qubit's phase lasts at most twice as long as its state: t2 <= {2 * t1}"
            )
        if (self.t1 is not None or self.t2 is not None) and not self.durations:
            raise CircuitError("t1 and t2 act while gates last: give durations, {1: 35, 2: 300, measure: 1000} for instance")

    def _check_map(self) -> None:
        if self.qubits is not None and self.qubits < 1:
            raise CircuitError(f"qubits={self.qubits}; a device has at least one")
        if isinstance(self.coupling_map, str):
            if self.coupling_map not in _SHAPES:
                raise CircuitError(unknown("coupling map", self.coupling_map, _SHAPES))
            if self.qubits is None:
                raise CircuitError(f"coupling_map={self.coupling_map!r} of how many qubits? Give qubits, too")
        for pair in self._pairs() or ():
            last = math.inf if self.qubits is None else self.qubits
            if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= q < last for q in pair):
                raise CircuitError(f"coupling_map has {list(pair)}; give pairs of different qubits, 0 to {last - 1}")

    def _pairs(self) -> list[Sequence[int]] | None:
        if self.coupling_map is None:
            return None
        if not isinstance(self.coupling_map, str):
            return list(self.coupling_map)
        make = {"line": CouplingMap.from_line, "ring": CouplingMap.from_ring, "full": CouplingMap.from_full}[self.coupling_map]
        return list(make(self.qubits or 1).get_edges())


class SimulatedDevice(BackendV2):
    """A device that is only its target; subclasses say how it is simulated."""

    def __init__(self, target: Target, name: str, description: str):
        super().__init__(name=name, description=description)
        self._target = target

    @property
    def target(self) -> Target:
        return self._target

    @property
    def max_circuits(self) -> None:
        return None

    @classmethod
    def _default_options(cls) -> Options:
        return Options()


class NoisyDevice(SimulatedDevice):
    """A device of the user's own."""

    def __init__(self, noise: Noise, name: str = "own device"):
        super().__init__(noise.target(), name, "a device with noise that was written down")
        self.noise = noise

    def run(self, run_input: Any, **options: Any) -> Any:
        """Simulates the device."""
        from qiskit_aer import AerSimulator

        return AerSimulator(noise_model=self.noise.model()).run(run_input, **options)


@cache
def clifford_device() -> BackendV2:
    """Any qubits, and the gates that stabilizer states can be simulated with; RZ by multiples of pi/2."""
    gates = ("h", "s", "sdg", "x", "y", "z", "sx", "sxdg", "rz", "cx", "cy", "cz", "swap", "ecr")
    return NoisyDevice(Noise(basis_gates=gates), "Clifford gates")


@cache
def _gates() -> dict[str, Gate]:
    return {name: gate for name, gate in get_standard_gate_name_mapping().items() if isinstance(gate, Gate)}


def _lasting(nanoseconds: float | None) -> InstructionProperties | None:
    return None if nanoseconds is None else InstructionProperties(duration=nanoseconds * 1e-9)


def _probability(value: float, what: str) -> None:
    if not 0 <= value <= 1:
        raise CircuitError(f"{what} is {value}; a probability is between 0 and 1")


def _check_matrix(matrix: Sequence[Sequence[float]]) -> None:
    rows = [list(row) if isinstance(row, Sequence) else [row] for row in matrix]
    right = len(rows) == 2 and all(len(row) == 2 and min(row) >= 0 and math.isclose(sum(row), 1, abs_tol=1e-9) for row in rows)
    if not right:
        raise CircuitError(f"readout={matrix}; give [[p(0|0), p(1|0)], [p(0|1), p(1|1)]], each row summing to 1")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """What to say of a name that there is not."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"there is no {what} {name!r}; " + (f"did you mean {' or '.join(near)}?" if near else f"take {', '.join(known)}")
