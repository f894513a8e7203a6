"""Compressors side by side: what of the features can be had back from a few numbers, and what a classifier makes of these.

python benchmarks/autoencoders.py --out runs/autoencoders [--sets digits mosi av-scenes] [--features 4] [--seeds 5]

Every seed takes another 80 % of the training split, and other first weights and landmarks. Measured on the val split:

- share of the features' variance that comes back from the k numbers, by the best linear map and by kernel ridge regression
  (both found on the training rows, alike for all), and by the way back that a compressor has itself;
- for quantum autoencoders, the fidelity of the state that U^dagger makes of the latent qubits: of the trained U; of no U at
  all, trash and all as encoded; and of the one whose columns are the leading eigenvectors of the training states (which PCA
  finds), with the bound that no U exceeds;
- accuracy of logistic regression, and of a support vector machine, on the k angles.

Cells that are done are in the folder; the same command goes on from there. Real data: configurations say where it lies, and
configs/av_scenes_features.yaml how its encoders are trained.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from feature_sets import SETS, Part, read
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm.auto import tqdm

from qmm.circuits import AngleEncoding, ZZEncoding
from qmm.encoders import (
    ClassicalAutoencoder,
    PCACompressor,
    QuantumAutoencoder,
    QuantumKernelPCA,
    RandomProjectionCompressor,
    RBFKernelPCA,
)
from qmm.encoders.quantum_autoencoder import reconstruction_fidelity
from qmm.files import write_json

_SHARE = 0.8  # of the training split, for each seed another
_ROWS = 600  # that kernel ridge regression is tuned and fitted on, at most
_RIDGE = {"kernelridge__alpha": [1e-2, 1e-1], "kernelridge__gamma": [0.05, 0.2, 0.8]}

Compressors = dict[str, Callable[[int, int, int], Any]]
"""Name -> (k, width of the features, seed) -> a compressor, not yet built."""


def twin(k: int, width: int, seed: int) -> ClassicalAutoencoder:
    """Of the quantum autoencoder of these features."""
    quantum = QuantumAutoencoder(k, seed=seed)
    quantum.build(width)
    return quantum.counterpart()


COMPRESSORS: Compressors = {
    "PCA": lambda k, width, seed: PCACompressor(k),
    "random projection": lambda k, width, seed: RandomProjectionCompressor(k, seed=seed),
    "quantum autoencoder, amplitudes": lambda k, width, seed: QuantumAutoencoder(k, seed=seed),
    "quantum autoencoder, 15 components": lambda k, width, seed: QuantumAutoencoder(k, inputs=15, layers=12, seed=seed),
    "quantum autoencoder, angles": lambda k, width, seed: QuantumAutoencoder(k, feature_map=AngleEncoding(), seed=seed),
    "classical twin": twin,
    "classical autoencoder, all features": lambda k, width, seed: ClassicalAutoencoder(k, seed=seed),
    "quantum kernel PCA": lambda k, width, seed: QuantumKernelPCA(k, seed=seed),
    "quantum kernel PCA, ZZEncoding": lambda k, width, seed: QuantumKernelPCA(k, feature_map=ZZEncoding(), seed=seed),
    "Gaussian kernel PCA": lambda k, width, seed: RBFKernelPCA(k, seed=seed),
}


def cell(name: str, modality: str, way: str, k: int, seed: int) -> dict[str, float]:
    """All that is measured of one compressor on one part of the training split."""
    given = read(name)[modality]
    chosen = np.random.default_rng(seed).permutation(len(given.train.classes))
    chosen = np.sort(chosen[: int(_SHARE * len(chosen))])
    train = Part(given.train.features[chosen], given.train.classes[chosen])
    compressor = COMPRESSORS[way](k, train.features.shape[1], seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ClassicalAutoencoder: .* parameters")  # the table says how many
        compressor.build(train.features.shape[1])
    began = time.perf_counter()
    compressor.fit([train.features])
    seconds = time.perf_counter() - began
    with torch.no_grad():
        found = {
            "seconds": seconds,
            "parameters": sum(p.numel() for p in compressor.parameters()),
            **reconstruction(compressor.eval(), train.features, given.val.features),
            **accuracies(*(Part(compressor(part.features).numpy(), part.classes) for part in (train, given.val))),
        }
        if isinstance(compressor, QuantumAutoencoder):
            found |= fidelities(compressor, train.features, given.val.features)
    return found


def reconstruction(compressor: Any, train: torch.Tensor, val: torch.Tensor) -> dict[str, float]:
    """Shares of the variance of `val` that come back, counted from the training mean."""
    codes, fresh = compressor.scores(train).double().numpy(), compressor.scores(val).double().numpy()
    rows, wanted = train.double().numpy(), val.double().numpy()
    whole = ((wanted - rows.mean(0)) ** 2).sum()

    def share(values: NDArray[np.float64]) -> float:
        return float(1 - ((wanted - values) ** 2).sum() / whole)

    linear = LinearRegression().fit(codes, rows)
    ridge = GridSearchCV(make_pipeline(StandardScaler(), KernelRidge(kernel="rbf")), _RIDGE, cv=3)
    mean = rows[:_ROWS].mean(0)
    ridge.fit(codes[:_ROWS], rows[:_ROWS] - mean)
    found = {"linear": share(linear.predict(fresh)), "kernel_ridge": share(ridge.predict(fresh) + mean)}
    if hasattr(compressor, "reconstruct"):
        found["own"] = share(compressor.reconstruct(val).double().numpy())
    return found


def fidelities(compressor: QuantumAutoencoder, train: torch.Tensor, val: torch.Tensor) -> dict[str, float]:
    """Means over `val`."""
    states, fresh, latent = compressor.encoded(train), compressor.encoded(val), compressor.n_latent
    vectors = torch.linalg.eigh(states.mT @ states.conj() / len(states)).eigenvectors.flip(1)
    return {
        "qubits": compressor.n_qubits,
        "latent": latent,
        "fidelity": float(compressor.fidelity(val).mean()),
        "fidelity_untouched": float(reconstruction_fidelity(fresh, latent).mean()),
        "fidelity_eigenvectors": float(reconstruction_fidelity(fresh @ vectors.conj(), latent).mean()),
        "bound": compressor.bound(val),
    }


def accuracies(train: Part, val: Part) -> dict[str, float]:
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(train.features, train.classes)
    machine = make_pipeline(StandardScaler(), SVC()).fit(train.features, train.classes)
    return {"logistic": logistic.score(val.features, val.classes), "svm": machine.score(val.features, val.classes)}


def sizes(name: str, modality: str) -> dict[str, float]:
    """Of the set itself, and what classifiers make of its features as they are, from the whole training split."""
    given = read(name)[modality]
    whole = accuracies(*(Part(part.features.numpy(), part.classes) for part in given))
    counted = {"width": given.train.features.shape[1], "classes": len(np.unique(given.train.classes))}
    return counted | {f"all_{key}": value for key, value in whole.items()}


def table(rows: pd.DataFrame) -> str:
    """Markdown: means over seeds, and standard deviations."""
    lines = []
    for name, group in rows.groupby("set", sort=False):
        first = group.iloc[0]
        lines += [
            f"\n**{name}** ({first['width']:.0f} features, {first['classes']:.0f} classes, {group['seed'].nunique()} seeds; "
            f"all features: logistic {first['all_logistic']:.1%}, SVM {first['all_svm']:.1%})\n",
            "| | parameters | variance back: linear | kernel ridge | its own way | logistic | SVM | fit, s |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for way, own in group.groupby("way", sort=False):
            shares = " | ".join(_spread(own[key]) for key in ("linear", "kernel_ridge", "own", "logistic", "svm"))
            lines.append(f"| {way} | {own['parameters'].iloc[0]:.0f} | {shares} | {own['seconds'].median():.1f} |")
        quantum = group[group["fidelity"].notna()] if "fidelity" in group else group[:0]
        if len(quantum):
            lines += ["", "| | latent of qubits | fidelity | no U | eigenvectors | bound |", "|---|---|---|---|---|---|"]
        for way, own in quantum.groupby("way", sort=False):
            shares = [_spread(own[key]) for key in ("fidelity", "fidelity_untouched", "fidelity_eigenvectors")]
            sizes = f"{own['latent'].iloc[0]:.0f} of {own['qubits'].iloc[0]:.0f}"
            lines.append(f"| {way} | {sizes} | {' | '.join(shares)} | {own['bound'].mean():.3f} |")
    return "\n".join(lines)


def _spread(values: pd.Series) -> str:
    return "-" if values.isna().any() else f"{values.mean():.3f} ± {values.std(ddof=1) if len(values) > 1 else 0:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/autoencoders", help="folder of the results; default: runs/autoencoders")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), help="default: all")
    parser.add_argument("--features", type=int, default=4, help="numbers that are kept, k; default: 4")
    parser.add_argument("--seeds", type=int, default=5, help="default: 5")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cells = [
        (name, m, way, seed) for name in args.sets for m in SETS[name] for seed in range(args.seeds) for way in COMPRESSORS
    ]
    rows = []
    for name, modality, way, seed in tqdm(cells, unit="cell"):
        start = f"{args.out}/{name}-{modality}"
        of_set = kept(Path(f"{start}.json"), partial(sizes, name, modality))
        path = Path(f"{start}-k{args.features}-{way.replace(' ', '_')}-{seed}.json")
        found = kept(path, partial(cell, name, modality, way, args.features, seed))
        rows.append({"set": f"{name}: {modality}", "way": way, "seed": seed, **of_set, **found})
    print(table(pd.DataFrame(rows)))


def kept(path: Path, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What the file holds; computed and written where there is none."""
    if not path.is_file():
        write_json(path, compute())
    found: dict[str, float] = json.loads(path.read_text())
    return found


if __name__ == "__main__":
    main()
