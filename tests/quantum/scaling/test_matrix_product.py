"""Matrix product states at widths that no state vector has, against what is known exactly there."""

import resource

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, StabilizerState, Statevector

from qmm.fusion import FewMeetings, QuantumFusion
from qmm.quantum import Circuit, CircuitError, CompiledCircuit, ExactBackend, Probabilities, expectations
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.scaling import CutBackend, mps_report

WIDE = 48
NONE = torch.empty(0, dtype=torch.float64)


def random_layers(n: int, layers: int, spread: float, seed: int = 0) -> QuantumCircuit:
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(n)
    for _ in range(layers):
        for qubit in range(n):
            circuit.ry(spread * rng.normal(), qubit)
            circuit.rz(spread * rng.normal(), qubit)
        for qubit in range(n - 1):
            circuit.cx(qubit, qubit + 1)
    return circuit


def local(n: int, where: dict[int, str]) -> SparsePauliOp:
    return SparsePauliOp.from_sparse_list([("".join(where.values()), list(where), 1.0)], n)


def test_values_of_a_narrow_circuit_are_exact(meeting):
    circuit = meeting(3, (2, 2), [("crx", 1, 2), ("rzz", 3, 0), ("swap", 0, 2)])
    inputs, weights = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    told = mps_report(circuit, inputs, weights)
    np.testing.assert_allclose(told.values, expectations(circuit, inputs, weights), atol=1e-8)  # Aer drops 1e-16 of a state
    assert told.bond_dimensions.shape == (2, 3)
    assert told.bond_dimensions.max() <= 4
    np.testing.assert_allclose(told.fidelity, 1, atol=1e-12)
    np.testing.assert_allclose(told.error, 0, atol=1e-5)


def test_a_ghz_state_and_a_clifford_circuit_of_48_qubits():
    rng = np.random.default_rng(0)
    ghz = QuantumCircuit(WIDE)
    ghz.h(0)
    for qubit in range(WIDE - 1):
        ghz.cx(qubit, qubit + 1)
    clifford = QuantumCircuit(WIDE)
    for _ in range(4):
        for qubit in range(WIDE):
            getattr(clifford, str(rng.choice(["h", "s", "sx", "x"])))(qubit)
        for qubit in range(int(rng.integers(2)), WIDE - 1, 2):
            clifford.cz(qubit, qubit + 1)
    for circuit in (ghz, clifford):
        state = StabilizerState(circuit)
        found = [label[1:] for label in state.clifford.to_labels(mode="S")[:6]]  # stabilisers: values of +1 or -1
        observables = [SparsePauliOp(label) for label in (*found, "Z" * WIDE, "X" * WIDE, "I" * 20 + "Z" + "I" * 27)]
        told = mps_report(Circuit.of(circuit, (), (), observables), torch.empty(1, 0), NONE)
        expected = [state.expectation_value(o.paulis[0]) for o in observables]
        np.testing.assert_allclose(told.values[0], np.real(expected), atol=1e-9)
        assert np.abs(told.values[0, :6]) == pytest.approx(1)
    assert told.bond_dimensions.max() <= 16


def test_a_light_cone_of_48_qubits():
    """Two layers of a brickwork: what is read out depends on a few qubits, which can be computed exactly."""
    rng = np.random.default_rng(1)
    whole, narrow = QuantumCircuit(WIDE), QuantumCircuit(8)
    for layer in range(2):
        for qubit in range(WIDE):
            angle = rng.normal()
            whole.ry(angle, qubit)
            if 20 <= qubit < 28:
                narrow.ry(angle, qubit - 20)
        for qubit in range(layer, WIDE - 1, 2):
            whole.cx(qubit, qubit + 1)
            if 20 <= qubit < 27:
                narrow.cx(qubit - 20, qubit - 19)
    places = [{24: "Z"}, {23: "X", 24: "Y"}, {24: "X"}]
    told = mps_report(Circuit.of(whole, (), (), [local(WIDE, p) for p in places]), torch.empty(1, 0), NONE)
    state = Statevector(narrow)
    expected = [state.expectation_value(local(8, {q - 20: axis for q, axis in p.items()})).real for p in places]
    np.testing.assert_allclose(told.values[0], expected, atol=1e-9)
    assert told.bond_dimensions.shape == (1, WIDE - 1)
    assert told.bond_dimensions.max() == 2


@pytest.mark.parametrize("bound", [2, 4, 8])
def test_truncation_is_told(bound):
    """The estimate of the fidelity against the true overlap, and the error of values against what follows from it."""
    circuit = random_layers(10, 2, spread=0.7)
    kept = mps_report(Circuit.of(circuit, (), (), ["Z" * 10]), torch.empty(1, 0), NONE)
    observables = [local(10, {q: "Z"}) for q in range(10)]
    told = mps_report(Circuit.of(circuit, (), (), observables), torch.empty(1, 0), NONE, max_bond_dimension=bound)
    assert told.bond_dimensions.max() == min(bound, kept.bond_dimensions.max())
    exact = [Statevector(circuit).expectation_value(o).real for o in observables]
    off = np.abs(told.values[0] - exact).max()
    if bound < kept.bond_dimensions.max():
        assert told.discarded[0] > 0
        assert told.fidelity[0] < 1
    assert off <= told.error[0] + 1e-9


