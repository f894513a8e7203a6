"""`qmm circuit`, as a user meets it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from qiskit import qasm3
from qiskit.circuit import Parameter, QuantumCircuit, QuantumRegister

from qmm.circuits import expressibility, hardware_cost
from qmm.costs.accounting import dead_weights
from qmm.costs.configuration import configured_fusion
from qmm.quantum import Circuit, Probabilities

Qmm = Callable[..., Any]
FUSION = "--model.init_args.model.fusion.init_args"


def costs_of(qmm: Qmm, folder: Path, *args: object) -> dict[str, Any]:
    qmm("circuit", *args, "--out", folder, "--json", folder / "costs.json")
    return json.loads((folder / "costs.json").read_text())


def test_draws_counts_and_exports(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    shown = qmm("circuit", *tiny, "--out", tmp_path / "drawn", "--json", tmp_path / "costs.json", "--text").stdout
    costs = json.loads((tmp_path / "costs.json").read_text())
    circuit = configured_fusion(tiny).fusion.circuits()["fusion"]
    fusion = costs["circuits"]["fusion"]
    names = "qubits", "depth", "gates", "inputs", "parameters", "observables", "dead", "measurement_settings", "shots"
    drawn = circuit.quantum_circuit
    assert [fusion[n] for n in names] == [3, drawn.depth(), drawn.size(), 6, 18, 6, [], 1, 10_000]
    assert fusion["two_qubit_gates"] == fusion["gates_across_registers"] == drawn.count_ops()["cx"]  # a qubit each
    assert costs["step"]["batch"] == 12
    assert costs["parameters"] == {"total": 18, "trained": 18, "in_circuits": 18}
    assert all(word in shown for word in ("10,000", "vision 1, audio 1, text 1", "vision: "))
    with Image.open(tmp_path / "drawn" / "circuit.png") as picture:
        assert min(picture.size) > 200
    assert "<svg" in (tmp_path / "drawn" / "circuit.svg").read_text()
    assert r"\documentclass" in (tmp_path / "drawn" / "circuit.tex").read_text()
    loaded = qasm3.loads((tmp_path / "drawn" / "circuit.qasm").read_text())
    assert [register.name for register in loaded.qregs] == ["vision", "audio", "text"]
    assert loaded.num_parameters == 24


def test_flags_and_overlays_override_as_in_fit(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"model": {"init_args": {"model": {"fusion": {"init_args": {"layers": 2}}}}}}))
    two = costs_of(qmm, tmp_path, *tiny, "--config", overlay)
    one = costs_of(qmm, tmp_path, *tiny, "--config", overlay, f"{FUSION}.layers", 1)
    assert [c["circuits"]["fusion"]["parameters"] for c in (two, one)] == [12, 6]


def test_a_checkpoint_is_a_configuration(qmm: Qmm, trained: Path, tmp_path: Path) -> None:
    costs = costs_of(qmm, tmp_path, "--ckpt_path", trained / "checkpoints" / "last.ckpt")
    assert costs["circuits"]["fusion"]["parameters"] == 18


@pytest.mark.parametrize("config", ["av_scenes", "mosi"])
def test_data_need_not_be_there(qmm: Qmm, repository: Path, tmp_path: Path, config: str) -> None:
    file = ["--config", repository / "configs" / f"{config}.yaml", "--data.init_args.path", tmp_path / "gone"]
    costs = costs_of(qmm, tmp_path, *file)
    assert costs["fusion"] == "QuantumFusion"
    assert costs["circuits"]["fusion"]["dead"] == []


def test_nor_pretrained_weights(qmm: Qmm, repository: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "pretrained.yaml"
    encoder = {"init_args": {"pretrained": str(tmp_path / "gone"), "architecture": None, "stem": None}}
    overlay.write_text(yaml.safe_dump({"model": {"init_args": {"model": {"vision": {"encoder": encoder}}}}}))
    assert costs_of(qmm, tmp_path, "--config", repository / "configs" / "quickstart.yaml", "--config", overlay)["circuits"]


def test_a_sample_with_some_modalities(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    costs = costs_of(qmm, tmp_path, *tiny, "--present", "text", "vision")
    assert costs["present"] == ["vision", "text"]
    assert costs["circuits"]["fusion"]["qubits"] == 2
    assert costs["circuits"]["fusion"]["inputs"] == 4


def test_on_a_device_and_what_it_expresses(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    flags = ["--device", "fake_manila", "--expressibility", "--effective-dimension", "--seeds", "2"]
    flags += [f"{FUSION}.layers", "1", "--present", "vision", "audio"]
    shown = qmm("circuit", *tiny, *flags, "--out", tmp_path, "--json", tmp_path / "costs.json").stdout
    costs = json.loads((tmp_path / "costs.json").read_text())["circuits"]["fusion"]
    circuit = configured_fusion([*tiny, f"{FUSION}.layers", "1"]).fusion.circuits(("vision", "audio"))["fusion"]
    device = hardware_cost(circuit, "fake_manila")
    assert costs["device"]["quantum_instructions"] == device.quantum_instructions
    assert costs["device"]["expected_fidelity"] == pytest.approx(device.expected_fidelity)
    assert costs["expressibility"]["values"] == [expressibility(circuit, seed=seed) for seed in (0, 1)]
    assert costs["effective_dimension"]["mean"] <= len(circuit.weights)
    assert 0 <= costs["entangling"]["mean"] <= 1
    words = "transpiled for fake_manila", "quantum calculation time", "expected fidelity", "effective dimension", "over 2 seeds"
    assert all(word in shown for word in words)


def test_a_fusion_laid_out_for_the_device_stays_there(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    flags = [*tiny, f"{FUSION}.coupling_map", "fake_manila"]
    costs = costs_of(qmm, tmp_path, *flags, "--device", "fake_manila")["circuits"]["fusion"]["device"]
    assert costs["physical_qubits"] == configured_fusion(flags).fusion.initial_layout()


def test_a_classical_fusion_has_no_circuit(qmm: Qmm, tiny: list[str], repository: Path, tmp_path: Path) -> None:
    classical = [*tiny, "--config", repository / "configs" / "fusion" / "concat.yaml"]
    shown = qmm("circuit", *classical, "--out", tmp_path / "none", "--json", tmp_path / "costs.json").stdout
    assert "ConcatFusion" in shown
    assert "it has no circuit" in shown
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert costs["circuits"] == {}
    assert costs["parameters"]["trained"] == costs["parameters"]["total"] > 0
    assert not (tmp_path / "none").exists()


def test_a_counterpart_needs_the_number_of_classes(qmm: Qmm, repository: Path, tmp_path: Path) -> None:
    configs = repository / "configs"
    files = ["--config", configs / "av_scenes.yaml", "--config", configs / "fusion" / "concat.yaml"]
    gone = ["--data.init_args.path", tmp_path / "gone.jsonl"]
    refused = qmm("circuit", *files, *gone, ok=False)
    assert "depends on the number of classes" in refused.stderr
    assert "gone.jsonl" in refused.stderr
    named = ["--model.init_args.model.decoder.init_args.classes", "[a, b, c]"]
    assert costs_of(qmm, tmp_path, *files, *gone, *named)["fusion"] == "ConcatFusion"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give a configuration"),
        (["--present", "visoin"], "did you mean 'vision'?"),
        (["--precision", "0"], "must be positive"),
        (["--batch", "0"], "must be positive"),
        (["--seeds", "0"], "must be positive"),
        (["--device", "fake_torin"], "fake_torino"),
        (["--config", "gone.yaml"], "gone.yaml"),
    ],
)
def test_says_what_is_wrong(qmm: Qmm, tiny: list[str], args: list[str], message: str) -> None:
    refused = qmm("circuit", *(tiny if args and args[0] != "--config" else []), *args, ok=False)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("command", [["circuit"], ["circuit", "sweep"]])
def test_help_comes_without_the_heavy_libraries(command: list[str]) -> None:
    script = f"""
