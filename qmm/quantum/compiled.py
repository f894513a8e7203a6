"""CompiledCircuit: a Circuit with what each engine compiles it into, made when first used and kept."""

from functools import cached_property
from typing import Any

import numpy as np
import psutil
import torch

from qmm.quantum.angles import Angles
from qmm.quantum.circuit import Circuit
from qmm.quantum.describe import describe
from qmm.quantum.errors import CircuitError
from qmm.quantum.lower import lower
from qmm.quantum.operations import Operation
from qmm.quantum.tensors.program import Program, compile_program, convert, tensor_layers

_GIB = 2**30


class CompiledCircuit:
    """A Circuit that is lowered once, when it is first simulated exactly, and compiled once for each use: engine, dtype,
    device, weights shared or per sample.

    Copies and pickles carry the circuit alone.
    """

    def __init__(self, circuit: Circuit):
        """Raises CircuitError for a circuit that is not well formed."""
        self.circuit = circuit.check()
        self._made: dict[Any, Any] = {}

    @cached_property
    def operations(self) -> list[Operation]:
        """The circuit lowered, which only the exact engines need.

        Raises CircuitError when it cannot be simulated exactly, or has more qubits than memory holds.
        """
        require_memory(self.circuit.quantum_circuit.num_qubits, 1, torch.complex64, torch.device("cpu"))
        return lower(self.circuit.quantum_circuit)

    def program(self, weights_per_sample: bool, device: torch.device, dtype: torch.dtype, whole: bool = False) -> Program:
        """For the torch engine; `dtype`: float32 or float64; `whole`: for its state, not only for what is read out."""
        key = ("program", weights_per_sample, whole)
        if key not in self._made:
            self._made[key] = compile_program(self.circuit, self.operations, self._varying(weights_per_sample), whole)
        placed = (*key, device, dtype)
        if placed not in self._made:
            self._made[placed] = convert(self._made[key], device, dtype)
        return self._made[placed]

    def tape(self, weights_per_sample: bool, dtype: torch.dtype) -> tuple[Any, Angles, Angles]:
        """For the CPU kernels: the tape, the angles that all samples share, and those that they do not."""
        from qmm.quantum.kernels.tape import compile_tape

        key = ("tape", weights_per_sample)
        if key not in self._made:
            self._made[key] = compile_tape(self.circuit, self.operations, self._varying(weights_per_sample))
        placed = (*key, dtype)
        if placed not in self._made:
            tape, *angles = self._made[key]
            number = np.dtype(str(dtype).removeprefix("torch."))
            self._made[placed] = (tape.to(number), *(convert(a, torch.device("cpu"), dtype) for a in angles))
        return self._made[placed]

    def describe(self, engine: str = "kernels", weights_per_sample: bool = False) -> str:
        """What the circuit is compiled into for the "kernels" or the "torch" engine, one line for each pass over the state."""
        from qmm.quantum.kernels.tape import kernel_layers

        layers, moved = (tensor_layers if engine == "torch" else kernel_layers)(self.circuit, self.operations)
        return describe(self.circuit, layers, moved, self._varying(weights_per_sample))

    def _varying(self, weights_per_sample: bool) -> frozenset[Any]:
        return frozenset((*self.circuit.inputs, *self.circuit.weights) if weights_per_sample else self.circuit.inputs)

    @torch.compiler.assume_constant_result
    def serial(self) -> tuple[str, int]:
        """The circuit as text, and its number of outputs."""
        if "serial" not in self._made:
            self._made["serial"] = self.circuit.to_json(), self.circuit.n_outputs
        return self._made["serial"]

    def __reduce__(self) -> tuple[type["CompiledCircuit"], tuple[Circuit]]:
        return CompiledCircuit, (self.circuit,)


def require_memory(n_qubits: int, states: int, dtype: torch.dtype, device: torch.device) -> None:
    """Raises CircuitError if `states` state vectors are more than is free, before anything is allocated."""
    needed = states * dtype.itemsize * 2**n_qubits
    if needed < 2**26:  # asking the system takes longer than such a circuit
        return
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > free:
        raise CircuitError(
            f"{states} state(s) of {n_qubits} qubits in {str(dtype).removeprefix('torch.')} take {needed / _GIB:,.1f} GiB, "
            f"{free / _GIB:,.1f} GiB are free on {device.type}; take fewer qubits or a smaller batch, or a backend that "
            "does not hold the whole state (matrix product states)"
        )
