"""The harness of benchmarks/engine.py: circuits, descriptions and workers, with ours alone (peers need environments)."""

import importlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmm.quantum import Circuit


@pytest.fixture(scope="module")
def harness() -> Iterator[Any]:
    """Imports the modules of benchmarks/ as `python benchmarks/engine.py` does."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    before = set(sys.modules)
    yield importlib.import_module
    sys.path.remove(folder)
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
            del sys.modules[name]


@pytest.fixture(scope="module")
def worker(harness) -> Iterator[Any]:
    worker = harness("race").Worker("ours", 1)
    yield worker
    worker.close()


@pytest.mark.parametrize("family", ["ring", "reupload", "rzz", "crx", "random"])
def test_ours_agrees_with_qiskit(harness, worker, family: str) -> None:
    """A worker's values and every single gradient against Statevector; in complex64 along random directions."""
    check, circuit = harness("checks").against_qiskit, harness("families").circuit(family, 4, 1)
    every = np.eye(len(circuit.inputs) + len(circuit.weights))
    assert check(worker, circuit, directions=every) <= 1e-8
    assert check(worker, circuit, "complex64", 1e-4) > 0


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_wrong_reference_ends_the_run(harness, worker, wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number that is off among the values, the gradients to inputs or those to weights."""
    answers = worker.run

    def run(what: str, limit: float) -> Any:
        took, out = answers(what, limit)
        out[wrong].flat[-1] += 1e-3
        return took, out

    monkeypatch.setattr(worker, "run", run)
    with pytest.raises(SystemExit, match="differs from Qiskit"):
        harness("checks").against_qiskit(worker, harness("families").circuit("crx", 4, 1))


@pytest.mark.parametrize("gates", [["rx", "ry", "rz", "cx", "h"], ["u", "cx", "rzz", "crx"]])
def test_description_is_the_same_circuit(harness, gates: list[str]) -> None:
    """The gates handed to a peer, built again in Qiskit, give the values of the circuit they came from."""
    families, checks, interface = harness("families"), harness("checks"), harness("peers.interface")
    circuit = families.circuit("random", 4)
    described = interface.Description.read(json.loads(json.dumps(families.describe(circuit, gates))))
    assert {gate.name for gate in described.gates} <= set(gates)
    columns = [*circuit.inputs, *circuit.weights]
    again = circuit.quantum_circuit.copy_empty_like()
    for name, qubits, angles in described.gates:
        getattr(again, name)(*(interface.evaluate(angle, columns) for angle in angles), *qubits)
    angles = np.random.default_rng(1).uniform(-3, 3, len(columns))
    rebuilt = Circuit.of(again, circuit.inputs, circuit.weights, circuit.observables)
    np.testing.assert_allclose(checks.qiskit_values(rebuilt, angles), checks.qiskit_values(circuit, angles), atol=1e-10)


def test_affine_angles_only(harness) -> None:
    parameter = harness("families").Parameter("a")
    with pytest.raises(TypeError):
        harness("families")._affine(parameter.sin(), {parameter: 0})
    assert harness("families")._affine(2 * parameter + 0.5, {parameter: 3}) == (0.5, [(3, 2.0)])


def test_wrong_answer_is_not_timed(harness, worker) -> None:
    race, circuit = harness("race"), harness("families").circuit("ring", 3, 1)
    data = race.Data.drawn(circuit, 2)
    worker.ready(circuit, data, "complex128", "cpu", 100)
    _, expected = worker.run("step", 100)
    right, wrong = expected, [*expected[:2], expected[2] + 0.1]
    (entry,) = race.race({"ours": worker}, circuit, data, right, "complex64", repeats=2)
    assert entry.milliseconds is not None
    assert not entry.remark
    (entry,) = race.race({"ours": worker}, circuit, data, wrong, "complex64", repeats=2)
    assert entry.milliseconds is None
    assert entry.remark.startswith("wrong: differs by")


def test_peer_that_is_not_installed(harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QMM_BENCHMARKS", str(tmp_path))
    race = harness("race")
    with pytest.raises(race.PeerError, match=r"not installed: python benchmarks/peers/environments.py qulacs"):
        race.Worker("qulacs_backprop", 1)


def test_worker_over_its_limit_is_ended(harness) -> None:
    race = harness("race")
    worker = race.Worker("ours", 1)
    worker.process.send_signal(signal.SIGSTOP)  # it answers within no time otherwise, now and then
    with pytest.raises(race.TooSlowError, match="over 0 s"):
        worker.ask("hello", 0.0)
    assert not worker.alive()


def test_run_goes_on_where_it_was_ended(
    harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QMM_BENCHMARKS", str(tmp_path / "none"))
    engine, out = harness("engine"), str(tmp_path / "results")
    words = ["race", "--family", "ring", "--batch", "2", "--peers", "ours", "qulacs_backprop", "--repeats", "2", "--out", out]
    engine.main([*words, "--qubits", "3"])
    first = (tmp_path / "results" / "points.jsonl").read_text()
    engine.main([*words, "--qubits", "3", "4"])
    second = (tmp_path / "results" / "points.jsonl").read_text()
    assert second.startswith(first)
    assert len(second.splitlines()) == 2
    table = capsys.readouterr().out
    assert "| 4 | 2 | 3 |" in table
    assert "qulacs_backprop: not installed" in table


def test_slow_peer_is_left_out_of_larger_points(harness, tmp_path: Path) -> None:
    points, race = harness("points"), harness("race")
    small = points.Point("ring", 12, 32, 3, "complex64", 1, "cpu", "step")
    results = points.Results(tmp_path)
    results.add(small, [race.Entry("slow", "complex64", 2000.0, 3, 2.0, 0.0, "")], {})
    results.refuse_if_slow("slow", small._replace(qubits=14), 10.0)
    results.refuse_if_slow("other", small._replace(qubits=18), 10.0)
    with pytest.raises(race.PeerError, match=r"left out: over 10 s are expected from its 2,000 ms at 12 qubits, batch 32"):
        results.refuse_if_slow("slow", small._replace(qubits=16), 10.0)
    results.add(small, [race.Entry.failed("compiler", "complex64", "over 60 s to build or to run once")], {})
    with pytest.raises(race.PeerError, match=r"over 60 s to build or to run once, at 12 qubits, batch 32"):
        results.refuse_if_slow("compiler", small._replace(qubits=14), 10.0)
    few = small._replace(qubits=6, batch=256)  # mostly overhead: no word on what is wider
    results.add(few, [race.Entry("chatty", "complex64", 2000.0, 3, 2.0, 0.0, "")], {})
    results.refuse_if_slow("chatty", few._replace(qubits=12), 10.0)


def test_fastest_peer_is_as_precise_as_asked(harness) -> None:
    tables, entry = harness("tables"), harness("race").Entry
    single, double = (entry(dtype, dtype, ms, 3, 1.0, 0.0, "") for dtype, ms in (("complex64", 1.0), ("complex128", 2.0)))
    assert tables.fastest([double, single], "complex64") is single
    assert tables.fastest([double, single], "complex128") is double
