"""Probabilistic error cancellation (PEC): the inverse of each gate's noise, as a sum of Pauli gates with signs."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import CircuitInstruction, Gate, QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.providers import BackendV2
from qiskit.quantum_info import Clifford, PauliLindbladMap, pauli_basis
from qiskit.transpiler import generate_preset_pass_manager

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Request
from qmm.quantum.execution.simulators.noise import Noise
from qmm.quantum.extras import require
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.mitigation.pauli_noise import (
    ModelledNoise,
    PauliNoise,
    StatedNoise,
    average,
    gamma,
    lindblad,
    rates_to_terms,
)
from qmm.quantum.pubs import Cache

_LOG = logging.getLogger(__name__)
_TWIRLED = ("cx", "cz", "ecr")
_DRESSING = ("rz", "sx", "rz", "sx", "rz")  # what stands in front of each two-qubit gate and at the end, on each qubit


class Overhead(NamedTuple):
    """What cancelling the noise of a circuit costs."""

    gamma: float
    """By what errors of estimates grow, shots being equal."""
    sampling: float
    """gamma**2: by what the number of shots must grow for errors to stay what they are."""


class ProbabilisticErrorCancellation(Mitigation):
    """Noise undone gate by gate (arXiv:1612.02058, arXiv:2201.09866): unbiased where the noise is what it is said to be.

    Each layer of two-qubit gates stands between random Pauli gates, so that its noise is a Pauli channel; the inverse of that
    channel is a sum of Pauli gates of positive and negative weights, one of which is drawn for each layer. What a circuit so
    drawn measures counts with the product of its signs, times gamma. All draws are bindings of one circuit, whose one-qubit
    gates are written as RZ, SX, RZ, SX, RZ to take the Pauli gates in.

    Noise of one-qubit gates next to two-qubit gates is undone as if it was depolarising, of equal average fidelity. Read-out is
    left as it is (`Trex`, `M3`).

    Args:
        samples: Circuits that are drawn for each binding; its shots are divided among them. More draws of fewer shots tell
            more; below ten shots each there is little to gain.
        max_overhead: A circuit of which gamma**2 is larger is refused.
        noise: None: that of a simulated device. Else a `Noise`, or the probabilities of Pauli errors by gate,
            `{"cz": {"IX": 0.001, "ZZ": 0.002}, "cz 3 4": {...}}` (see `StatedNoise`); in Python also a
            `qiskit_aer.noise.NoiseModel` on physical qubits.
        one_qubit_gates: Whether the noise of one-qubit gates is undone too.
    """

    stage: ClassVar[int] = 120

    def __init__(
        self,
        samples: int = 100,
        max_overhead: float = 100.0,  # as in qiskit-mitigation: ten times the standard error
        noise: Noise | Mapping[str, Mapping[str, float]] | None = None,
        one_qubit_gates: bool = True,
    ):
        """Raises CircuitError for a number of samples or an overhead below 1, and for noise that is none."""
        if samples < 1 or max_overhead < 1:
            raise CircuitError(f"samples={samples}, max_overhead={max_overhead}; both are at least 1")
        self.samples, self.max_overhead, self.one_qubit_gates = samples, max_overhead, one_qubit_gates
        self._noise = None if noise is None else _read(noise)

    def overhead(self, request: Request, execution: Execution) -> Overhead:
        """Of a request in the instruction set of the device. Raises CircuitError as `expand` does, the limit apart."""
        return self._layers(request, execution).overhead

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError where the noise is not known, cannot be undone or costs too much, where two-qubit gates are no
        Clifford gates, and where shots are selected.
        """
        if request.reader is not None:
            raise CircuitError(
                "ProbabilisticErrorCancellation averages with signs, which shots that are selected or corrected one by one "
                "do not allow; leave out error detection, or this"
            )
        if not request.measurement.bases:
            return Expansion([request], lambda estimates: estimates[0])
        layers = self._layers(request, execution)
        found = layers.overhead
        if found.sampling > self.max_overhead:
            raise CircuitError(
                f"probabilistic error cancellation of this circuit has gamma = {found.gamma:,.4g} and takes gamma**2 = "
                f"{found.sampling:,.4g} times as many shots; max_overhead={self.max_overhead:g}: allow more, or take fewer "
                "two-qubit gates, better qubits, or zero-noise extrapolation"
            )
        if not layers.inverses:
            return Expansion([request], lambda estimates: estimates[0])
        return self._sampled(request, layers, execution.rng)

    def _layers(self, request: Request, execution: Execution) -> "_Layers":
        if self._noise is None and execution.noise_model() is None:
            raise CircuitError(
                "ProbabilisticErrorCancellation must know the noise, and this device does not say it. On hardware let the "
                "provider learn and cancel it instead: Runtime(options={resilience: {pec_mitigation: true}}, learning={...}); "
                "or give noise=, the Pauli errors of each two-qubit gate or a NoiseModel"
            )
        key = type(self).__name__, self
        if key not in execution.memory:
            execution.memory[key] = self._noise or ModelledNoise(execution.noise_model()), Cache()
        noise, known = execution.memory[key]
        return known.get(Fingerprint(request.circuit), lambda: self._build(request.circuit, noise, execution.device))

    def _build(self, circuit: QuantumCircuit, noise: PauliNoise, device: BackendV2 | None) -> "_Layers":
        if device is not None and not set(_DRESSING) <= set(device.target.operation_names):
            raise CircuitError(
                f"ProbabilisticErrorCancellation writes one-qubit gates with rz and sx, which {device.name} lacks; take "
                "another device, or leave it out"
            )
        boxed = _boxed(circuit if device is not None else _rewritten(circuit))
        maps = _Layering(noise, self.one_qubit_gates).maps(boxed)
        found = gamma(list(maps.values()))
        overhead = Overhead(found, found**2)
        _LOG.info("error cancellation: gamma = %.4g, gamma**2 = %.4g times as many shots for equal errors", *overhead)
        if not maps:
            return _Layers(circuit, None, {}, overhead)
        return _Layers(*_built(boxed, maps), {ref: m.inverse() for ref, m in maps.items()}, overhead)

    def _sampled(self, request: Request, layers: "_Layers", rng: np.random.Generator) -> Expansion:
        samples = min(self.samples, request.shots)
        each, more = divmod(request.shots, samples)
        requests, weights = [], []
        for n, shots in ((more, each + 1), (samples - more, each)):
            if n:
                bindings, signs = layers.draw(request, n, rng)
                own = {"circuit": layers.circuit, "parameters": tuple(layers.circuit.parameters)}
                requests.append(request._replace(bindings=bindings, shots=shots, **own))
                weights.append(signs * layers.overhead.gamma)

        def combine(estimates: Sequence[Estimates]) -> Estimates:
            values, variances = (
                np.concatenate([part[i].reshape(*w.shape, -1) for part, w in zip(estimates, weights, strict=True)], axis=1)
                for i in range(2)
            )
            return _averaged(values, variances, np.concatenate(weights, axis=1))

        return Expansion(requests, combine)


