"""Gates and their errors as channels in the Pauli basis: what a noisy circuit does, step by step."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import CircuitInstruction, QuantumCircuit
from qiskit.quantum_info import PTM, Operator, SuperOp
from qiskit_aer.noise import NoiseModel
from qiskit_aer.noise.errors.base_quantum_error import QuantumChannelInstruction
from qiskit_aer.noise.passes import RelaxationNoisePass

from qmm.quantum.lower import lower
from qmm.quantum.operations import Angle, Phase, Rotation

Floats = NDArray[np.float64]

_AXES = {"rx": "X", "ry": "Y", "rz": "Z", "p": "Z", "u1": "Z"}
WIDEST_GATE = 3  # qubits
_WIDEST_VARIED = 2  # of a gate with a parameter, other than a rotation of one qubit


class UnsuitedError(Exception):
    """A circuit that is no sequence of channels, or one whose channels are too wide: it is left to qiskit-aer."""


class Turn(NamedTuple):
    """A channel of one qubit: factors, the first acts first; matrices (4, 4), or an axis and the place of its angle."""

    qubit: int
    factors: tuple[Floats | tuple[str, int], ...]


class Fixed(NamedTuple):
    """A channel of several qubits, (4**k, 4**k)."""

    qubits: tuple[int, ...]
    matrix: Floats


class Varied(NamedTuple):
    """exp(-i angle * exponents[z]) on each basis state z of several qubits."""

    qubits: tuple[int, ...]
    exponents: Floats
    angle: int
    """The place of its angle."""


Step = Turn | Fixed | Varied


class Errors:
    """A noise model's errors as matrices, each made once."""

    def __init__(self, model: NoiseModel | None):
        """Raises UnsuitedError for a model with errors that are not tied to gates."""
        self.model = model
        self._known: dict[Any, Floats | None] = {}
        passes = model._custom_noise_passes if model is not None else []
        if any(type(found) is not RelaxationNoisePass for found in passes):
            raise UnsuitedError("custom noise passes")
        self._passes: list[RelaxationNoisePass] = passes

    def after(self, name: str, qubits: tuple[int, ...]) -> Floats | None:
        """The error of an instruction, which its label names, or its name where it has none; None where it has no error."""
        if self.model is None or name not in self.model._noise_instructions:
            return None
        if (name, qubits) not in self._known:
            own = self.model._local_quantum_errors.get(name, {}).get(qubits)
            error = self.model._default_quantum_errors.get(name) if own is None else own
            if error is not None and error.num_qubits != len(qubits):
                raise UnsuitedError(f"an error of {error.num_qubits} qubits after {name} on {len(qubits)}")
            self._known[name, qubits] = None if error is None else transfer(SuperOp(error))
        return self._known[name, qubits]

    def while_waiting(self, delay: Any, qubit: int) -> Floats | None:
        """The error of a delay, by its duration."""
        key = "delay", delay.duration, delay.unit, qubit
        if key not in self._known:
            matrix = None
            for found in self._passes:
                if not found._ops or isinstance(delay, found._ops):
                    error = found._func(delay, [qubit])
                    if error is not None:
                        matrix = transfer(SuperOp(error)) @ (np.eye(4) if matrix is None else matrix)
            self._known[key] = matrix
        return self._known[key]

    def readout(self, qubit: int) -> Floats | None:
        """(2, 2): what is read (columns) where the qubit is in 0 and 1 (rows); None where reading is exact."""
        if self.model is None:
            return None
        error = self.model._local_readout_errors.get((qubit,), self.model._default_readout_error)
        return None if error is None else np.asarray(error.probabilities, float)

    @property
    def reads_qubit_by_qubit(self) -> bool:
        """Whether all read-out errors are of single qubits, and measuring itself disturbs nothing."""
        model = self.model
        return model is None or (
            all(len(qubits) == 1 for qubits in model._local_readout_errors)
            and "measure" not in model._local_quantum_errors
            and "measure" not in model._default_quantum_errors
        )


def transfer(channel: Any) -> Floats:
    """(4**k, 4**k): the channel in the Pauli basis; digit q of an index is the axis on qubit q."""
    return np.ascontiguousarray(PTM(channel).data.real)


