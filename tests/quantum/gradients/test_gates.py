"""Every parametrised gate that the exact engine takes: the rules against the adjoint."""

from typing import Any

import pytest
import torch
from qiskit.circuit import AnnotatedOperation, ControlModifier, Gate, InverseModifier, Parameter, QuantumCircuit
from qiskit.circuit.library import (
    PauliEvolutionGate,
    PhaseGate,
    RXGate,
    RYGate,
    RYYGate,
    RZGate,
    RZXGate,
    U1Gate,
    U2Gate,
    U3Gate,
    UGate,
)
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.quantum_info import SparsePauliOp

from qmm.quantum import Circuit, CompiledCircuit
from qmm.quantum.gradients import FiniteDifference, LinearCombination, ParameterShift

N = 4  # qubits


def _inner(a: Parameter, b: Parameter) -> Gate:
    circuit = QuantumCircuit(2, global_phase=a)
    circuit.rx(a * b, 0)
    circuit.cx(0, 1)
    circuit.p(b, 1)
    return circuit.to_gate()


A, B = Parameter("a"), Parameter("b")
GATES: dict[str, Any] = {
    **{
        name: gate.base_class(*[A, B, A + 2 * B, A * B][: len(gate.params)])
        for name, gate in get_standard_gate_name_mapping().items()
        if gate.params and name not in ("global_phase", "delay")
    },
    "u1": U1Gate(A),
    "u2": U2Gate(A, B),
    "u3": U3Gate(A, 0.3, B),
    "cu1": U1Gate(A).control(1, annotated=False),
    "cu3": U3Gate(A, B, A).control(1, annotated=False),
    "open crx": RXGate(A).control(1, ctrl_state=0, annotated=False),
    "open cp": PhaseGate(A).control(1, ctrl_state=0, annotated=False),
    "mcrx": RXGate(A).control(3, ctrl_state=5, annotated=False),
    "mcry": RYGate(B).control(2, annotated=False),
    "mcrz": RZGate(A).control(2, ctrl_state=1, annotated=False),
    "mcp": PhaseGate(A).control(3, ctrl_state=6, annotated=False),
    "mcu": UGate(A, B, 0.4).control(2, ctrl_state=2, annotated=False),
    "mcu2": U2Gate(B, A).control(2, annotated=False),
    "cryy": RYYGate(A).control(1, annotated=False),
    "crzx": RZXGate(A).control(2, annotated=False),
    "ccu": UGate(0.3, A, B).control(1, annotated=False).control(1, annotated=False),
    "evolution of X": PauliEvolutionGate(SparsePauliOp(["X"], [0.7]), time=A),
    "evolution of XYZI": PauliEvolutionGate(SparsePauliOp(["XYZI"], [0.7]), time=A),
    "evolution of XZ": PauliEvolutionGate(SparsePauliOp(["XZ"], [-0.7]), time=A * B),
    "commuting evolution": PauliEvolutionGate(SparsePauliOp(["XXI", "YYI", "ZZI", "III"], [0.3, 0.5, -0.7, 2.0]), time=A),
    "evolutions in turn": PauliEvolutionGate([SparsePauliOp("XX", 0.3), SparsePauliOp("IZ", 0.8)], time=A),
    "sub-circuit": _inner(A, B),
    "controlled sub-circuit": _inner(A, B).control(1, annotated=False),
    "annotated": AnnotatedOperation(RYGate(A), [ControlModifier(2, 1), InverseModifier()]),
}


def circuit_of(gate: Any) -> CompiledCircuit:
    """The gate among others that make every angle of it felt, an input `a`, a weight `b` and one more of each."""
    x, w = Parameter("x"), Parameter("w")
    circuit = QuantumCircuit(N)
    for q in range(N):
        circuit.ry(0.4 + q, q)
        circuit.rz(1.1 - q, q)
    circuit.append(gate, [2, 0, 3, 1][: gate.num_qubits])
    for q in range(N):
        circuit.rx(0.3 + q, q)
        circuit.cz(q, (q + 1) % N)
    circuit.ry(x + 2 * w, 0)
    return CompiledCircuit(Circuit.of(circuit, [A, x], [B, w], ["ZZIX", SparsePauliOp(["IXYI", "XIII"], [0.3, -1.2])]))


@pytest.mark.parametrize("name", GATES)
def test_every_gate(name: str, gradients, draw) -> None:
    circuit, inputs, weights = circuit_of(GATES[name]), draw(2, 2), draw(2)
    expected = gradients(circuit, inputs, weights)
    for rule in (ParameterShift(), LinearCombination()):
        torch.testing.assert_close(gradients(circuit, inputs, weights, rule), expected, atol=1e-9, rtol=0)
    for difference in (FiniteDifference(1e-3), FiniteDifference(1e-6, "forward")):  # their bias, and rounding over a millionth
        torch.testing.assert_close(gradients(circuit, inputs, weights, difference), expected, atol=3e-5, rtol=0)
