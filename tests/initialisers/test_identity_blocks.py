"""Identity blocks: by Qiskit's operators the identity, whatever the random half; refused where nothing undoes anything."""

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Operator

from qmm.circuits import Brickwork, HardwareEfficient, Mirrored, mirrored
from qmm.errors import InputError
from qmm.fusion import Pairs, QuantumFusion
from qmm.initialisers import IdentityBlocks, undoing
from qmm.quantum import Circuit


def read(circuit: QuantumCircuit) -> Circuit:
    return Circuit.of(circuit, observables=["Z" * circuit.num_qubits])


def operator(circuit: Circuit, weights: torch.Tensor) -> Operator:
    return Operator(circuit.quantum_circuit.assign_parameters(dict(zip(circuit.weights, weights.tolist(), strict=True))))


@pytest.mark.parametrize(
    ("ansatz", "share"),
    [
        (Mirrored(), 1),
        (Mirrored(Brickwork(("ry", "rx"), "crx"), depth=1), 1),
        (Mirrored(HardwareEfficient(gate="rxx", rotations=("ry",)), depth=3), 1),
        (Mirrored(HardwareEfficient(), depth=2), 6 / 7),  # of four RZ a qubit, the last is not felt: the first stands alone
    ],
)
@pytest.mark.parametrize("n", [2, 3, 4])
def test_blocks_are_the_identity(ansatz: Mirrored, share: float, n: int) -> None:
    circuit = read(ansatz.circuit(n))
    weights = IdentityBlocks().draw(circuit, torch.Generator().manual_seed(n), 2)
    assert undoing(circuit).share == pytest.approx(share)
    assert weights.abs().max() > 0.5
    for row in weights:
        np.testing.assert_allclose(operator(circuit, row).data, np.eye(2**n), atol=1e-12)


def test_two_blocks_one_behind_another_and_gates_that_undo_each_other_between() -> None:
    block = mirrored(HardwareEfficient(("rx", "rz")).circuit(3))
    names = {p: Parameter(f"again.{p.name}") for p in block.parameters}
    circuit = QuantumCircuit(3)
    circuit.compose(block, inplace=True)
    circuit.s(1)
    circuit.sdg(1)
    circuit.compose(block.assign_parameters(names), inplace=True)
    (weights,) = IdentityBlocks().draw(read(circuit), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(operator(read(circuit), weights).data, np.eye(8), atol=1e-12)


def test_a_mirrored_circuit_has_the_angles_of_both_halves() -> None:
    layer = HardwareEfficient(("rx", "ry"), "crz").circuit(3)
    whole = mirrored(layer)
    generator = np.random.default_rng(0)
    first, second = ({p.name: generator.uniform(-3, 3) for p in layer.parameters} for _ in range(2))
    found = Operator(whole.assign_parameters({**first, **{f"{name}.back": -value for name, value in second.items()}}))
    expected = Operator(layer.assign_parameters(second)).adjoint() @ Operator(layer.assign_parameters(first))
    assert found.equiv(expected)


def test_a_fusion_starts_as_if_nothing_in_its_registers_were_trained() -> None:
    fusion = QuantumFusion(layers=2, ansatz=Mirrored())
    fusion.build({"vision": 4, "audio": 2})
    circuit = fusion.circuit()
    (weights,) = IdentityBlocks().draw(circuit, torch.Generator().manual_seed(0))
    bare = QuantumCircuit(*circuit.quantum_circuit.qregs)
    for item in circuit.quantum_circuit.data:
        across = len({circuit.quantum_circuit.find_bit(q).registers[0][0].name for q in item.qubits}) > 1
        if across or any(p in circuit.inputs for angle in item.operation.params for p in angle.parameters):
            bare.append(item)
    angles = {x: 0.3 * place - 1 for place, x in enumerate(circuit.inputs)}
    started = {**angles, **dict(zip(circuit.weights, weights.tolist(), strict=True))}
    found = Operator(circuit.quantum_circuit.assign_parameters(started))
    assert found.equiv(Operator(bare.assign_parameters(angles)))


def test_circuits_without_blocks_are_refused() -> None:
    fusion = QuantumFusion()
    fusion.build({"vision": 4, "audio": 4})
    with pytest.raises(InputError, match=r"of 24 weights 0 undo each other \(0%"):
        IdentityBlocks().draw(fusion.circuit(), torch.Generator())
    coupled = QuantumFusion(ansatz=Mirrored(), entangler=Pairs())
    coupled.build({"vision": 4, "audio": 4})
    found = undoing(coupled.circuit())  # couplings between blocks are not undone
    assert {coupled.circuit().weights[place].name.endswith(".zz") for place in found.others} == {True}


def test_shared_and_scaled_weights_undo_nothing() -> None:
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.rx(a, 0)
    circuit.rx(a, 0)
    circuit.ry(b, 1)
    circuit.ry(2 * b, 1)
    assert undoing(read(circuit)).pairs == []
    circuit = QuantumCircuit(2)
    circuit.crx(a, 0, 1)
    circuit.crx(b, 1, 0)
    assert undoing(read(circuit)).pairs == []
