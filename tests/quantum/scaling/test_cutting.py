"""Circuits cut between their registers: the values, gradients and errors of the whole ones."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister
from qiskit.circuit.library import QFTGate, UnitaryGate
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary

from qmm.quantum import Backend, Circuit, CircuitError, CompiledCircuit, ExactBackend, Probabilities, expectations
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.gradients import ParameterShift
from qmm.quantum.scaling import CutBackend, CutShift

GATES = ["cx", "cy", "cz", "ch", "ecr", "swap", "iswap", "dcx", "csx", "rxx", "ryy", "rzz", "rzx", "crx", "cry", "crz", "cp"]


def angles(circuit: Circuit, rows: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    sizes = (rows, len(circuit.inputs)), (len(circuit.weights),)
    return tuple(torch.randn(size, generator=drawn, dtype=torch.float64) for size in sizes)  # type: ignore[return-value]


def cut(**options: object) -> CutBackend:
    return CutBackend(ExactBackend(), max_overhead=math.inf, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_is_cut_without_error(gate, meeting, reference):
    circuit = meeting(1, (2, 2), [(gate, 1, 2), (gate, 3, 0)])
    inputs, weights = angles(circuit)
    found = expectations(circuit, inputs, weights, cut())
    torch.testing.assert_close(found, reference(circuit, inputs, weights), atol=1e-9, rtol=0)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(1, 3), min_size=2, max_size=3),
    gates=st.lists(st.sampled_from(GATES), max_size=2),
    n_terms=st.integers(1, 3),
)
def test_random_circuits_of_few_registers(seed, sizes, gates, n_terms, meeting):
    rng = np.random.default_rng(seed)
    ends = np.cumsum([0, *sizes])
    meetings = []
    for gate in gates:
        a, b = rng.choice(len(sizes), 2, replace=False)
        meetings.append((gate, int(rng.integers(ends[a], ends[a + 1])), int(rng.integers(ends[b], ends[b + 1]))))
    circuit = meeting(seed, sizes, meetings, n_terms=n_terms)
    inputs, weights = angles(circuit, seed=seed)
    per_sample = weights + torch.arange(3.0, dtype=torch.float64)[:, None]
    for own in (weights, per_sample):
        expected = expectations(circuit, inputs, own)  # the exact engine, itself tested against Statevector
        torch.testing.assert_close(expectations(circuit, inputs, own, cut()), expected, atol=1e-9, rtol=0)
    assert {f.name for f in cut().cutting(circuit).fragments} == {f"r{i}" for i in range(len(sizes))}


def test_other_gates_are_cut_by_their_matrix_or_their_definition(reference):
    a, b = QuantumRegister(2, "a"), QuantumRegister(2, "b")
    x, w = Parameter("x"), Parameter("w")
    inner = QuantumCircuit(2)
    inner.rx(w, 0)
    inner.crx(x, 1, 0, ctrl_state=0)
    circuits = [QuantumCircuit(a, b) for _ in range(3)]
    circuits[0].append(UnitaryGate(random_unitary(4, seed=1)), [1, 2])
    circuits[1].append(inner.to_gate(), [2, 1])
    circuits[2].ccx(0, 1, 2)
    for circuit in circuits:
        for qubit in range(4):
            circuit.ry(x + qubit, qubit)
            circuit.rz(w, qubit)
    circuits[2].append(QFTGate(2), [0, 1])
    for circuit in circuits:
        made = Circuit.of(circuit, [x], [w], ["XYZZ", "IIZZ", "YIIX"])
        inputs, weights = angles(made)
        torch.testing.assert_close(
            expectations(made, inputs, weights, cut()), reference(made, inputs, weights), atol=1e-9, rtol=0
        )


def test_probabilities_and_constants(meeting):
    circuit = meeting(5, (2, 2), [("cx", 1, 2)]).quantum_circuit
    inputs, weights = circuit.parameters[3:], circuit.parameters[:3]
    made = Circuit.of(circuit, inputs, weights, Probabilities((0, 3), (0, 1, 1, 2)))
    x, w = angles(made)
    torch.testing.assert_close(expectations(made, x, w, cut()), expectations(made, x, w), atol=1e-9, rtol=0)
    constant = Circuit.of(circuit, inputs, weights, [SparsePauliOp(["IIII", "IIIZ"], [0.5, 2.0]), "IIII"])
    torch.testing.assert_close(expectations(constant, x, w, cut()), expectations(constant, x, w), atol=1e-9, rtol=0)
    identity = Circuit.of(circuit, inputs, weights, ["IIII"])
    assert expectations(identity, x, w, cut()).tolist() == [[1.0]] * 3
    assert expectations(made, x[:0], w, cut()).shape == (0, 3)


@pytest.mark.parametrize("gate", ["cx", "crx", "cry", "cp", "rzz", "rzx"])
def test_gradients_are_those_of_the_whole_circuit(gate, meeting):
    circuit = CompiledCircuit(meeting(2, (2, 2), [(gate, 1, 2), (gate, 3, 0)]))
    inputs, weights = (t.requires_grad_() for t in angles(circuit.circuit))
    backend = CutBackend(ExactBackend(), max_overhead=81.1)  # two cuts: neither values nor shifted ones may cost more
    upstream = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    cut_values, whole = expectations(circuit, inputs, weights, backend), expectations(circuit, inputs, weights)
    found = torch.autograd.grad((cut_values * upstream).sum(), (inputs, weights))
    expected = torch.autograd.grad((whole * upstream).sum(), (inputs, weights))
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert isinstance(backend.gradient, CutShift)
    jacobian = backend.gradient.jacobian(backend, circuit, inputs, weights)
    torch.testing.assert_close((jacobian[1] * upstream[..., None]).sum((0, 1)), expected[1], atol=1e-9, rtol=0)


def test_gradients_under_shots_are_those_of_the_whole_circuit_within_their_error(meeting):
    circuit = CompiledCircuit(meeting(3, (2, 1), [("rzz", 1, 2)], n_gates=4))
    inputs, weights = angles(circuit.circuit, rows=1)
    weights.requires_grad_()
    (exact,) = torch.autograd.grad(expectations(circuit, inputs, weights).sum(), weights)
    backend = CutBackend(PrimitiveBackend(Ideal(), shots=400, seed=4))
    drawn = [torch.autograd.grad(expectations(circuit, inputs, weights, backend).sum(), weights)[0] for _ in range(16)]
    found = torch.stack(drawn)
    error = found.std(0) / len(drawn) ** 0.5
    assert (error > 0).any()
    assert ((found.mean(0) - exact).abs() <= 5 * error + 1e-9).all()


@pytest.mark.parametrize(
    ("meetings", "overhead"),
    [
        ([], 1),
        ([("cx", 0, 2)], 9),
        ([("cx", 0, 2), ("cz", 1, 3), ("ecr", 1, 4)], 729),
        ([("swap", 0, 2)], 49),
        ([("rzz", 0, 2), ("crx", 3, 5)], 81),  # open angles: the most that there can be
    ],
)
def test_the_overhead_is_the_product_of_all_gammas_squared(meetings, overhead, meeting):
    backend = CutBackend(ExactBackend(), max_overhead=1e6)
    circuit = meeting(0, (2, 2, 2), meetings)
    assert backend.overhead(circuit) == pytest.approx(overhead)
    assert len(backend.cutting(circuit).cuts) == len(meetings)


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, 3.0])
@pytest.mark.parametrize(("gate", "effective"), [("rzz", 1), ("rxx", 1), ("rzx", 1), ("crx", 0.5), ("cp", 0.5)])
def test_a_number_for_an_angle_costs_what_that_angle_costs(gate, effective, angle):
    """gamma = 1 + 2 |sin| (arXiv:1909.07534), of half the angle of a controlled rotation."""
    circuit = QuantumCircuit(QuantumRegister(1, "a"), QuantumRegister(1, "b"))
    getattr(circuit, gate)(angle, 0, 1)
    made = Circuit.of(circuit, (), (), ["ZZ"])
    assert CutBackend(ExactBackend()).overhead(made) == pytest.approx((1 + 2 * abs(math.sin(angle * effective))) ** 2)


def test_what_is_planned_is_what_runs(meeting):
    circuit = meeting(1, (2, 3, 2), [("cx", 1, 2), ("rzz", 4, 5), ("cx", 6, 0)])
    backend = CutBackend(_Recorder())
    plan = backend.cutting(circuit)
    assert [(f.name, f.qubits, f.width, f.circuits) for f in plan.fragments] == [
        ("r0", 2, 4, 25),
        ("r1", 3, 5, 25),
        ("r2", 2, 4, 25),
    ]
    assert "sampling overhead 729, the product of cx on 1 and 2: 9; rzz on 4 and 5: 9; cx on 6 and 0: 9" in str(plan)
    assert not backend.backends.ran  # type: ignore[union-attr]
    inputs, weights = angles(circuit, rows=4)
    backend.submit(CompiledCircuit(circuit), inputs, weights).result()
    ran = backend.backends.ran  # type: ignore[union-attr]
    assert max(width for width, _ in ran) == max(f.width for f in plan.fragments)
    assert sum(rows for _, rows in ran) <= 4 * sum(f.circuits for f in plan.fragments)


def test_budgets_ledgers_and_journals_are_those_of_the_backends(meeting, tmp_path):
    circuit = CompiledCircuit(meeting(1, (2, 2), [("cx", 1, 2)]))
    inputs, weights = angles(circuit.circuit, rows=4)
    inner = {name: PrimitiveBackend(Ideal(), shots=100) for name in ("r0", "r1")}
    backend = CutBackend(dict(inner))
    assert backend.shots == 100
    planned = backend.plan(circuit, 4)
    backend.keep_in(tmp_path)
    first = backend.submit(circuit, inputs, weights).result()
    ran = backend.ledger.snapshot()
    assert (ran.circuits, ran.shots) == (planned.circuits, planned.shots)
    assert ran.circuits == sum(one.ledger.snapshot().circuits for one in inner.values())
    assert ran.jobs == 2  # one for each device
    assert ran.qct_seconds is None  # an ideal device states no durations
    assert all(any((tmp_path / name).iterdir()) for name in inner)
    again = CutBackend({name: PrimitiveBackend(Ideal(), shots=100) for name in inner})
    again.keep_in(tmp_path)
    assert torch.equal(again.submit(circuit, inputs, weights).result(), first)
    assert again.ledger.snapshot().found_circuits == ran.circuits
    single = CutBackend(PrimitiveBackend(Ideal(), shots=50))
    single.together([lambda: single.submit(circuit, inputs, weights).result() for _ in range(2)])
    assert single.ledger.snapshot().jobs == 1
    assert CutBackend(ExactBackend()).plan(circuit, 4).circuits == 0
    assert CutBackend(ExactBackend()).ledger.to_dict()["shots"] == 0


class _Recorder(Backend):
    """Runs exactly, and remembers the width and the rows of what it ran."""

    def __init__(self) -> None:
        self.ran: list[tuple[int, int]] = []

    @property
    def gradient(self) -> ParameterShift:
        return ParameterShift()

    def submit(self, circuit, inputs, weights):
        self.ran.append((circuit.circuit.quantum_circuit.num_qubits, len(inputs)))
        return ExactBackend().submit(circuit, inputs, weights)


def test_samples_that_share_a_fragments_angles_share_its_circuits():
    a, b = QuantumRegister(1, "a"), QuantumRegister(1, "b")
    x, y = Parameter("x"), Parameter("y")
    circuit = QuantumCircuit(a, b)
    circuit.ry(x, 0)
    circuit.ry(y, 1)
    circuit.cx(0, 1)
    made = CompiledCircuit(Circuit.of(circuit, [x, y], (), ["ZZ", "IX", "YI"]))
    backends = {"a": _Recorder(), "b": _Recorder()}
    inputs = torch.tensor([[0.1, 0.2], [0.1, 0.3], [0.1, 0.4], [0.1, 0.2]], dtype=torch.float64)
    found = CutBackend(dict(backends)).submit(made, inputs, torch.empty(0)).result()
    torch.testing.assert_close(found, expectations(made, inputs, torch.empty(0, dtype=torch.float64)), atol=1e-9, rtol=0)
    rows = {name: sum(n for _, n in backend.ran) for name, backend in backends.items()}
    assert rows == {"a": 2 * 5, "b": 4 * 5}  # the first angles twice: they came twice


def test_each_register_has_a_device_of_its_own(meeting, reference):
    circuit = meeting(7, (2, 2), [("cx", 1, 2)])
    inputs, weights = angles(circuit)
    backends = {"r0": _Recorder(), "r1": _Recorder(), "elsewhere": _Recorder()}
    found = expectations(circuit, inputs, weights, CutBackend(dict(backends)))
    torch.testing.assert_close(found, reference(circuit, inputs, weights), atol=1e-9, rtol=0)
    assert backends["r0"].ran
    assert backends["r1"].ran
    assert not backends["elsewhere"].ran


def test_labels_in_place_of_registers(meeting, reference):
    circuit = meeting(8, (2, 2), [("cx", 1, 2)], n_gates=3)
    inputs, weights = angles(circuit)
    backend = cut(labels=["left", "left", "left", "right"])
    assert [(f.name, f.qubits) for f in backend.cutting(circuit).fragments] == [("left", 3), ("right", 1)]
    found = expectations(circuit, inputs, weights, backend)
    torch.testing.assert_close(found, reference(circuit, inputs, weights), atol=1e-9, rtol=0)


@pytest.mark.parametrize("meetings", [[("cx", 1, 2)], [("cx", 1, 2), ("crx", 3, 0)]])
def test_values_from_shots_and_their_errors(meetings, meeting):
    """200 equal samples, each run anew: their mean, and their spread against the variance that is stated."""
    circuit = CompiledCircuit(meeting(4, (2, 2), meetings, n_terms=2))
    inputs, weights = angles(circuit.circuit, rows=1)
    exact = expectations(circuit, inputs, weights)[0]
    job = CutBackend(PrimitiveBackend(Ideal(), shots=200, seed=1)).submit(circuit, inputs.expand(200, -1), weights)
    found, stated = job.result(), job.variances().mean(0)
    spread = found.var(0)
    assert ((found.mean(0) - exact).abs() < 5 * (spread / 200) ** 0.5 + 1e-9).all()
    assert (stated >= spread * (1 - 5 * (2 / 200) ** 0.5) - 1e-12).all()  # an upper bound: outputs of two strings
    assert (stated[spread > 1e-9] < 4 * spread[spread > 1e-9]).all()


def test_the_stated_error_of_single_strings_is_the_error(meeting):
    circuit = CompiledCircuit(meeting(6, (2, 2), [("cx", 1, 2), ("rzz", 3, 0)]))
    inputs, weights = angles(circuit.circuit, rows=1)
    job = CutBackend(PrimitiveBackend(Ideal(), shots=300, seed=2)).submit(circuit, inputs.expand(300, -1), weights)
    spread, stated = job.result().var(0), job.variances().mean(0)
    assert (spread > 0).any()
    torch.testing.assert_close(stated, spread, rtol=5 * (2 / 300) ** 0.5, atol=1e-9)


def test_drawn_operations_are_right_in_the_mean(meeting):
    circuit = CompiledCircuit(meeting(6, (2, 2), [("cx", 1, 2), ("rzz", 3, 0)]))
    inputs, weights = angles(circuit.circuit, rows=2)
    backend = cut(samples=50)
    jobs = [backend.submit(circuit, inputs, weights) for _ in range(200)]
    found, stated = (torch.stack(t) for t in ([j.result() for j in jobs], [j.variances() for j in jobs]))
    error = (found.var(0) / len(jobs)) ** 0.5
    assert ((found.mean(0) - expectations(circuit, inputs, weights)).abs() < 5 * error + 1e-9).all()
    torch.testing.assert_close(stated.mean(0), found.var(0), rtol=0.6, atol=1e-9)
    assert not torch.equal(found[0], found[1])


def test_seeds_repeat_draws(meeting):
    circuit = CompiledCircuit(meeting(6, (2, 2), [("cx", 1, 2)]))
    inputs, weights = angles(circuit.circuit)
    first, again, other = (cut(samples=3, seed=s).submit(circuit, inputs, weights).result() for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_shots_of_a_call(meeting):
    circuit = CompiledCircuit(meeting(6, (2, 2), [("cx", 1, 2)]))
    inputs, weights = angles(circuit.circuit)
    backend = CutBackend(PrimitiveBackend(Ideal(), shots=100))
    few, many = (backend.submit(circuit, inputs, weights, shots).variances().sum() for shots in (None, 10_000))
    assert 50 < few / many < 200
    with pytest.raises(CircuitError, match="shots were given for ExactBackend"):
        cut().submit(circuit, inputs, weights, 10)


def test_the_precision_is_that_of_the_inputs(meeting):
    circuit = CompiledCircuit(meeting(6, (2, 2), [("cx", 1, 2)]))
    inputs, weights = (t.float() for t in angles(circuit.circuit))
    found = expectations(circuit, inputs, weights, cut())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expectations(circuit, inputs, weights), atol=1e-5, rtol=0)


def test_a_register_that_meets_nobody(meeting, reference):
    """What falls apart already is run apart; a register without gates needs no run at all."""
    circuit = meeting(9, (2, 2), [])
    inputs, weights = angles(circuit)
    backend = cut()
    assert backend.overhead(circuit) == 1
    assert "nothing is cut" in str(backend.cutting(circuit))
    torch.testing.assert_close(
        expectations(circuit, inputs, weights, backend), reference(circuit, inputs, weights), atol=1e-9, rtol=0
    )
    idle = QuantumCircuit(QuantumRegister(1, "a"), QuantumRegister(2, "idle"))
    idle.h(0)
    recorders = {"a": _Recorder(), "idle": _Recorder()}
    made = CompiledCircuit(Circuit.of(idle, (), (), ["ZZX", "XIX", "IIX"]))
    none = torch.empty(1, 0), torch.empty(0)
    state = Statevector(idle)
    expected = [[state.expectation_value(o).real for o in made.circuit.observables]]
    np.testing.assert_allclose(CutBackend(dict(recorders)).submit(made, *none).result(), expected, atol=1e-6)
    assert not recorders["idle"].ran
