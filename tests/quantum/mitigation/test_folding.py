"""Folded circuits: the same unitary in the same instruction set, with more gates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator
from qiskit.transpiler import generate_preset_pass_manager

from qmm.quantum.errors import CircuitError
from qmm.quantum.mitigation.folding import folded

SETS = {
    "cz": ["rz", "sx", "x", "cz"],
    "ecr": ["rz", "sx", "x", "ecr"],
    "cx and u": ["u", "cx"],
    "ion trap": ["rx", "ry", "rz", "rxx"],
}
LINE = [[0, 1], [1, 0], [1, 2], [2, 1]]
DEVICES: dict[str, BackendV2 | None] = {
    "none": None,
    **{name: GenericBackendV2(3, basis_gates=gates, coupling_map=LINE, seed=2) for name, gates in SETS.items()},
}
ANGLE = Parameter("angle")


def random_circuit(seed: int, device: BackendV2 | None) -> QuantumCircuit:
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(3)
    for _ in range(rng.integers(1, 9)):
        circuit.ry(float(rng.normal()), int(rng.integers(3)))
        circuit.rz(ANGLE, int(rng.integers(3)))
        kind, pair = rng.integers(4), rng.permutation(3)[:2].tolist()
        if kind == 0:
            circuit.rzz(ANGLE * 2, *pair)
        elif kind == 1:
            circuit.crx(0.3, *pair)
        else:
            circuit.cx(*pair)
    if device is None:
        return circuit
    return generate_preset_pass_manager(1, backend=device, seed_transpiler=seed).run(circuit)


def counted(circuit: QuantumCircuit, all_gates: bool) -> int:
    return sum(1 for item in circuit.data if all_gates or len(item.qubits) > 1)


@pytest.mark.parametrize("name", DEVICES)
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 1.4, 2, 3, 4.5, 7]), st.booleans())
def test_the_unitary_stays(name: str, seed: int, factor: float, all_gates: bool) -> None:
    device = DEVICES[name]
    circuit = random_circuit(seed, device)
    found = folded(circuit, factor, all_gates, device, np.random.default_rng(seed))
    values = {ANGLE: 0.7}
    assert Operator(found.circuit.assign_parameters(values)).equiv(Operator(circuit.assign_parameters(values)))
    before = counted(circuit, False)
    if not all_gates and before:
        assert counted(found.circuit, False) == round(found.factor * before)
    if factor % 2 == 1:
        assert found.factor == (factor if counted(circuit, all_gates) else 1)
    elif before:
        assert abs(found.factor - factor) <= 3 / before + 1e-9
    if device is not None:
        for item in found.circuit.data:
            qubits = tuple(found.circuit.find_bit(q).index for q in item.qubits)
            assert device.target.instruction_supported(item.name, qubits)


def test_gates_that_are_folded_more_often_are_drawn() -> None:
    circuit = QuantumCircuit(2)
    for angle in range(10):
        circuit.cx(0, 1)
        circuit.ry(angle, 0)
    seen = set()
    for seed in range(5):
        found = folded(circuit, 2, False, None, np.random.default_rng(seed))
        assert found.factor == 2
        seen.add(tuple(item.name for item in found.circuit.data))
    assert len(seen) > 1


def test_a_device_without_the_inverse() -> None:
    device = GenericBackendV2(2, basis_gates=["rz", "sx", "x", "iswap"], coupling_map=[[0, 1]], seed=0)
    circuit = QuantumCircuit(2)
    circuit.iswap(0, 1)
    with pytest.raises(CircuitError, match="lacks the inverse of iswap"):
        folded(circuit, 3, False, device, np.random.default_rng(0))
