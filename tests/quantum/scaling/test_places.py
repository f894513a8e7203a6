"""Where circuits are cut: wires that are marked, cuts that are found; and what is refused, with what to do about it."""

import sys

import pytest
import torch
from qiskit.circuit import Gate, Parameter, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp

from qmm.quantum import Backend, Circuit, CircuitError, CompiledCircuit, ExactBackend, expectations
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.scaling import CutBackend, cut_wire, suggest_cuts
from qmm.quantum.scaling.decompositions import decompose, decompose_wire

WIRE = decompose_wire().gamma ** 2


def staircase(n: int, marked: dict[int, int] | None = None, layers: int = 1) -> Circuit:
    """QD-MSA's pattern: H and RY encode, blocks of two qubits go down the register (a matrix product state).

    marked: the qubit whose wire is cut after block (i, i + 1), by i.
    """
    circuit = QuantumCircuit(n)
    inputs = [Parameter(f"x{i}") for i in range(n)]
    weights = []
    for qubit, x in enumerate(inputs):
        circuit.h(qubit)
        circuit.ry(x, qubit)
    for layer in range(layers):
        for block in range(n - 1):
            for qubit in (block, block + 1):
                weights.append(Parameter(f"{layer}.{block}.{qubit}"))
                circuit.ry(weights[-1], qubit)
            circuit.cx(block, block + 1)
            if marked and block in marked:
                cut_wire(circuit, marked[block])
    z = SparsePauliOp.from_sparse_list([("Z", [n - 1], 1.0)], n)
    return Circuit.of(circuit, inputs, weights, [z, "X" * n, "Z" + "I" * (n - 2) + "Y", "I" * (n - 1) + "Z"])


