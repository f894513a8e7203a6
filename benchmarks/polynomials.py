"""QFL's claim where the truth is known: random polynomials of degree P over M modalities, learned by fusions of equal size.

python benchmarks/polynomials.py [--config configs/studies/polynomials.yaml] [--degrees 1 2 3] [--modalities 2 3 4]
    [--basis cosine] [--arms ARM ...] [--seeds 0 1 ...] [--folder studies/polynomials] [--jobs 1] [-- FLAGS]

The study is run at its own P and M, then with other P, then with other M; at each point the first arm has the degree P of the
polynomial, and all others are given its size anew. Trainings that are done are in the folder; the same command goes on from
there. What follows `--` goes to every `qmm fit`.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import PolynomialFeatures

from qmm.contracts import Budget
from qmm.data import PolynomialsDataModule, PolynomialsSource
from qmm.decoders import ValueDecoder
from qmm.fusion import QuantumFusion, SuperpositionFusion, classical_counterparts
from qmm.study import holm, paired_difference, read_study
from qmm.study.plan import Study
from qmm.study.runner import run_study

FEATURES = 2
"""Of each modality, as configs/polynomials.yaml has it."""
_ENCODER = {"class_path": "qmm.encoders.VectorEncoder", "init_args": {"dim": FEATURES, "standardize": False}}
_BRANCH = {
    "encoder": _ENCODER,
    "compressor": {"class_path": "qmm.encoders.RangeCompressor", "init_args": {"features": FEATURES}},
}


class Point(NamedTuple):
    basis: str
    degree: int
    modalities: int

    @property
    def widths(self) -> dict[str, int]:
        return {f"m{place}": FEATURES for place in range(self.modalities)}

    def overlay(self) -> dict[str, Any]:
        """The polynomial, and a model with a branch for each of its modalities."""
        data = {"degree": self.degree, "count": self.modalities, "basis": self.basis}
        return {
            "data": {"init_args": data},
            "model": {"init_args": {"model": {"others": dict.fromkeys(self.widths, _BRANCH)}}},
        }

    def arms(self) -> dict[str, list[dict[str, Any]]]:
        """Overlays by arm, all as near as they can to the size of the first, SuperpositionFusion of the polynomial's degree."""
        qfl, decoder = SuperpositionFusion(self.degree), ValueDecoder()
        qfl.build(self.widths)
        budget = Budget(_count(qfl) + decoder.count_parameters(qfl.out_features), decoder.count_parameters)
        first = _fusion("SuperpositionFusion", degree=self.degree)
        found = {"superposition": [first], "superposition-frozen": [first, _FROZEN]}
        plain, again = (
            _fusion("QuantumFusion", layers=self._layers(budget, reupload), reupload=reupload) for reupload in (False, True)
        )
        found |= {"quantum": [plain], "reupload": [again]}
        found |= {name: [first, _counterpart(name)] for name in self._classical(budget)}
        return found | {name: [plain, _counterpart(name)] for name in ("sham-local", "sham-frozen")}

    def _layers(self, budget: Budget, reupload: bool) -> int:
        """Of equally near sizes the larger."""

        def excess(layers: int) -> int:
            fusion = QuantumFusion(layers, reupload=reupload)
            fusion.build(self.widths)
            return _count(fusion) + budget.decoder_parameters(fusion.out_features) - budget.parameters

        found = {layers: excess(layers) for layers in range(1, budget.parameters // (2 * self.modalities) + 2)}
        return min(found, key=lambda layers: (abs(found[layers]), -found[layers]))

    def _classical(self, budget: Budget) -> list[str]:
        """Each member once: where it has no size within 5 %, the nearer of those below and above."""
        nearest: dict[str, tuple[float, str]] = {}
        for name, fusion in classical_counterparts(self.widths, budget).items():
            fusion.build(self.widths)
            size = _count(fusion) + budget.decoder_parameters(fusion.out_features)
            best = nearest.get(unsized(name), (float("inf"), ""))
            nearest[unsized(name)] = min(best, (abs(size - budget.parameters), name))
        return [name for _, name in nearest.values()]


_STILL = {"class_path": "qmm.optimisers.Torch", "init_args": {"name": "SGD", "lr": 0.0}}
_FROZEN = {"model": {"init_args": {"circuit_optimizer": _STILL}}}
"""The sham of a fusion that has no `sham` of its own: its circuit's weights stay at their random start, its decoder learns."""


def _fusion(name: str, **arguments: Any) -> dict[str, Any]:
    return {"model": {"init_args": {"model": {"fusion": {"class_path": f"qmm.fusion.{name}", "init_args": arguments}}}}}


def _counterpart(name: str) -> dict[str, Any]:
    return {"model": {"init_args": {"model": {"counterpart": name}}}}


def _count(fusion: Any) -> int:
    return sum(p.numel() for p in fusion.parameters())


def unsized(arm: str) -> str:
    return arm.removesuffix("-below").removesuffix("-above")


def study_at(point: Point, study: Study, common: list[Any], arms: list[str] | None = None) -> Study:
    """The study of this point; `arms` are named without "-below" and "-above"."""
    found = {
        arm: (*common, point.overlay(), *overlays)
        for arm, overlays in point.arms().items()
        if arms is None or unsized(arm) in arms
    }
    return study._replace(name=f"{point.basis}, degree {point.degree}, {point.modalities} modalities", arms=found)


def main(args: list[str]) -> None:
    own, flags = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/studies/polynomials.yaml", help="a study of polynomials")
    parser.add_argument("--degrees", type=int, nargs="+", default=[1, 2, 3], help="P (default: 1 2 3)")
    parser.add_argument("--modalities", type=int, nargs="+", default=[2, 3, 4], help="M (default: 2 3 4)")
    parser.add_argument("--basis", default="cosine", help="cosine (default) or legendre")
    parser.add_argument("--arms", nargs="+", help="these arms instead of all")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds instead of the study's; each is another polynomial")
    parser.add_argument("--folder", type=Path, default=Path("studies/polynomials"), help="where trainings go")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time (default: 1)")
    options = parser.parse_args(own)
    study, common = read_study(options.config), yaml.safe_load(Path(options.config).read_text())["configs"]
    study = study._replace(seeds=tuple(options.seeds)) if options.seeds else study
    tables: dict[Point, pd.DataFrame] = {}
    failures: dict[str, str] = {}
    for point in points(options.basis, options.degrees, options.modalities):
        folder = options.folder / f"{point.basis}-degree{point.degree}-modalities{point.modalities}"
        folder.mkdir(parents=True, exist_ok=True)
        outcome = run_study(study_at(point, study, common, options.arms), folder, options.jobs, flags)
        tables[point] = outcome.table
        failures |= {f"{folder.name}/{cell}": why for cell, why in outcome.failures.items()}
    data = yaml.safe_load(Path(common[0]).read_text())["data"]["init_args"]
    print(scores(tables, data), differences(tables), sep="\n\n")
    if failures:
        sys.exit(f"failed: {failures}")


def points(basis: str, degrees: list[int], modalities: list[int], own: tuple[int, int] = (2, 3)) -> list[Point]:
    """The study's own (degree, modalities), then other degrees, then other numbers of modalities; those that are asked for."""
    asked = [(degree, own[1]) for degree in degrees] + [(own[0], count) for count in modalities]
    if own[0] not in degrees or own[1] not in modalities:
        asked = [pair for pair in asked if pair != own]
    ordered = sorted(dict.fromkeys(asked), key=lambda pair: pair != own)
    return [Point(basis, degree, count) for degree, count in ordered]


def scores(tables: dict[Point, pd.DataFrame], data: dict[str, Any]) -> str:
    """Markdown: R² on the test split by arm and point, mean ± standard deviation over seeds, and in brackets the parameters of
    fusion and decoder. Below, for the same polynomials: what least squares reach on all products of up to P features, which no
    training can miss, and the best that there is. `data` are the arguments of PolynomialsDataModule, but for the point's."""
    lines = _head("R²", tables)
    for arm in _arms(tables):
        cells = []
        for table in tables.values():
            rows = table[table["arm"].map(unsized) == arm]
            size = rows[["parameters_fusion_total", "parameters_decoder_total"]].sum(axis=1)
            cells.append(f"{_spread(rows['r2'])} [{int(size.iloc[0])}]" if len(rows) else "")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    sources = {
        point: [_source(point, data, int(seed)) for seed in sorted(table["seed"].unique())] for point, table in tables.items()
    }
    cells = [
        f"{_spread(pd.Series([least_squares(source) for source in found]))} "
        f"[{math.comb(len(point.widths) * FEATURES + point.degree, point.degree)}]"
        for point, found in sources.items()
    ]
    lines.append("| *least squares* | " + " | ".join(cells) + " |")
    limits: dict[str, dict[str, Any]] = {
        "best there is": {},
        "best of degree P - 1": {"degree": -1},
        "best without fusion": {"meeting": 1},
    }
    for name, what in limits.items():
        cells = []
        for point, found in sources.items():
            asked = {"degree": point.degree - 1} if "degree" in what else what
            cells.append(_spread(pd.Series([source.best_score(**asked) for source in found])))
        lines.append(f"| *{name}* | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences(tables: dict[Point, pd.DataFrame]) -> str:
    """Markdown: the first arm's R² minus each other's, seed by seed; p by Student's t, after Holm over the whole table."""
    first, *others = _arms(tables)
    pairs = {}
    for point, table in tables.items():
        wide = table.assign(arm=table["arm"].map(unsized)).pivot(index="seed", columns="arm", values="r2")
        for arm in others:
            if first in wide and arm in wide and len(both := wide[[first, arm]].dropna()) > 1:
                pairs[arm, point] = paired_difference(both[first].tolist(), both[arm].tolist())
    found = dict(zip(pairs, holm(list(pairs.values())), strict=True))
    lines = _head(f"{first} minus", tables)
    for arm in others:
        cells = [f"{c.mean:+.3f}, {_chance(c.p)}" if (c := found.get((arm, point))) else "" for point in tables]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _head(name: str, tables: dict[Point, pd.DataFrame]) -> list[str]:
    columns = [f"P = {point.degree}, M = {point.modalities}" for point in tables]
    return [f"| {name} | " + " | ".join(columns) + " |", "|" + "---|" * (1 + len(columns))]


def _arms(tables: dict[Point, pd.DataFrame]) -> list[str]:
    return list(dict.fromkeys(unsized(arm) for table in tables.values() for arm in table["arm"]))


def least_squares(source: PolynomialsSource) -> float:
    """R² on the test split of a polynomial in the features themselves, of the true degree, fitted to the training split."""
    products, model = PolynomialFeatures(source.degree), LinearRegression(fit_intercept=False)
    shown = {split: _features(source, rows) for split, rows in source.splits.items()}
    targets = {split: source.targets["label"][rows] for split, rows in source.splits.items()}
    model.fit(products.fit_transform(shown["train"]), targets["train"])
    return float(model.score(products.transform(shown["test"]), targets["test"]))


def _features(source: PolynomialsSource, rows: np.ndarray) -> np.ndarray:
    """(N, count * features)"""
    return np.stack([np.concatenate([source.raw(m, row).numpy() for m in source.present]) for row in rows])


def _source(point: Point, data: dict[str, Any], seed: int) -> PolynomialsSource:
    asked = {**data, "degree": point.degree, "count": point.modalities, "basis": point.basis, "seed": seed}
    return PolynomialsDataModule(**asked).make_source()


def _chance(p: float) -> str:
    return f"p {p:.3f}" if p >= 0.001 else "p < 0.001"


def _spread(values: "pd.Series[float]") -> str:
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main(sys.argv[1:])
