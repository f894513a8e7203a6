"""The [[4,2,2]] code: the same values as without it, and every error that its parities can see."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.providers import BackendV2
from qiskit.quantum_info import Pauli, SparsePauliOp, Statevector
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

from qmm.quantum import Circuit, CompiledCircuit, Probabilities, expectations
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import PrimitiveBackend, Request
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.mitigation import CliffordDataRegression, FourTwoTwo, Symmetrisation
from qmm.quantum.mitigation.detection import PostSelection
from qmm.quantum.mitigation.four_two_two import Encoder
from qmm.quantum.settings import parts

FIXED = {1: ("h", "x", "y", "z", "s", "sdg", "t", "sx"), 2: ("cx", "cz", "cy", "swap", "ecr", "iswap")}
TURNS = {1: ("rx", "ry", "rz", "p"), 2: ("rxx", "ryy", "rzz", "rzx", "crx", "cry", "crz", "cp")}


def random_circuit(rng: Generator, n: int, gates: int = 18) -> tuple[QuantumCircuit, list[Parameter], np.ndarray]:
    """Gates of all kinds, Hadamard gates on pairs among them, and angles for its parameters."""
    circuit, parameters = QuantumCircuit(n), []
    for i in range(gates):
        width = int(rng.integers(1, 3))
        places = rng.permutation(n)[:width].tolist()
        if rng.random() < 0.2:
            circuit.h(places)
        elif rng.random() < 0.5:
            getattr(circuit, str(rng.choice(FIXED[width])))(*places)
        else:
            parameters.append(Parameter(f"a{i:02}"))
            getattr(circuit, str(rng.choice(TURNS[width])))(2 * parameters[-1] - 0.1, *places)
    return circuit, parameters, rng.uniform(-3, 3, len(parameters))


def bound(circuit: QuantumCircuit, parameters: list[Parameter], row: np.ndarray) -> QuantumCircuit:
    return circuit.assign_parameters({p: v for p, v in zip(parameters, row, strict=True) if p in circuit.parameters})


def value(state: Statevector, observable: Any) -> float:
    return float(state.expectation_value(observable).real)


PAIRS: list[tuple[int, Any]] = [(2, None), (2, [[1, 0]]), (3, None), (4, None), (4, [[2, 0]]), (4, [[3, 0], [1, 2]])]


@pytest.mark.parametrize(("n", "pairs"), PAIRS)
@pytest.mark.parametrize("seed", range(3))
def test_encoded_circuits_have_the_same_values(n: int, pairs: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    circuit, parameters, row = random_circuit(rng, n)
    observables = [
        SparsePauliOp(["".join(rng.choice(list("IXYZ"), n)) for _ in range(2)], rng.normal(size=2)) for _ in range(5)
    ]
    own = parts(Circuit.of(circuit, parameters, (), observables)).measurement
    mitigation = FourTwoTwo(pairs, check_preparation=seed != 1, check_other=seed != 2)
    expansion = mitigation.expand(Request(circuit, tuple(parameters), row[None], own, 10), None)  # type: ignore[arg-type]
    state = Statevector(bound(circuit, parameters, row))
    for place, sent in enumerate(expansion.requests):
        assert isinstance(sent.reader, PostSelection)
        read = [o for o, home in zip(own.observables, own.homes, strict=True) if home == place]
        encoded = Statevector(bound(sent.circuit, parameters, row))
        expected = [value(state, o) for o in read] + [1.0] * sent.reader.checks
        np.testing.assert_allclose([value(encoded, o) for o in sent.measurement.observables], expected, atol=1e-9)
        (basis,) = sent.measurement.bases
        for string in itertools.chain(*(o.paulis for o in sent.measurement.observables)):  # all are read in that basis
            used = string.x | string.z
            np.testing.assert_array_equal(string.x[used], basis.x[used])
            np.testing.assert_array_equal(string.z[used], basis.z[used])


@pytest.mark.parametrize("seed", range(3))
def test_probabilities(seed: int) -> None:
    """Of all basis states of three qubits, two of them encoded."""
    circuit, parameters, row = random_circuit(np.random.default_rng(seed), 3)
    own = parts(Circuit.of(circuit, parameters, (), Probabilities((0, 1, 2))))
    request = Request(circuit, tuple(parameters), row[None], own.measurement, 10)
    (sent,) = FourTwoTwo([[0, 2]]).expand(request, None).requests  # type: ignore[arg-type]
    encoded = Statevector(bound(sent.circuit, parameters, row))
    values = np.array([[value(encoded, o) for o in sent.measurement.observables[:-1]]])
    expected = Statevector(bound(circuit, parameters, row)).probabilities()
    np.testing.assert_allclose(own.assemble(values)[0], expected, atol=1e-9)


def test_gates_within_a_pair_need_no_gates_between_qubits() -> None:
    circuit = QuantumCircuit(2)
    circuit.h([0, 1])
    for gate, places in (
        ("cx", (0, 1)),
        ("cz", (1, 0)),
        ("swap", (0, 1)),
        ("cx", (1, 0)),
        ("x", (0,)),
        ("z", (1,)),
        ("y", (0,)),
    ):
        getattr(circuit, gate)(*places)
    circuit.h([1, 0])
    encoder = Encoder(2, [(0, 1)])
    before = encoder.circuit.num_nonlocal_gates()
    for item in circuit.data:
        encoder.append(item, [circuit.find_bit(q).index for q in item.qubits])
    encoder.read_out({0: "Z", 1: "Z"})
    assert encoder.circuit.num_nonlocal_gates() == before == 3


def parities(
    circuit: QuantumCircuit, letters: dict[int, str], error: tuple[int, str], place: int, **checks: bool
) -> list[float]:
    """What the checks read where an error of a qubit of the block happens before gate `place` of the circuit."""
    encoder = Encoder(circuit.num_qubits, [(0, 1)], **checks)
    for i in range(len(circuit.data) + 1):
        if i == place:
            getattr(encoder.circuit, error[1])(encoder.blocks[0].places[error[0]])
        if i < len(circuit.data):
            encoder.append(circuit.data[i], [circuit.find_bit(q).index for q in circuit.data[i].qubits])
    read = encoder.read_out(letters)
    state = Statevector(encoder.circuit)
    return [value(state, check) for check in read.checks()]


@pytest.mark.parametrize(
    ("basis", "seen"), [("ZZ", "xy"), ("XX", "yz"), ("ZX", "xy"), ("YY", "xy"), ("XI", "yz"), ("II", "xy")]
)
def test_every_error_that_the_basis_can_see_is_seen(basis: str, seen: str) -> None:
    """Any Pauli error of any qubit, behind the preparation and behind all rotations: always discarded, or never."""
    rng = np.random.default_rng(0)
    circuit, letters = QuantumCircuit(3), {i: letter for i, letter in enumerate(basis) if letter != "I"}
    for name in ("rx", "ry", "rz", "rxx", "rzx", "crx", "ryy", "cp"):
        places = rng.permutation(3)[: 1 if len(name) == 2 and name != "cp" else 2].tolist()
        getattr(circuit, name)(float(rng.uniform(-3, 3)), *places)
    for place, qubit, error in itertools.product((0, len(circuit.data)), range(4), "xyz"):
        (parity,) = parities(circuit, letters, (qubit, error), place)
        assert parity == pytest.approx(-1 if error in seen else 1, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_every_error_is_seen_by_one_of_both_parities(seed: int) -> None:
    """At any place between the gates of a circuit of all kinds of them."""
    rng = np.random.default_rng(seed)
    circuit, parameters, row = random_circuit(rng, 3, 12)
    circuit, letters = bound(circuit, parameters, row), dict(enumerate(rng.choice(list("XYZ"), 3).tolist()))
    for qubit, error in itertools.product(range(4), "xyz"):
        found = parities(circuit, letters, (qubit, error), int(rng.integers(13)), check_other=True)
        assert min(found) == pytest.approx(-1, abs=1e-9)


def test_errors_of_the_preparation() -> None:
    """Behind each of its gates: what no parity sees, the ancilla does, or it is no error."""
    plain, checked = Encoder(2, [(0, 1)]), Encoder(2, [(0, 1)], check_preparation=True)
    assert checked.circuit.data[: len(plain.circuit.data)] == plain.circuit.data[:0] or len(checked.circuit.data) == 6
    paulis = [Pauli(a + b) for a, b in itertools.product("IXYZ", repeat=2)]
    for place, error in itertools.product(range(1, 4), paulis):
        circuit = checked.circuit.copy_empty_like()
        for i, item in enumerate(checked.circuit.data):
            circuit.append(item)
            if i == place:
                circuit.append(error, item.qubits)
        state, clean = Statevector(circuit), Statevector(checked.circuit)
        found = [value(state, check) for check in checked.read_out({0: "Z", 1: "Z"}).checks()]
        if min(found) > 0:
            flipped = [value(state, Pauli(label)) for label in ("IIZIZ", "IIIZZ")]  # both logical qubits are 0
            np.testing.assert_allclose(flipped, [value(clean, Pauli(label)) for label in ("IIZIZ", "IIIZZ")], atol=1e-9)


def test_reading_against_shot_by_shot() -> None:
    rng = np.random.default_rng(0)
    bits = rng.random((3, 200, 5)) < 0.3
    basis = Pauli("XIYZZX")  # qubit 4 is not measured
    labels = ["IIIIIX", "XIIZII".replace("Z", "I"), "XIYIZI"]
    observables = [
        SparsePauliOp(labels[:2], [0.5, -2.0]),
        SparsePauliOp("IIYIIX"),
        SparsePauliOp(labels[2]),
        SparsePauliOp("IIIZII"),
    ]
    found = PostSelection(2).read(bits, basis, observables)
    place = {0: 0, 1: 1, 2: 2, 3: 3, 5: 4}

    def product(shot: np.ndarray, label: str) -> float:
        return float(np.prod([-1.0 if shot[place[q]] else 1.0 for q, letter in enumerate(label[::-1]) if letter != "I"]))

    for row in range(3):
        kept = [s for s in bits[row] if product(s, labels[2]) == 1 and product(s, "IIIZII") == 1]
        first = np.array([0.5 * product(s, labels[0]) - 2 * product(s, labels[1]) for s in kept])
        second = np.array([product(s, "IIYIIX") for s in kept])
        np.testing.assert_allclose(found.values[row, :2], [first.mean(), second.mean()])
        expected = [np.var(v, ddof=1) / len(kept) for v in (first, second)]
        np.testing.assert_allclose(found.variances[row, :2], expected)
        np.testing.assert_allclose(found.values[row, 2:], len(kept) / 200)


def within() -> CompiledCircuit:
    """CX and CZ on a pair, which cost two-qubit gates where it is bare; and a few turns. Barriers, so that none cancel."""
    a, b, c = (Parameter(name) for name in "abc")
    circuit = QuantumCircuit(2)
    circuit.rx(a, 0)
    circuit.rx(b, 1)
    for name, places in (("cx", (0, 1)), ("cz", (0, 1)), ("cx", (1, 0))) * 3:
        getattr(circuit, name)(*places)
        circuit.barrier()
    circuit.rx(c, 0)
    return CompiledCircuit(Circuit.of(circuit, (), [a, b, c], ["IZ", "ZI", "ZZ"]))


class _All(FourTwoTwo):
    """Encoded, and no shot discarded."""

    def expand(self, request: Request, execution: Any) -> Any:
        expansion = super().expand(request, execution)

        def combine(estimates: Any) -> Any:
            return expansion.combine(estimates)

        return expansion._replace(requests=[r._replace(reader=None) for r in expansion.requests], combine=combine)


def test_discarding_makes_values_better(device: BackendV2) -> None:
    """Weak depolarising noise and read-out errors: against the same circuit with all shots, and against the bare one."""
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), ["cz"])
    noise.add_all_qubit_quantum_error(depolarizing_error(0.001, 1), ["sx", "x"])
    noise.add_all_qubit_readout_error(ReadoutError([[0.98, 0.02], [0.03, 0.97]]))
    provider, compiled = Aer(device=device, noise=noise), within()
    inputs, weights = torch.zeros(4, 0, dtype=torch.float64), torch.tensor(np.random.default_rng(0).uniform(-1, 1, (4, 3)))
    ideal = expectations(compiled.circuit, inputs, weights).numpy()
    errors, shots = {}, 40_000
    for name, mitigation in (("bare", []), ("all", [_All()]), ("kept", [FourTwoTwo()])):
        found = PrimitiveBackend(provider, shots, mitigation).submit(compiled, inputs, weights).estimates()
        errors[name] = np.sqrt(np.mean((found.values - ideal) ** 2))
    chance = np.sqrt(found.variances.mean() / ideal.size)  # of a root mean square error
    assert errors["all"] - 2 * errors["kept"] > 5 * chance
    assert errors["bare"] - 2 * errors["kept"] > 5 * chance


def test_the_share_that_is_discarded(device: BackendV2) -> None:
    """Four bits, each wrong with p: an odd number is with (1 - (1 - 2 p)**4) / 2."""
    p, shots = 0.05, 20_000
    noise = NoiseModel()
    noise.add_all_qubit_readout_error(ReadoutError([[1 - p, p], [p, 1 - p]]))
    mitigation = FourTwoTwo()
    assert np.isnan(mitigation.discarded)
    backend = PrimitiveBackend(Aer(device=device, noise=noise), shots, [mitigation])
    weights = torch.tensor([0.2, 0.4, 0.3], dtype=torch.float64)
    for times in (1, 2):
        backend.submit(within(), torch.zeros(1, 0, dtype=torch.float64), weights).result()
        share = (1 - (1 - 2 * p) ** 4) / 2
        assert mitigation.discarded == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / shots / times))


def test_unbiased_without_noise(noisy: Callable, models: Callable) -> None:
    """Through the transpiler, on a line that permutes the qubits; alone, and behind regression."""
    circuit, inputs, weights = models(3, 2, 2, ["IZ", "ZZ", "XX", "YX"])
    ideal = expectations(circuit.circuit, inputs, weights).numpy()
    for detection, others in ((FourTwoTwo(check_other=True), []), (FourTwoTwo(), [CliffordDataRegression(8)])):
        backend, sent = noisy(None, [detection, *others], shots=4000)
        found = backend.submit(circuit, inputs, weights).estimates()
        z = (found.values - ideal) / np.sqrt(found.variances)
        assert np.abs(z).max() < 4.5
        assert {shots for _, _, shots in sent.pubs} == {4000}
        assert detection.discarded == pytest.approx(0, abs=1e-12)


def test_nothing_left() -> None:
    bits = np.zeros((2, 50, 4), dtype=bool)
    bits[1, :, 2] = True
    with pytest.raises(CircuitError, match="all 50 shots of a circuit showed an error"):
        PostSelection(1).read(bits, Pauli("ZZZZ"), [SparsePauliOp("IIZZ"), SparsePauliOp("ZZZZ")])


@pytest.mark.parametrize("pairs", [[[0, 1, 2]], [[0, 1], [1, 2]], [[0, 0]]])
def test_what_are_no_pairs(pairs: list[list[int]]) -> None:
    with pytest.raises(CircuitError, match="two qubits for each, every qubit once"):
        FourTwoTwo(pairs)


def test_refused(device: BackendV2, models: Callable) -> None:
    circuit, inputs, weights = models(0, 2, 1, ["ZZ"])
    for mitigation, message in (
        ([FourTwoTwo([[0, 5]])], r"has 2 qubit\(s\), and pairs \[\[0, 5\]\]"),
        ([FourTwoTwo(), Symmetrisation(2)], "layout is prescribed"),
    ):
        with pytest.raises(CircuitError, match=message):
            PrimitiveBackend(Aer(device=device), 10, mitigation).submit(circuit, inputs, weights)
    single = CompiledCircuit(Circuit.of(QuantumCircuit(1), observables=["Z"]))
    with pytest.raises(CircuitError, match=r"has 1 qubit\(s\)"):
        PrimitiveBackend(Aer(), 10, [FourTwoTwo()]).submit(single, torch.zeros(1, 0), torch.zeros(0))
    with pytest.raises(CircuitError, match="bits"):
        PrimitiveBackend(StatevectorEstimator(), 10, [FourTwoTwo()]).submit(circuit, inputs, weights).result()