import sys
from qmm.cli import main
try:
    main({[*command, "--help"]})
finally:
    print("loaded:", *{{"torch", "lightning", "matplotlib", "transformers", "qiskit"}} & set(sys.modules))
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1].strip() == "loaded:"
    assert all(flag in shown for flag in ("--config FILE", "qmm fit", "--seeds"))


def idle() -> Circuit:
    """The last RZ reaches no Z; the RY in front does; RZ on a qubit that nothing reads is idle too."""
    circuit, w = QuantumCircuit(2), [Parameter(f"w{i}") for i in range(4)]
    circuit.ry(w[0], 0)
    circuit.rz(w[1], 0)
    circuit.ry(w[2], 1)
    circuit.rz(w[3], 1)
    return Circuit.of(circuit, [], w, ["IZ"])


def test_weights_that_reach_nothing_are_named() -> None:
    assert dead_weights(idle()) == ["w1", "w2", "w3"]
    assert dead_weights(idle()._replace(observables=Probabilities((0, 1)))) == ["w1", "w3"]


def test_a_circuit_that_no_state_vector_holds(qmm: Qmm, tiny: list[str], tmp_path: Path) -> None:
    narrow = idle()
    wide = narrow.quantum_circuit.copy()
    wide.add_register(QuantumRegister(46))
    assert dead_weights(Circuit.of(wide, [], narrow.weights, ["I" * 47 + "Z"])) == dead_weights(narrow)
    args = ["circuit", *tiny, f"{FUSION}.qubits", "{vision: 20, audio: 20}", "--json", tmp_path / "costs.json"]
    shown = qmm(*args, "--out", tmp_path).stdout
    assert "time per step  not simulated: " in shown
    assert "matrix product states" in shown
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert costs["step"] is None
    assert costs["circuits"]["fusion"]["qubits"] == 41


def test_the_fusion_is_the_one_that_fit_would_train(tiny: list[str]) -> None:
    configured = configured_fusion([*tiny, "--seed_everything", "3"])
    assert {m: e.features for m, e in configured.entries.items()} == {"vision": 2, "audio": 2, "text": 2}
    assert configured.batch_size == 12
    again = configured_fusion([*tiny, "--seed_everything", "3"])
    assert all(torch.equal(a, b) for a, b in zip(configured.fusion.parameters(), again.fusion.parameters(), strict=True))
