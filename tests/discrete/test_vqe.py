"""VQE and what minimises: known ground states, every optimiser, journals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector

from qmm.circuits import Brickwork
from qmm.discrete import VQE, CircuitValue, ground_energy, minimise, minimising
from qmm.discrete.vqe import layered
from qmm.discrete.vqe_cli import main
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, expectations
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal

HYDROGEN = {  # at 0.735 Angstrom, parity mapping of STO-3G: the example of Qiskit's tutorials
    "II": -1.052373245772859,
    "IZ": 0.39793742484318045,
    "ZI": -0.39793742484318045,
    "ZZ": -0.01128010425623538,
    "XX": 0.18093119978423156,
}


def transverse_ising(n: int, field: float = 1.0) -> SparsePauliOp:
    terms = [("ZZ", [i, i + 1], -1.0) for i in range(n - 1)] + [("X", [i], -field) for i in range(n)]
    return SparsePauliOp.from_sparse_list(terms, n)


def test_hydrogen_to_its_ground_energy() -> None:
    found = VQE(layers=2).run(HYDROGEN)
    assert found.exact == pytest.approx(-1.857275030202, abs=1e-9)
    assert found.gap is not None
    assert 0 <= found.gap + 1e-12 < 1e-6
    assert found.energies[-1] == pytest.approx(found.energy, abs=1e-6)
    assert (np.diff(found.energies) < 1e-12).all()
    bound = dict(zip(found.circuit.weights, found.weights.tolist(), strict=True))
    state = Statevector(found.circuit.quantum_circuit.assign_parameters(bound))
    assert state.expectation_value(found.circuit.observables[0]).real == pytest.approx(found.energy, abs=1e-10)


def test_a_transverse_field_ising_chain_to_1e_4() -> None:
    found = VQE(layers=3).run(transverse_ising(4))
    free = 1 - 1 / np.sin(np.pi / 18)  # free fermions on an open critical chain of n sites: pi / (4 n + 2)
    assert found.exact == pytest.approx(free, abs=1e-9)
    assert found.energy == pytest.approx(free, abs=1e-4)


def test_energies_by_diagonalisation() -> None:
    for n in (1, 3, 6):
        operator = transverse_ising(n, 0.7) if n > 1 else SparsePauliOp("Y", 2.0)
        assert ground_energy(operator) == pytest.approx(np.linalg.eigvalsh(operator.to_matrix())[0], abs=1e-9)
    assert VQE(layers=1, steps=1).run(SparsePauliOp("Z" * 15)).exact is None


@pytest.mark.parametrize(
    "optimiser",
    ["L-BFGS-B", "BFGS", "CG", "SLSQP", "TNC", "COBYLA", "COBYQA", "Nelder-Mead", "Powell", "Adam", "LBFGS", "Rprop"],
)
def test_every_optimiser_goes_down(optimiser: str) -> None:
    found = VQE(layers=2, optimiser=optimiser, steps=200).run(HYDROGEN)
    assert found.gap is not None
    assert found.gap < 0.03
    assert 1 <= len(found.energies) <= 200
    assert found.evaluations >= len(found.energies)


def test_an_optimiser_of_ones_own() -> None:
    def make(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.3, momentum=0.8)

    found = VQE(layers=2, optimiser=make, steps=100).run(HYDROGEN)
    assert found.gap is not None
    assert found.gap < 1e-4
    assert len(found.energies) == 100


def test_shots_come_near() -> None:
    found = VQE(layers=2, optimiser="COBYLA", steps=60, backend=PrimitiveBackend(Ideal(), shots=4000)).run(HYDROGEN)
    exact = expectations(CompiledCircuit(found.circuit), torch.empty(1, 0), found.weights)
    assert exact.item() == pytest.approx(-1.857275, abs=0.06)
    shifted = VQE(layers=2, optimiser="Adam", steps=25, learning_rate=0.2, backend=PrimitiveBackend(Ideal(), shots=1000))
    assert shifted.run(HYDROGEN).energy < -1.7


def test_a_circuit_of_ones_own_and_first_weights() -> None:
    theta, circuit = Parameter("theta"), QuantumCircuit(2)
    circuit.x(0)
    circuit.ry(theta, 1)
    circuit.cx(1, 0)
    found = VQE().run(HYDROGEN, circuit, initial=[0.1])
    assert found.gap == pytest.approx(0, abs=1e-9)  # one angle is enough for hydrogen
    assert found.weights.shape == (1,)
    again = VQE(steps=1).run(HYDROGEN, circuit, initial=found.weights)
    assert again.energy == pytest.approx(found.energy, abs=1e-12)


def test_seeds_decide_the_first_weights() -> None:
    first, same, other = (VQE(layers=1, steps=1, optimiser="Adam", seed=s).run(HYDROGEN) for s in (0, 0, 1))
    assert torch.equal(first.weights, same.weights)
    assert not torch.equal(first.weights, other.weights)


def test_layers_are_the_ansatz_repeated() -> None:
    one = Brickwork().circuit(3)
    two = layered(Brickwork(), 3, 2)
    assert two.num_parameters == 2 * one.num_parameters
    values = np.random.default_rng(0).normal(size=(2, one.num_parameters))
    names = {f"{layer}.{p.name}": values[layer, i] for layer in range(2) for i, p in enumerate(one.parameters)}
    expected = Statevector(one.assign_parameters(values[0])).evolve(one.assign_parameters(values[1]))
    assert Statevector(two.assign_parameters(names)).equiv(expected)


@pytest.mark.parametrize(
    ("hamiltonian", "message"),
    [
        ({}, "expected Pauli strings"),
        ({"ZZ": 1.0, "Z": 1.0}, "of one length"),
        ({"AB": 1.0}, "made of I, X, Y and Z"),
        ("ZZ", "a str as Hamiltonian"),
        (SparsePauliOp("ZZ", 1j), "not real and finite"),
        (SparsePauliOp("ZZ", np.nan), "not real and finite"),
        (SparsePauliOp("II"), "no weight of the circuit changes the energy"),
    ],
)
def test_hamiltonians_that_are_none(hamiltonian: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        VQE(layers=1, steps=1).run(hamiltonian)


def test_what_else_is_refused() -> None:
    with pytest.raises(InputError, match="acts on 2 qubits, the circuit has 3"):
        VQE().run(HYDROGEN, QuantumCircuit(3))
    with pytest.raises(InputError, match="no weight"):
        VQE().run(HYDROGEN, QuantumCircuit(2))
    with pytest.raises(InputError, match=r"first weights of shape \(1,\)"):
        VQE(layers=1).run(HYDROGEN, initial=[0.0])
    with pytest.raises(InputError, match="no optimiser 'Adamm'; did you mean 'Adam'"):
        VQE(layers=1, optimiser="Adamm").run(HYDROGEN)
    with pytest.raises(InputError, match="steps=0"):
        VQE(steps=0)


@pytest.mark.parametrize("optimiser", ["L-BFGS-B", "Adam", "COBYLA"])
def test_a_killed_run_ends_as_a_whole_one(optimiser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = VQE(layers=2, optimiser=optimiser, steps=30).run(HYDROGEN)
    journal, calls = tmp_path / "vqe" / "journal.jsonl", list[int]()
    vqe = VQE(layers=2, optimiser=optimiser, steps=30, journal=str(journal))

    def until(limit: float) -> Any:
        def counted(*args: Any) -> torch.Tensor:
            if len(calls) >= limit:
                raise KeyboardInterrupt
            calls.append(1)
            return expectations(*args)

        return counted

    monkeypatch.setattr(minimising, "expectations", until(10))
    with pytest.raises(KeyboardInterrupt):
        vqe.run(HYDROGEN)
    with journal.open("a") as file:
        file.write('{"weights": [0.1, 0.')  # what a kill leaves
    monkeypatch.setattr(minimising, "expectations", until(np.inf))
    found = vqe.run(HYDROGEN)
    assert len(calls) == whole.evaluations
    assert found.energy == whole.energy
    assert torch.equal(found.weights, whole.weights)
    np.testing.assert_array_equal(found.energies, whole.energies)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(lines) == 1 + whole.evaluations
    longer = VQE(layers=2, optimiser=optimiser, steps=35, journal=str(journal)).run(HYDROGEN)  # goes on from its end
    assert longer.energy <= found.energy
    assert len(calls) == longer.evaluations


def test_a_journal_of_something_else_is_refused_and_another_way_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "journal.jsonl")
    vqe = VQE(layers=1, steps=3, journal=path)
    vqe.run(HYDROGEN)
    for other in (VQE(layers=2, steps=3, journal=path), VQE(layers=1, steps=3, optimiser="CG", journal=path)):
        with pytest.raises(InputError, match="journal of another circuit, Hamiltonian or optimiser"):
            other.run(HYDROGEN)
    with pytest.raises(InputError, match="journal of another"):
        vqe.run({**HYDROGEN, "XX": 0.2})
    with pytest.raises(InputError, match="journal of another"):
        VQE(layers=1, steps=3, journal=path, backend=PrimitiveBackend(Ideal(), shots=10)).run(HYDROGEN)
    assert "another way" not in caplog.text
    moved = VQE(layers=1, steps=3, journal=path, seed=4).run(HYDROGEN)  # other first weights
    assert "goes another way from evaluation 0" in caplog.text
    assert moved.energy == VQE(layers=1, steps=3, seed=4).run(HYDROGEN).energy


def test_minimise_remembers_the_best_point() -> None:
    theta, circuit = Parameter("theta"), QuantumCircuit(1)
    circuit.ry(theta, 0)
    function = CircuitValue(CompiledCircuit(Circuit.of(circuit, observables=["Z"])))
    found = minimise(function, np.array([0.3]), lambda p: torch.optim.SGD(p, lr=6.0), steps=7)  # far too large: it leaps
    assert found.value == found.values.min()
    assert found.value == pytest.approx(np.cos(found.weights.item()), abs=1e-12)
    assert found.values[-1] > found.value + 0.1
    assert found.evaluations == function.evaluations == 7
    with pytest.raises(InputError, match="no weights"):
        minimise(function, np.empty(0))


def test_a_file_describes_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ansatz = {"class_path": "qmm.circuits.Brickwork", "init_args": {"gate": "cz"}}
    optimiser = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.2}}
    backend = {"class_path": "qmm.quantum.ExactBackend", "init_args": {"engine": "torch"}}
    given = {"ansatz": ansatz, "layers": 2, "optimiser": optimiser, "steps": 40, "backend": backend, "seed": 1}
    (tmp_path / "vqe.yaml").write_text(yaml.safe_dump({"hamiltonian": HYDROGEN, "vqe": given}))
    main(["--config", str(tmp_path / "vqe.yaml"), "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    same = VQE(Brickwork(gate="cz"), 2, lambda p: torch.optim.SGD(p, lr=0.2), 40, seed=1).run(HYDROGEN)
    assert found["energy"] == pytest.approx(same.energy, abs=1e-9)
    assert len(found["energies"]) == 40
    assert list(found["weights"]) == [w.name for w in same.circuit.weights]
    assert f"energy {found['energy']:.8f}" in capsys.readouterr().out
    for content, message in (
        ({"vqe": {}}, "expected `hamiltonian"),
        ({"hamiltonian": HYDROGEN, "vqe": {"layer": 2}}, "layer"),
        ({"hamiltonian": HYDROGEN, "steps": 2}, "expected `hamiltonian"),
    ):
        (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(InputError, match=message):
            main(["--config", str(tmp_path / "wrong.yaml")])
    with pytest.raises(InputError, match="No such file"):
        main(["--config", str(tmp_path / "none.yaml")])