def test_a_threshold_in_place_of_a_bound():
    circuit = Circuit.of(random_layers(10, 3, spread=0.7), (), (), ["Z" * 10])
    loose, tight = (mps_report(circuit, torch.empty(1, 0), NONE, truncation_threshold=t) for t in (1e-2, 1e-8))
    assert loose.bond_dimensions.max() < tight.bond_dimensions.max()
    assert loose.discarded[0] > tight.discarded[0]
    assert str(tight).startswith(f"bond dimension {tight.bond_dimensions.max()}, discarded ")


def test_each_sample_tells_of_itself():
    circuit = QuantumCircuit(4)
    x, w = Parameter("x"), Parameter("w")
    circuit.ry(x, 0)
    circuit.rx(w, 3)
    for qubit in range(3):
        circuit.cx(qubit, qubit + 1)
    made = Circuit.of(circuit, [x], [w], ["ZIII", "IIIZ"])
    inputs, weights = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    told = mps_report(made, inputs, weights)
    assert told.bond_dimensions.max(axis=1).tolist() == [1, 2, 1]
    np.testing.assert_allclose(told.values, expectations(made, inputs, weights), atol=1e-9)
    alone = mps_report(made._replace(quantum_circuit=QuantumCircuit(1), observables=(SparsePauliOp("Z"),)), inputs, weights)
    assert alone.values.tolist() == [[1.0]] * 3
    assert alone.bond_dimensions.shape == (3, 0)


def wide_fusion(layers: int = 1) -> QuantumFusion:
    torch.manual_seed(0)
    sizes = dict.fromkeys(("vision", "audio", "text"), WIDE // 3)
    fusion = QuantumFusion(layers, qubits=sizes, entangler=FewMeetings())
    fusion.build(dict.fromkeys(sizes, 4))
    return fusion


def test_a_fusion_of_48_qubits_runs_from_features_to_values():
    """By matrix product states, from shots, against three fragments of 18 qubits that are computed exactly."""
    before, fusion = _peak_kib(), wide_fusion()
    circuit = fusion.circuit()
    assert circuit.quantum_circuit.num_qubits == WIDE
    features = {m: torch.randn(1, 4) for m in ("vision", "audio", "text")}
    present = {m: torch.ones(1, dtype=torch.bool) for m in features}
    fusion.run_on(PrimitiveBackend(Aer(method="matrix_product_state", max_bond_dimension=32), shots=300))
    with torch.no_grad():
        found = fusion(features, present)
    assert found.shape == (1, fusion.out_features)
    few = circuit._replace(observables=circuit.observables[::40])
    fusion_inputs = torch.cat([fusion.feature_maps[m](features[m]) for m in features], dim=1)
    exact = expectations(few, fusion_inputs, fusion.weights.detach(), CutBackend(ExactBackend()))
    told = mps_report(few, fusion_inputs, fusion.weights.detach())
    np.testing.assert_allclose(told.values, exact, atol=1e-5)  # float32 angles
    assert (found[:, ::40] - exact).abs().max() < 5.5 / 300**0.5
    assert _peak_kib() - before < 4 * 2**20  # nobody asked for 2**48 numbers


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_what_is_too_wide_to_be_exact_says_what_to_do():
    fusion = wide_fusion()
    features = {m: torch.randn(1, 4) for m in ("vision", "audio", "text")}
    with pytest.raises(CircuitError, match="matrix product states"):
        fusion(features, {m: torch.ones(1, dtype=torch.bool) for m in features})
    circuit = fusion.circuit()
    probabilities = circuit._replace(observables=Probabilities(tuple(range(WIDE))))
    backend = PrimitiveBackend(Aer(method="matrix_product_state"), shots=10)
    with pytest.raises(CircuitError, match="probabilities of the 281,474,976,710,656 states of 48 qubits"):
        backend.submit(CompiledCircuit(probabilities), torch.zeros(1, len(circuit.inputs)), torch.zeros(len(circuit.weights)))


def test_what_is_refused():
    circuit = Circuit.of(QuantumCircuit(2), (), (), ["ZZ"])
    with pytest.raises(CircuitError, match="max_bond_dimension=0; it is at least 1"):
        mps_report(circuit, torch.empty(1, 0), NONE, max_bond_dimension=0)
    with pytest.raises(CircuitError, match=r"truncation_threshold=1\.0; it is a share"):
        mps_report(circuit, torch.empty(1, 0), NONE, truncation_threshold=1.0)
    with pytest.raises(CircuitError, match="probabilities are read out of a whole state"):
        mps_report(circuit._replace(observables=Probabilities((0,))), torch.empty(1, 0), NONE)
    with pytest.raises(CircuitError, match=r"inputs have shape \(1, 1\)"):
        mps_report(circuit, torch.zeros(1, 1), NONE)