class Lowering:
    """A circuit's instructions as steps: what follows on one qubit until it meets another is one Turn.

    `result` raises UnsuitedError for circuits that it cannot take.
    """

    def __init__(self, circuit: QuantumCircuit, noise: Errors):
        self._noise, self._circuit = noise, circuit
        self._pending: dict[int, list[Floats | tuple[str, int]]] = {}
        self._steps: list[Step] = []
        self._angles: list[Angle] = []
        self._fixed: dict[Any, Floats] = {}

    def result(self) -> tuple[list[Step], list[Angle]]:
        place = {qubit: i for i, qubit in enumerate(self._circuit.qubits)}
        for item in self._circuit.data:
            if item.name != "barrier":
                self._add(item, tuple(place[qubit] for qubit in item.qubits))
        for qubit in list(self._pending):
            self._flush(qubit)
        return self._steps, self._angles

    def _add(self, item: CircuitInstruction, qubits: tuple[int, ...]) -> None:
        name, label = item.name, item.label or item.name
        if item.clbits or len(qubits) > WIDEST_GATE or (self._noise.model is not None and "_o" in name):
            raise UnsuitedError(f"{name} on {len(qubits)} qubits")
        if name == "delay":
            self._append(qubits, self._noise.while_waiting(item.operation, qubits[0]))
        elif item.is_parameterized():
            self._parametrised(item, qubits)
        else:
            self._append(qubits, self._matrix(item, name))
        self._append(qubits, self._noise.after(label, qubits))

    def _matrix(self, item: CircuitInstruction, name: str) -> Floats:
        if name == "reset":
            return np.outer([1.0, 0, 0, 1], [1.0, 0, 0, 0])
        if item.is_standard_gate():
            key = name, *item.params
            if key not in self._fixed:
                self._fixed[key] = transfer(Operator(item.operation))
            return self._fixed[key]
        operation = item.operation
        if isinstance(operation, QuantumChannelInstruction):
            return transfer(SuperOp(operation._quantum_error))
        if getattr(operation, "blocks", ()) or (not hasattr(operation, "__array__") and operation.definition is None):
            raise UnsuitedError(name)
        try:
            return transfer(Operator(operation))
        except Exception as error:  # not unitary: initialize, kraus, save_...
            raise UnsuitedError(name) from error

    def _parametrised(self, item: CircuitInstruction, qubits: tuple[int, ...]) -> None:
        if item.name in _AXES:
            self._append(qubits, (_AXES[item.name], self._angle(item.params[0])))
            return
        alone = QuantumCircuit(len(qubits))
        alone.append(item.operation, range(len(qubits)))
        for operation in lower(alone):
            own = tuple(qubits[i] for i in operation.qubits)
            if isinstance(operation, Rotation):
                self._append(own, (operation.axis, self._angle(operation.angle)))
            elif isinstance(operation, Phase):
                if len(own) > _WIDEST_VARIED:
                    raise UnsuitedError(f"{item.name} with a parameter")
                self._flush(*own)
                self._steps.append(Varied(own, operation.exponents, self._angle(operation.angle)))
            else:
                matrix = getattr(operation, "matrix", None)
                if matrix is None:
                    matrix = np.eye(len(operation.image))[np.argsort(operation.image)]
                self._append(own, transfer(Operator(matrix)))

    def _angle(self, angle: Angle) -> int:
        self._angles.append(angle)
        return len(self._angles) - 1

    def _append(self, qubits: tuple[int, ...], what: Floats | tuple[str, int] | None) -> None:
        if what is None:
            return
        if len(qubits) > 1:
            assert not isinstance(what, tuple)
            self._flush(*qubits)
            last = self._steps[-1] if self._steps else None
            if isinstance(last, Fixed) and last.qubits == qubits:  # a gate and its error
                self._steps[-1] = Fixed(qubits, what @ last.matrix)
            else:
                self._steps.append(Fixed(qubits, what))
            return
        factors = self._pending.setdefault(qubits[0], [])
        if isinstance(what, tuple) or not factors or isinstance(factors[-1], tuple):
            factors.append(what)
        else:
            factors[-1] = what @ factors[-1]

    def _flush(self, *qubits: int) -> None:
        for qubit in qubits:
            factors = self._pending.pop(qubit, None)
            if factors:
                self._steps.append(Turn(qubit, tuple(factors)))
