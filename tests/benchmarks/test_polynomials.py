"""benchmarks/polynomials.py: its arms are of equal size, those of the study among them, and its tables say what results say."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from scipy.stats import ttest_rel

from qmm import fusion
from qmm.contracts import Budget
from qmm.data import PolynomialsDataModule
from qmm.decoders import ValueDecoder
from qmm.model import counterpart_of
from qmm.study import read_study

ROOT = Path(__file__).parents[2]


@pytest.fixture
def polynomials() -> Iterator[Any]:
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    import polynomials  # type: ignore[import-not-found]

    yield polynomials
    sys.path.remove(folder)
    del sys.modules["polynomials"]


def size(overlays: list[dict[str, Any]], widths: dict[str, int]) -> int:
    """Parameters of fusion and decoder, from the overlays of an arm alone."""
    model = [overlay["model"]["init_args"].get("model", {}) for overlay in overlays]
    made = model[0]["fusion"]
    built = getattr(fusion, made["class_path"].rpartition(".")[2])(**made["init_args"])
    built.build(widths)
    counterpart = next((m["counterpart"] for m in model if "counterpart" in m), None)
    own = built if counterpart is None else counterpart_of(built, ValueDecoder(), widths, counterpart)
    return sum(p.numel() for p in own.parameters()) + own.out_features + 1


@pytest.mark.parametrize(("degree", "count"), [(1, 3), (2, 3), (3, 3), (2, 2), (2, 4)])
def test_sizes_are_equal_or_the_nearest_there_are(polynomials: Any, degree: int, count: int) -> None:
    point = polynomials.Point("cosine", degree, count)
    sizes = {arm: size(overlays, point.widths) for arm, overlays in point.arms().items()}
    wanted = sizes["superposition"]
    assert wanted == 2 * degree * (1 + 2 * count) + degree * 2 * _qubits(count) + 2 * _qubits(count)
    for arm, found in sizes.items():
        if arm in ("quantum", "reupload", "sham-local", "sham-frozen"):
            layer = 2 * count  # weights of one more
            assert abs(found - wanted) <= layer / 2
        elif arm == polynomials.unsized(arm):
            assert abs(found / wanted - 1) <= 0.05
        else:
            other = arm.removesuffix("-below") + "-above" if arm.endswith("-below") else arm.removesuffix("-above") + "-below"
            offered = fusion.classical_counterparts(point.widths, Budget(wanted, ValueDecoder().count_parameters))
            if other in offered:
                offered[other].build(point.widths)
                theirs = sum(p.numel() for p in offered[other].parameters()) + offered[other].out_features + 1
                assert abs(found - wanted) <= abs(theirs - wanted)


def _qubits(count: int) -> int:
    return 1 + (2 * count).bit_length()


def test_the_study_is_the_point_of_its_own(polynomials: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load(Path("configs/studies/polynomials.yaml").read_text())
    base = yaml.safe_load(Path(content["configs"][0]).read_text())
    own = polynomials.Point(base["data"]["init_args"].get("basis", "cosine"), 2, 3)
    assert content["arms"] == own.arms()
    assert own.overlay()["model"]["init_args"]["model"]["others"] == base["model"]["init_args"]["model"]["others"]
    study = polynomials.study_at(own, read_study("configs/studies/polynomials.yaml"), content["configs"], ["mfb", "gated"])
    assert list(study.arms) == ["gated-below", "mfb"]
    assert study.arms["mfb"][: len(content["configs"])] == tuple(content["configs"])


def test_points(polynomials: Any) -> None:
    assert [p[1:] for p in polynomials.points("cosine", [1, 2, 3], [2, 3, 4])] == [(2, 3), (1, 3), (3, 3), (2, 2), (2, 4)]
    assert [p[1:] for p in polynomials.points("cosine", [2], [3])] == [(2, 3)]
    assert [p[1:] for p in polynomials.points("cosine", [1], [4])] == [(1, 3), (2, 4)]


def test_least_squares_find_a_polynomial_in_the_features(polynomials: Any) -> None:
    source = PolynomialsDataModule(size=100, val_size=0, test_size=50, basis="legendre", noise=0.0, degree=3).make_source()
    assert polynomials.least_squares(source) == pytest.approx(1, abs=1e-6)


def test_the_tables(polynomials: Any) -> None:
    scores = {"superposition": [0.9, 0.8, 0.7], "gated-below": [0.5, 0.6, 0.1]}
    rows = [
        {"arm": arm, "seed": seed, "r2": r2, "parameters_fusion_total": 40, "parameters_decoder_total": 5}
        for arm, values in scores.items()
        for seed, r2 in enumerate(values)
    ]
    tables = {polynomials.Point("cosine", 1, 3): pd.DataFrame(rows)}
    lines = polynomials.scores(tables, {"size": 300, "test_size": 2000, "noise": 0.5}).splitlines()
    assert lines[0] == "| R² | P = 1, M = 3 |"
    assert lines[2:4] == ["| superposition | 0.800 ± 0.100 [45] |", "| gated | 0.400 ± 0.265 [45] |"]
    name, score, parameters = re.fullmatch(r"\| \*(.+)\* \| (.+) ± .+ \[(\d+)\] \|", lines[4]).groups()  # type: ignore[union-attr]
    assert (name, parameters) == ("least squares", "7")
    assert 0.72 < float(score) < 0.8  # a line through half a cosine, of which it misses 1.4 %, and the noise
    assert lines[5:] == [
        "| *best there is* | 0.800 ± 0.000 |",
        "| *best of degree P - 1* | 0.000 ± 0.000 |",
        "| *best without fusion* | 0.800 ± 0.000 |",
    ]
    p = ttest_rel(scores["superposition"], scores["gated-below"]).pvalue
    assert polynomials.differences(tables).splitlines()[2] == f"| gated | +0.400, p {p:.3f} |"
