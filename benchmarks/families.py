"""The circuits of the race, in Qiskit, and their description in the gates of a peer."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter, ParameterExpression
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping

from qmm.quantum import Circuit

FAMILIES = ("ring", "reupload", "rzz", "crx", "random")


def circuit(family: str, n_qubits: int, layers: int = 3) -> Circuit:
    """One of FAMILIES: an angle a qubit goes in, `layers` trained layers follow."""
    inputs = [Parameter(f"x{q:03}") for q in range(n_qubits)]
    if family == "random":
        return _random(n_qubits, inputs)
    qc, fresh = QuantumCircuit(n_qubits), _Weights()
    for layer in range(layers):
        if layer == 0 or family == "reupload":
            for q in range(n_qubits):
                qc.rx(inputs[q], q) if family in ("rzz", "crx") else qc.ry(inputs[q], q)
        {"ring": _ring, "reupload": _ring, "rzz": _rzz, "crx": _crx}[family](qc, fresh)
    observables = _z_observables(n_qubits) if family in ("ring", "reupload") else _xyz_observables(n_qubits)
    return Circuit.of(qc, inputs, fresh.made, observables)


class _Weights:
    def __init__(self) -> None:
        self.made: list[Parameter] = []

    def __call__(self) -> Parameter:
        self.made.append(Parameter(f"w{len(self.made):05}"))
        return self.made[-1]


def _pairs(n_qubits: int) -> list[tuple[int, int]]:
    return [(q, (q + 1) % n_qubits) for q in range(n_qubits)]


def _ring(qc: QuantumCircuit, fresh: _Weights) -> None:
    for q in range(qc.num_qubits):
        qc.ry(fresh(), q)
        qc.rz(fresh(), q)
    for a, b in _pairs(qc.num_qubits):
        qc.cx(a, b)


def _rzz(qc: QuantumCircuit, fresh: _Weights) -> None:
    for q in range(qc.num_qubits):
        qc.ry(fresh(), q)
    for a, b in _pairs(qc.num_qubits):
        qc.rzz(fresh(), a, b)
    for a, b in _pairs(qc.num_qubits):
        qc.rxx(fresh(), a, b)


def _crx(qc: QuantumCircuit, fresh: _Weights) -> None:
    for q in range(qc.num_qubits):
        qc.ry(fresh(), q)
        qc.rz(fresh(), q)
    for a, b in _pairs(qc.num_qubits):
        qc.crx(fresh(), a, b)


def _random(n_qubits: int, inputs: list[Parameter]) -> Circuit:
    """8 n gates drawn from Qiskit's standard gates; an angle is an input in one case of four. The seed is the width."""
    rng, qc, fresh = np.random.default_rng(n_qubits), QuantumCircuit(n_qubits), _Weights()
    leave_out = {"measure", "reset", "delay", "global_phase"}
    gates = [gate for name, gate in sorted(get_standard_gate_name_mapping().items()) if name not in leave_out]
    for q in range(n_qubits):
        qc.ry(inputs[q], q)
    for _ in range(8 * n_qubits):
        gate = gates[rng.integers(len(gates))].to_mutable()
        gate.params = [inputs[rng.integers(n_qubits)] if rng.random() < 0.25 else fresh() for _ in gate.params]
        qc.append(gate, rng.permutation(n_qubits)[: gate.num_qubits].tolist())
    return Circuit.of(qc, inputs, fresh.made, _xyz_observables(n_qubits))


def _label(n_qubits: int, paulis: dict[int, str]) -> str:
    return "".join(paulis.get(q, "I") for q in reversed(range(n_qubits)))


def _z_observables(n: int) -> list[str]:
    """Z of every qubit and Z Z of three pairs."""
    pairs = [(0, 1), (1, 2), (0, n - 1)]
    return [_label(n, {q: "Z"}) for q in range(n)] + [_label(n, {a: "Z", b: "Z"}) for a, b in pairs]


def _xyz_observables(n: int) -> list[str]:
    """X, Y or Z of every qubit in turn, and X X, Y Y, Z Z of a pair each."""
    single = [_label(n, {q: "XYZ"[q % 3]}) for q in range(n)]
    return single + [_label(n, {q: "XYZ"[q], q + 1: "XYZ"[q]}) for q in range(3)]


def describe(circuit: Circuit, gates: Sequence[str]) -> dict[str, Any]:
    """The fields of `peers.interface.Description`, transpiled to `gates`; without gates, only the Qiskit circuit."""
    columns = {p: i for i, p in enumerate((*circuit.inputs, *circuit.weights))}
    rows = []
    if gates:
        with warnings.catch_warnings(action="ignore"):  # gates that this Qiskit has no object for are simply not used
            flat = transpile(circuit.quantum_circuit, basis_gates=list(gates), optimization_level=0)
        for instruction in flat.data:
            qubits = [flat.find_bit(q).index for q in instruction.qubits]
            if instruction.operation.name == "barrier":
                continue
            rows.append((instruction.operation.name, qubits, [_affine(a, columns) for a in instruction.operation.params]))
    return {
        "qubits": circuit.quantum_circuit.num_qubits,
        "inputs": len(circuit.inputs),
        "weights": len(circuit.weights),
        "gates": rows,
        "observables": [[(label, float(c.real)) for label, c in o.to_list()] for o in circuit.observables],
        "source": circuit.to_json(),
    }


def _affine(angle: ParameterExpression | float, columns: dict[Parameter, int]) -> tuple[float, list[tuple[int, float]]]:
    """(constant, [(column, coefficient), ...]). Raises TypeError where the angle is not an affine function."""
    if not isinstance(angle, ParameterExpression) or not angle.parameters:
        return float(angle), []
    constant = float(angle.bind(dict.fromkeys(angle.parameters, 0.0)))
    return constant, [(columns[p], float(angle.gradient(p))) for p in angle.parameters]
