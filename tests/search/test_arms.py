"""Points as configurations: what `qmm fit` makes of them is what was counted, whatever the base configuration says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from qmm.costs.configuration import build, fusion_config, parse
from qmm.errors import InputError
from qmm.search import Circuits, Counterparts
from qmm.search.arms import completed, put
from qmm.search.plan import read_budget, read_plan

RATE = "model.init_args.fusion_learning_rate"
CHOICES: dict[str, Any] = {
    "layers": [1, 2, 3],
    "qubits": [1, 2],
    "entangler": ["qmm.fusion.Ring", "qmm.fusion.Pairs", {"class_path": "qmm.fusion.Star", "init_args": {"gate": "cz"}}],
    "ansatz": ["qmm.circuits.HardwareEfficient", "qmm.circuits.EfficientSU2"],
    "reupload": [False, True],
    "readout": ["qmm.circuits.ZReadout", "qmm.circuits.ZAndZZAcross"],
}
SPACES = sorted((Path(__file__).parents[2] / "configs" / "search").glob("*.yaml"))
CLASSES = ["--model.init_args.model.decoder.init_args.classes", "[a, b, c]"]


@pytest.fixture(scope="module")
def base(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A configuration whose own entangler is one of the options, with another gate."""
    overlay = {"class_path": "qmm.fusion.Pairs", "init_args": {"gate": "cx"}}
    path = tmp_path_factory.mktemp("base") / "pairs.yaml"
    path.write_text(yaml.safe_dump({"model": {"init_args": {"model": {"fusion": {"init_args": {"entangler": overlay}}}}}}))
    return [*tiny, "--config", str(path)]


@pytest.fixture(scope="module")
def plain(base: list[str]) -> dict[str, Any]:
    return parse([*base, *CLASSES], "test")


@pytest.fixture(scope="module")
def circuits(plain: dict[str, Any]) -> Circuits:
    return Circuits(plain, CHOICES, {RATE: [0.01, 0.1]}, {"two_qubit_gates": 12})


@pytest.mark.parametrize("point", [(1, 0, 1, 1, 0, 1, 0), (2, 1, 2, 0, 1, 0, 1)])
def test_what_is_counted_is_what_fit_makes(circuits: Circuits, base: list[str], tmp_path: Path, point) -> None:
    (tmp_path / "found.yaml").write_text(yaml.safe_dump(circuits.overlay(point)))
    made = parse([*base, "--config", str(tmp_path / "found.yaml"), *CLASSES], "test")
    (circuit,) = build(made).fusion.circuits().values()
    qiskits = circuit.quantum_circuit
    costs = circuits.examine(point).costs
    assert costs["two_qubit_gates"] == qiskits.num_nonlocal_gates()
    assert costs["gates"] == qiskits.size()
    assert costs["depth"] == qiskits.depth()
    assert costs["total_qubits"] == qiskits.num_qubits
    assert costs["parameters"] == len(circuit.weights)
    taken = circuits.space.values(point)
    own = fusion_config(made)["init_args"]
    assert own["layers"] == taken["layers"]
    assert own["qubits"] == dict.fromkeys(("vision", "audio", "text"), taken["qubits"])
    assert made["model"]["init_args"]["fusion_learning_rate"] == taken[RATE]
    if taken["entangler"] == "qmm.fusion.Pairs":  # RZZ is its default; the base's CX is gone
        assert own["entangler"]["init_args"]["gate"] == "rzz"
        assert qiskits.count_ops()["rzz"] > 0


def test_what_is_over_the_budget_says_by_how_much(circuits: Circuits) -> None:
    examined = circuits.examine((2, 1, 1, 0, 0, 0, 0))
    assert examined.costs["two_qubit_gates"] > 12
    assert examined.reason == f"over the budget: {examined.costs['two_qubit_gates']} two_qubit_gates of 12"
    assert not circuits.examine((0, 0, 0, 0, 0, 0, 0)).reason


def test_what_cannot_be_built_says_why(plain: dict[str, Any]) -> None:
    small = Circuits(plain, {"qubits": [1], "feature_map": ["qmm.circuits.AngleEncoding"]}, {}, {})
    assert "2 features for a register of 1 qubits" in small.examine((0, 0)).reason
    gates = {"entangler": ["qmm.fusion.CrossAttention"], "entangler.init_args.gate": ["cx", "cry"]}
    crossed = Circuits(plain, gates, {}, {})
    assert "no controlled rotation named 'cx'" in crossed.examine((0, 0)).reason
    assert not crossed.examine((0, 1)).reason


def test_the_same_circuit_is_known_whatever_its_unused_layers_are(plain: dict[str, Any]) -> None:
    options = ["qmm.fusion.Ring", "qmm.fusion.NoEntangler"]
    lists = {f"entangler.init_args.entanglers.{i}": options for i in range(3)}
    layered = Circuits(plain, {"layers": [1, 2], "entangler": ["qmm.fusion.ByLayer"], **lists}, {RATE: [0.01, 0.1]}, {})
    one, other = (layered.examine((0, 0, 0, unused, unused, 0)) for unused in (0, 1))
    assert one.circuit == other.circuit
    assert layered.examine((0, 0, 1, 0, 0, 0)).circuit != one.circuit  # of a layer that is used
    assert layered.examine((0, 0, 0, 0, 0, 1)).circuit != one.circuit  # trained in another way
    assert layered.examine((1, 0, 0, 1, 0, 0)).costs["two_qubit_gates"] == one.costs["two_qubit_gates"] > 0


