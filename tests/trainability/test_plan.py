"""Plans: from files and from names; what is wrong with one is said before anything is measured."""

from pathlib import Path

import pytest
import yaml

from qmm.circuits import Brickwork
from qmm.config import to_config
from qmm.errors import InputError
from qmm.initialisers import IdentityBlocks, SmallAngle
from qmm.trainability import AnsatzLayers, ConfiguredFusion, RandomAxes, read_plan
from qmm.trainability.plan import Depth, initialisers, make_family, make_initialiser, read_depth

GOOD = {
    "circuits": {
        "random": {"class_path": "random", "depths": ["3n"], "initialisers": ["small"]},
        "layers": "hardware-efficient",
    },
    "qubits": [2, 3],
    "depths": [5],
    "observables": ["zz"],
    "initialisers": {"small": {"class_path": "qmm.initialisers.SmallAngle", "count": 4}, "uniform": "uniform", "own": "own"},
    "count": 7,
}


def written(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in {**GOOD, **changes}.items() if v is not None}, sort_keys=False))
    return path


def test_a_plan_is_read(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path))
    assert (plan.name, plan.qubits, plan.observables, plan.per_point, plan.seed) == ("plan", (2, 3), ("zz",), 7, 0)
    random, layers = plan.cases["random"], plan.cases["layers"]
    assert isinstance(random.family, RandomAxes)
    assert isinstance(layers.family, AnsatzLayers)
    assert [depth.layers(4) for depth in (*random.depths, *layers.depths)] == [12, 5]
    assert (random.initialisers, layers.initialisers) == (("small",), ("small", "uniform", "own"))
    assert plan.initialisers["own"] is None
    assert (plan.circuits("small"), plan.circuits("uniform")) == (4, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qubits": None}, "it must have"),
        ({"widths": [1]}, "widths"),
        ({"depths": ["deep"]}, "depth 'deep'"),
        ({"depths": [0]}, "depth 0"),
        ({"qubits": [0]}, "at least 1"),
        ({"observables": ["pairty"]}, "did you mean 'parity'"),
        ({"circuits": {"a": "randm"}}, "did you mean 'random'"),
        ({"circuits": {"a": {"class_path": "random", "initialisers": ["unifrom"]}}}, "did you mean 'uniform'"),
        ({"circuits": {"a": {"class_path": "random", "depht": 1}}}, "give a class_path"),
        ({"circuits": {"a": {"class_path": "qmm.trainability.RandomAxis"}}}, "RandomAxes"),
        ({"initialisers": {"a": "small-angel"}}, "did you mean 'small-angle'"),
        ({"initialisers": {"a": {"class_path": "qmm.initialisers.SmallAngle", "init_args": {"sprad": 1}}}}, "sprad"),
        ({"initialisers": []}, "initialisers must be"),
        ({"count": 1}, "no variance"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_plan(written(tmp_path, **changes))
    with pytest.raises(InputError, match="absent"):
        read_plan(tmp_path / "absent.yaml")


def test_names_make_initialisers_and_families() -> None:
    small = make_initialiser("small-angle:spread=0.05,scale=2")
    assert isinstance(small, SmallAngle)
    assert (small.spread, small.scale) == (0.05, 2)
    assert isinstance(make_initialiser("qmm.initialisers.IdentityBlocks"), IdentityBlocks)
    assert {"uniform", "small-angle", "identity-blocks", "ada-init", "orthogonal-like"} <= set(initialisers())
    ansatz = {"ansatz": {"class_path": "qmm.circuits.Brickwork"}}
    family = make_family("hardware-efficient", ansatz)
    assert isinstance(family, AnsatzLayers)
    assert isinstance(family.ansatz, Brickwork)
    assert to_config(family)["init_args"]["ansatz"]["class_path"].endswith("Brickwork")
    with pytest.raises(InputError, match="KEY=VALUE"):
        make_initialiser("small-angle:0.05")
    assert read_depth("10n") == Depth(10, per_qubit=True)
    assert str(read_depth(7)) == "7"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs" / "trainability").glob("*.yaml")), ids=lambda path: path.stem
)
def test_plans_of_the_repository(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parents[2])
    plan = read_plan(path)
    assert max(plan.qubits) >= 12
    for case in plan.cases.values():
        if isinstance(case.family, ConfiguredFusion):
            assert case.family.ensemble(2, 1, "zz", 2, seed=0).n_qubits == 2