def angles(circuit: Circuit, rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(0)
    sizes = (rows, len(circuit.inputs)), (len(circuit.weights),)
    return tuple(torch.randn(size, generator=drawn, dtype=torch.float64) for size in sizes)  # type: ignore[return-value]


def test_qd_msa_eight_qubits_as_four_and_five(reference):
    circuit = staircase(8, {2: 3})
    backend = CutBackend(ExactBackend())
    plan = backend.cutting(circuit)
    assert [f.width for f in plan.fragments] == [4, 5]
    assert plan.overhead == pytest.approx(WIRE) == pytest.approx(16)
    assert "wire on 3: 16" in str(plan)
    inputs, weights = angles(circuit)
    found = expectations(circuit, inputs, weights, backend)
    torch.testing.assert_close(found, reference(circuit, inputs, weights), atol=1e-9, rtol=0)
    torch.testing.assert_close(expectations(circuit, inputs, weights), found, atol=1e-9, rtol=0)  # to others, a barrier


def test_gradients_through_a_cut_wire():
    circuit = CompiledCircuit(staircase(4, {0: 1}))
    inputs, weights = (t.requires_grad_() for t in angles(circuit.circuit))
    values = [expectations(circuit, inputs, weights, backend).sum() for backend in (CutBackend(ExactBackend()), None)]
    found, expected = (torch.autograd.grad(v, (inputs, weights)) for v in values)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_several_wires_and_one_wire_twice(reference):
    for circuit in (staircase(6, {1: 2, 3: 4}), staircase(4, {0: 1, 1: 1})):
        inputs, weights = angles(circuit)
        backend = CutBackend(ExactBackend())
        assert backend.overhead(circuit) == pytest.approx(WIRE**2)
        found = expectations(circuit, inputs, weights, backend)
        torch.testing.assert_close(found, reference(circuit, inputs, weights), atol=1e-9, rtol=0)


def test_a_cut_wire_whose_ends_stay_joined(reference):
    """In two layers of blocks, a cut wire leads from a fragment into itself: costly, and right."""
    circuit = staircase(3, {0: 1}, layers=2)
    inputs, weights = angles(circuit)
    backend = CutBackend(ExactBackend(), max_overhead=1000)
    assert len(backend.cutting(circuit).fragments) == 1
    found = expectations(circuit, inputs, weights, backend)
    torch.testing.assert_close(found, reference(circuit, inputs, weights), atol=1e-9, rtol=0)


def test_wires_from_shots(reference):
    circuit = staircase(4, {0: 1})
    inputs, weights = angles(circuit, rows=1)
    exact = reference(circuit, inputs, weights)[0]
    job = CutBackend(PrimitiveBackend(Ideal(), shots=300, seed=3)).submit(
        CompiledCircuit(circuit), inputs.expand(200, -1), weights
    )
    spread = job.result().var(0)
    assert ((job.result().mean(0) - exact).abs() < 5 * (spread / 200) ** 0.5 + 1e-9).all()
    torch.testing.assert_close(job.variances().mean(0), spread, rtol=5 * (2 / 200) ** 0.5, atol=1e-9)


@pytest.mark.parametrize("n", [2, 4, 5, 7])
def test_cuts_are_found_that_fit(n, reference):
    circuit = staircase(7)
    plan = suggest_cuts(circuit, n)
    assert max(f.width for f in plan.fragments) <= n
    if n == 7:
        assert plan.overhead == 1
    if n >= 4:
        backend = CutBackend(ExactBackend(), max_qubits=n)
        assert str(backend.cutting(circuit)) == str(plan)
        inputs, weights = angles(circuit)
        found = expectations(circuit, inputs, weights, backend)
        torch.testing.assert_close(found, reference(circuit, inputs, weights), atol=1e-9, rtol=0)


def test_gates_are_cut_where_that_is_cheaper_than_wires():
    """One CX costs 9, a wire 16; but a fragment with a cut gate needs one qubit more."""
    assert suggest_cuts(staircase(8), 5).overhead == pytest.approx(9)
    assert [f.width for f in suggest_cuts(staircase(8), 5).fragments] == [5, 5]
    assert [f.qubits for f in suggest_cuts(staircase(8), 5).fragments] == [4, 4]


def test_registers_are_a_suggestion(meeting):
    circuit = meeting(0, (3, 3, 3), [("rzz", 2, 3), ("crx", 5, 6), ("cx", 8, 0)], n_gates=12)
    plan = suggest_cuts(circuit, 5)
    assert plan.overhead <= 729 * (1 + 1e-9)
    assert max(f.width for f in plan.fragments) <= 5


def test_found_cuts_of_wider_gates(reference):
    circuit = QuantumCircuit(5)
    x = Parameter("x")
    for qubit in range(5):
        circuit.ry(x, qubit)
    circuit.append(PauliEvolutionGate(SparsePauliOp("IIZZI"), x), range(5))
    circuit.crx(x, 2, 3)
    circuit.barrier()
    circuit.cx(3, 4)
    circuit.cx(0, 1)
    made = Circuit.of(circuit, [x], (), ["ZZXYZ", "IIIIZ"])
    inputs, weights = angles(made)
    backend = CutBackend(ExactBackend(), max_qubits=4)
    assert max(f.width for f in backend.cutting(made).fragments) <= 4
    torch.testing.assert_close(
        expectations(made, inputs, weights, backend), reference(made, inputs, weights), atol=1e-9, rtol=0
    )


def test_too_costly_a_circuit_is_refused_with_the_number_and_a_way_out(meeting):
    circuit = meeting(0, (2, 2), [("cx", 1, 2)] * 4)
    inputs, weights = angles(circuit)
    backend = CutBackend(ExactBackend())
    assert backend.overhead(circuit) == pytest.approx(6561)
    with pytest.raises(CircuitError, match=r"multiplies its shots by 6,561 .*max_overhead=1,000; .*FewMeetings"):
        expectations(circuit, inputs, weights, backend)
    assert expectations(circuit, inputs, weights, CutBackend(ExactBackend(), max_overhead=1e4)).isfinite().all()


def test_a_fragment_without_a_backend(meeting):
    circuit = meeting(0, (1, 1, 1), [])
    backends: dict[str, Backend] = {"r0": ExactBackend(), "r1": ExactBackend()}
    with pytest.raises(CircuitError, match=r"no backend for fragment 'r2'; backends are given for r0, r1: add one"):
        expectations(circuit, *angles(circuit)[:2], CutBackend(backends))


def test_a_device_without_room_for_the_cuts(meeting):
    small = PrimitiveBackend(Ideal())
    small.provider = _On(GenericBackendV2(3, seed=0))
    circuit = meeting(0, (2, 2), [("cx", 1, 2), ("cx", 0, 3)])
    with pytest.raises(CircuitError, match=r"fragment 'r0' has 2 qubits, and 2 more for the measurements.*its device has 3"):
        expectations(circuit, *angles(circuit)[:2], CutBackend(small))


class _On(Ideal):
    def __init__(self, device: GenericBackendV2):
        super().__init__()
        self._device = device

    @property
    def device(self):
        return self._device


def test_instructions_that_cannot_be_cut():
    a, b = QuantumRegister(1, "a"), QuantumRegister(1, "b")
    unknown, measuring, resetting = (QuantumCircuit(a, b) for _ in range(3))
    unknown.h(0)
    unknown.append(Gate("mystery", 2, []), [0, 1])
    resetting.h(0)
    resetting.reset(0)
    measuring.measure_all()
    cases = {
        r"instruction 1 \('mystery' on qubits \[0, 1\]\): 'mystery' on 2 qubits cannot be cut.*give it a definition": unknown,
        r"instruction 1 \('reset' on qubits \[0\]\): only unitary gates are cut.*remove measurements": resetting,
        r"\('measure' on qubits \[0\]\): only unitary gates": measuring,
    }
    for message, circuit in cases.items():
        with pytest.raises(CircuitError, match=message):
            CutBackend(ExactBackend()).cutting(Circuit.of(circuit, (), (), ["ZZ"]))
    with pytest.raises(CircuitError, match="'mystery' on 2 qubits cannot be cut"):
        suggest_cuts(Circuit.of(unknown, (), (), ["ZZ"]), 1)


def test_cuts_that_are_not_to_be_found():
    with pytest.raises(CircuitError, match="no cuts were found that make the circuit of 3 qubits fit devices of 1; take"):
        suggest_cuts(staircase(3), 1)


def test_contradictory_arguments():
    with pytest.raises(CircuitError, match="both labels and max_qubits"):
        CutBackend(ExactBackend(), labels=["a"], max_qubits=3)
    with pytest.raises(CircuitError, match="samples=0; draw at least one"):
        CutBackend(ExactBackend(), samples=0)
    with pytest.raises(CircuitError, match="max_qubits=1; devices need at least two"):
        CutBackend(ExactBackend(), max_qubits=1)
    with pytest.raises(CircuitError, match="1 labels for 3 qubits"):
        CutBackend(ExactBackend(), labels=["a"]).cutting(staircase(3))
    with pytest.raises(CircuitError, match="wires are marked as well"):
        CutBackend(ExactBackend(), labels=["a", "a", "b"]).cutting(staircase(3, {0: 1}))


def test_the_extra_is_named_where_it_is_missing(monkeypatch, meeting):
    for name in [name for name in sys.modules if name.startswith("qiskit_addon_cutting")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "qiskit_addon_cutting", None)
    with pytest.raises(CircuitError, match=r'cuts need qiskit-addon-cutting, .*pip install "qmm\[scaling\]"'):
        CutBackend(ExactBackend()).cutting(meeting(0, (1, 1), [("cx", 0, 1)]))


def test_decompositions_are_the_addons_at_every_angle():
    from qiskit.circuit.library import RXXGate, RYYGate, RZZGate
    from qiskit_addon_cutting.qpd import QPDBasis

    theta = torch.linspace(-7, 7, 15, dtype=torch.float64).numpy()
    for gate in (RXXGate, RYYGate, RZZGate):
        open_angle = decompose(gate(Parameter("theta")))
        expected = [QPDBasis.from_instruction(gate(angle)).coeffs for angle in theta]
        torch.testing.assert_close(open_angle.coefficients(theta), torch.tensor(expected).numpy(), atol=1e-12, rtol=0)
        assert open_angle.gamma == 3