class _Layers(NamedTuple):
    """A circuit whose layers can be drawn."""

    circuit: QuantumCircuit
    samplex: Any
    inverses: dict[str, PauliLindbladMap]
    """Of the noise of each layer."""
    overhead: Overhead

    def draw(self, request: Request, n: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N * n, parameters) bindings of this circuit and (N, n) signs, for the N bindings of the request."""
        place = {parameter: i for i, parameter in enumerate(request.parameters)}
        columns = [place[parameter] for parameter in self.samplex.parameters]
        bindings = np.empty((len(request.bindings), n, self.circuit.num_parameters))
        signs = np.empty(bindings.shape[:2])
        for i, row in enumerate(request.bindings):
            inputs: dict[str, Any] = {"pauli_lindblad_maps": self.inverses}
            if columns:
                inputs["parameter_values"] = row[columns]
            found = self.samplex.sample(inputs, num_randomizations=n, rng=rng, max_workers=1)
            bindings[i], signs[i] = found["parameter_values"], 1 - 2 * (found["pauli_signs"].sum(axis=1) % 2)
        return bindings.reshape(-1, bindings.shape[-1]), signs


class _Layering:
    """Collects the noise of a boxed circuit: layers of two-qubit gates, each behind a dressing of one-qubit gates."""

    def __init__(self, noise: PauliNoise, one_qubit_gates: bool):
        self._noise, self._one_qubit_gates = noise, one_qubit_gates

    def maps(self, boxed: QuantumCircuit) -> dict[str, PauliLindbladMap]:
        """By the place of each box of two-qubit gates: the noise behind them. Boxes without noise are left out."""
        before, behind = self._dressings(boxed)
        found = {}
        for place, item in enumerate(boxed.data):
            qubits = sorted(_qubits(boxed, item))
            terms: list[tuple[str, list[int], float]] = []
            for gate, own in _gates(boxed, item):
                rates = lindblad(self._fidelities(gate, own, [before[place, q] for q in own], [behind[place, q] for q in own]))
                terms += rates_to_terms(rates, [qubits.index(q) for q in own])
            if terms:
                found[f"layer{place}"] = PauliLindbladMap.from_sparse_list(terms, len(qubits))
        return found

    def _dressings(self, boxed: QuantumCircuit) -> "tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]":
        """How many dressings stand before, and how many behind, the gates of a box (its place) on a qubit.

        Each stands before some gates, those at the end behind the last ones; noise that commutes with them is moved so.
        """
        before, behind, last = Counter[tuple[int, int]](), Counter[tuple[int, int]](), dict[int, int]()
        for place, item in enumerate(boxed.data):
            if item.operation.name != "box":
                continue
            gates = _gates(boxed, item)
            for qubit in _qubits(boxed, item):
                if gates:
                    before[place, qubit] += 1
                    last[qubit] = place
                elif qubit in last:
                    behind[last[qubit], qubit] += 1
        return before, behind

    def _fidelities(self, gate: Gate, own: tuple[int, ...], before: list[int], behind: list[int]) -> NDArray[np.float64]:
        """(16,), of what acts on the Pauli strings behind the gate."""
        strings = pauli_basis(2)
        behind_it = self._noise.fidelities(gate.name, own)
        found = np.ones(len(strings)) if behind_it is None else behind_it.copy()
        if self._one_qubit_gates:
            pulled = strings.evolve(Clifford(gate), frame="h")
            for i, qubit in enumerate(own):
                kept = self._dressing(qubit)
                for paulis, times in ((pulled, before[i]), (strings, behind[i])):
                    found[(paulis.x | paulis.z)[:, i]] *= kept**times
        return found

    def _dressing(self, qubit: int) -> float:
        """What is left of a Pauli string behind the gates of a dressing."""
        each = [self._noise.fidelities(gate, (qubit,)) for gate in _DRESSING]
        return float(np.prod([average(fidelities) for fidelities in each if fidelities is not None]))


def _qubits(boxed: QuantumCircuit, item: CircuitInstruction) -> list[int]:
    return [boxed.find_bit(qubit).index for qubit in item.qubits]


def _gates(boxed: QuantumCircuit, item: CircuitInstruction) -> list[tuple[Gate, tuple[int, ...]]]:
    """The two-qubit gates of a box, each with its qubits in the circuit."""
    if item.operation.name != "box":
        return []
    body, outer = item.operation.body, _qubits(boxed, item)
    return [
        (inner.operation, tuple(outer[body.find_bit(qubit).index] for qubit in inner.qubits))
        for inner in body.data
        if inner.operation.name in _TWIRLED
    ]


def _rewritten(circuit: QuantumCircuit) -> QuantumCircuit:
    """Of a simulator that takes any gate: with those that can be twirled."""
    own = [name for name in _TWIRLED if name in circuit.count_ops()] or list(_TWIRLED[:1])
    return generate_preset_pass_manager(1, basis_gates=["rz", "sx", "x", *own]).run(circuit)


def _boxed(circuit: QuantumCircuit) -> QuantumCircuit:
    """Layers of two-qubit gates with the one-qubit gates before them as boxes to twirl."""
    wide = {item.operation.name for item in circuit.data if len(item.qubits) > 1} - {*_TWIRLED, "barrier"}
    if wide:
        raise CircuitError(
            f"ProbabilisticErrorCancellation twirls {', '.join(_TWIRLED)}; the circuit has {', '.join(sorted(wide))}: take a "
            "device without these (for IBM's, use_fractional_gates=False), or leave it out"
        )
    passes = require("samplomatic.transpiler", "ibm", "draws of Pauli gates")
    try:
        return passes.generate_boxing_pass_manager(enable_measures=False, twirling_strategy="active").run(circuit)
    except QiskitError as error:
        raise CircuitError(f"ProbabilisticErrorCancellation cannot twirl this circuit: {error}") from error


def _built(boxed: QuantumCircuit, marked: Mapping[str, Any]) -> tuple[QuantumCircuit, Any]:
    """The circuit whose bindings are drawn, and what draws them; noise is put behind the layers that are marked."""
    samplomatic = require("samplomatic", "ibm", "draws of Pauli gates")
    annotated: QuantumCircuit = boxed.copy_empty_like()
    for place, item in enumerate(boxed.data):
        operation = item.operation
        if f"layer{place}" in marked:
            operation = operation.copy()
            operation.annotations = [*operation.annotations, samplomatic.InjectNoise(f"layer{place}")]
        annotated.append(operation, item.qubits, item.clbits)
    try:
        return samplomatic.build(annotated)
    except (samplomatic.exceptions.BuildError, samplomatic.exceptions.SamplexError) as error:
        raise CircuitError(
            f"ProbabilisticErrorCancellation writes one-qubit gates with rz and sx, and cannot so write this circuit: {error}"
        ) from error


def _averaged(values: NDArray[np.float64], variances: NDArray[np.float64], weights: NDArray[np.float64]) -> Estimates:
    """The mean over draws; its variance from their spread, which holds that of the shots.

    Args:
        values: (N, draws, P)
        variances: (N, draws, P)
        weights: (N, draws): gamma times signs.
    """
    weighted, draws = values * weights[..., None], values.shape[1]
    if draws == 1:
        return Estimates(weighted[:, 0], variances[:, 0] * weights**2)
    return Estimates(weighted.mean(axis=1), weighted.var(axis=1, ddof=1) / draws)


def _read(noise: Any) -> PauliNoise:
    if isinstance(noise, Mapping):
        return StatedNoise(noise)
    if isinstance(noise, Noise):
        return ModelledNoise(noise.model())
    if hasattr(noise, "noise_instructions"):
        return ModelledNoise(noise)
    raise CircuitError(
        f"a {type(noise).__name__} came as noise; give a NoiseModel, or Pauli errors by gate: {{'cz': {{'IX': 0.001}}}}"
    )