def test_arguments_of_the_base_are_led_into(plain: dict[str, Any]) -> None:
    """The base's own entangler, Pairs of CX, with another gate."""
    led = Circuits(plain, {"entangler.init_args.gate": ["cz", "rzz"]}, {}, {})
    assert led.arguments((0,)) == {"entangler": {"class_path": "qmm.fusion.Pairs", "init_args": {"gate": "cz"}}}


@pytest.mark.parametrize(
    ("choices", "budget", "message"),
    [
        ({"layer": [1]}, {}, "QuantumFusion has no argument 'layer'; did you mean 'layers'"),
        ({"layers": [1]}, {"two_qubit_gate": 3}, "did you mean 'two_qubit_gates'"),
        ({"layers": [1]}, {"depth": -1}, "allows -1 depth"),
        ({"layers": []}, {}, "at least one"),
    ],
)
def test_mistakes_are_named_at_once(plain: dict[str, Any], choices, budget, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Circuits(plain, choices, {}, budget)


def test_options_of_a_wrong_kind_are_left_out_with_a_reason(plain: dict[str, Any]) -> None:
    assert "layers" in Circuits(plain, {"layers": ["three"]}, {}, {}).examine((0,)).reason
    with pytest.raises(InputError, match="name the class first"):
        Circuits(plain, {"ansatz.init_args.gate": ["cz"]}, {}, {}).overlay((0,))


def test_a_base_without_circuits_is_refused(tiny: list[str]) -> None:
    classical = parse([*tiny, *CLASSES, "--model.init_args.model.counterpart", "concat"], "test")
    with pytest.raises(InputError, match="has no circuit to search for; leave out a `counterpart`"):
        Circuits(classical, {"layers": [1]}, {}, {})


def test_counterparts_are_as_large_as_the_circuit(circuits: Circuits, base: list[str], tmp_path: Path) -> None:
    best = (2, 1, 1, 1, 0, 1, 0)
    arm = Counterparts(circuits, best)
    assert not any(name.startswith("sham") for name in arm.space.choices["counterpart"])
    assert arm.space.choices[RATE] == (0.01, 0.1)
    concat = arm.space.choices["counterpart"].index("concat")

    def parameters(overlay: dict[str, Any]) -> int:
        (tmp_path / "found.yaml").write_text(yaml.safe_dump(overlay))
        fusion = build(parse([*base, "--config", str(tmp_path / "found.yaml"), *CLASSES], "test")).fusion
        return sum(p.numel() for p in fusion.parameters()) + 3 * (fusion.out_features + 1)  # and the decoder of 3 classes

    assert parameters(arm.overlay((concat, 1))) == pytest.approx(parameters(circuits.overlay(best)), rel=0.05)
    assert arm.overlay((concat, 1))["model"]["init_args"]["fusion_learning_rate"] == 0.1
    kin = Counterparts(circuits, best, ["concat", "tensor"]).space.choices["counterpart"]
    assert {name.partition("-")[0] for name in kin} == {"concat", "tensor"}
    with pytest.raises(InputError, match="there is no counterpart concatenation"):
        Counterparts(circuits, best, ["concatenation"])


def test_values_are_put_where_dots_lead() -> None:
    assert put("a.Class", ["init_args", "list", "0"], 1, "x") == {"class_path": "a.Class", "init_args": {"list": [1]}}
    assert put({"list": [1, 2]}, ["list", "1"], 3, "x") == {"list": [1, 3]}
    assert put([{"a": 1}], ["0", "b"], 2, "x") == [{"a": 1, "b": 2}]
    with pytest.raises(InputError, match="no place 2 in a list of 1"):
        put([1], ["2"], 3, "x")


def test_what_is_completed_is_plain_and_whole() -> None:
    from qmm.fusion import Entangler

    inner = {"class_path": "qmm.fusion.ByLayer", "init_args": {"entanglers": [{"class_path": "qmm.fusion.Star"}]}}
    assert completed(Entangler | None, inner, "x")["init_args"]["entanglers"] == [
        {"class_path": "qmm.fusion.Star", "init_args": {"hub": None, "gate": "rzz"}}
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected the key circuit"),
        ({"circuit": {"layers": [1]}, "tuning": {}}, "tuning"),
        ({"circuit": {"layers": 3}}, "maps names to lists"),
        ({"circuit": {"layers": [1]}, "training": {"x": []}}, "maps names to lists"),
        ({"circuit": {"layers": [1]}, "best": "nearest"}, "'highest' or 'lowest'"),
        ({"circuit": {"layers": [1]}, "counterparts": []}, "list of names"),
        ({"circuit": {"layers": [1]}, "held_out": {}}, "overlay such as"),
        ({"circuit": {"layers": [1]}, "budget": {"gate": 3}}, "did you mean 'gates'"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=message):
        read_plan(tmp_path / "s.yaml")


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_spaces_of_the_repository_can_be_searched(repository: Path, path: Path) -> None:
    """Points that take every option of every choice make circuits, or are over the budget."""
    plan = read_plan(path)
    config = ["--config", str(repository / "configs" / "mosi.yaml")]
    arm = Circuits(parse(config, "test"), plan.circuit, plan.training, plan.budget)
    reasons = [arm.examine(tuple(k % size for size in arm.space.sizes)).reason for k in range(max(arm.space.sizes))]
    assert all(not reason or reason.startswith("over the budget") for reason in reasons)


def test_budgets_of_the_command_line() -> None:
    assert read_budget(["two_qubit_gates=40", "depth=60"]) == {"two_qubit_gates": 40, "depth": 60}
    with pytest.raises(InputError, match="allows 'many' depth"):
        read_budget(["depth=many"])
