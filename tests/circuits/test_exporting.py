"""OpenQASM 3 is read again as the circuit it was written from, whatever the gates and names; for every member of the family."""

import inspect

import numpy as np
import pytest
from qiskit import qasm3
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import Operator

import qmm.circuits
import qmm.fusion
from qmm.circuits import Ansatz, FeatureMap
from qmm.circuits.exporting import to_qasm3
from qmm.fusion import Entangler, QuantumFusion
from qmm.quantum import Circuit, Probabilities

PARTS = [
    (kind, part)
    for kind, module, base in (
        ("feature_map", qmm.circuits, FeatureMap),
        ("ansatz", qmm.circuits, Ansatz),
        ("entangler", qmm.fusion, Entangler),
    )
    for part in (getattr(module, name) for name in module.__all__)
    if inspect.isclass(part) and issubclass(part, base) and not inspect.isabstract(part)
]


def assert_same(circuit: Circuit) -> None:
    """Up to the global phase, at random angles."""
    program = to_qasm3(circuit)
    loaded = qasm3.loads(program.text)
    angles = (*circuit.inputs, *circuit.weights)
    values = dict(zip([p.name for p in angles], np.random.default_rng(0).uniform(-3, 3, len(angles)).tolist(), strict=True))
    drawn = circuit.quantum_circuit
    bound = drawn.assign_parameters({p: values[p.name] for p in drawn.parameters})
    again = loaded.assign_parameters({program.names[p.name]: values[p.name] for p in drawn.parameters})
    assert Operator(again).equiv(Operator(bound))
    assert [(r.name, r.size) for r in loaded.qregs] == [(r.name, r.size) for r in drawn.qregs]


def awkward() -> Circuit:
    """Names that OpenQASM does not allow, or that become one; a gate that it does not know."""
    inner = QuantumCircuit(2, name="inner")
    inner.rxx(Parameter("t"), 0, 1)
    inner.append(QuantumCircuit(1, name="nothing").to_gate(), [0])
    names = ["a.x", "a_x", "0.a-b.zz", "0.ä", "input"]
    x, y, zz, u, reserved = [Parameter(name) for name in names]
    circuit = QuantumCircuit(QuantumRegister(1, "a"), QuantumRegister(2, "b"))
    circuit.ry(x, 0)
    circuit.rzz(2 * zz + y, 0, 1)
    circuit.append(inner.to_gate(parameter_map={inner.parameters[0]: u}), [1, 2])
    circuit.cp(reserved, 2, 0)
    circuit.ecr(0, 1)
    return Circuit.of(circuit, [x, y], [zz, u, reserved], ["ZZI", "IIX"])


def test_awkward_names_and_gates() -> None:
    assert_same(awkward())


def test_comments_tell_what_is_data_and_what_is_read_out() -> None:
    text = to_qasm3(awkward()).text
    assert "// inputs: a_x, a_x_\n" in text
    assert "// weights: w0_a_b_zz, w0__, input_\n" in text
    assert "// observable 0 (the first qubit is the rightmost): +1 ZZI\n" in text
    read = to_qasm3(awkward()._replace(observables=Probabilities((0, 2)))).text
    assert "// read out: probabilities of the basis states of qubits 0, 2\n" in read


@pytest.mark.parametrize(("kind", "part"), PARTS, ids=lambda value: getattr(value, "__name__", value))
def test_every_member(kind: str, part: type) -> None:
    fusion = QuantumFusion(1, **{kind: part()})
    fusion.build({"vision": 2, "audio": 1})
    assert_same(fusion.circuit())
