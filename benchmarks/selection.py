"""Feature selection by every solver of qmm.discrete on the same problems: how far from the optimum, and how long.

python benchmarks/selection.py --out runs/selection [--sizes 8 12 16 20 40 80] [--seeds 5] [--qubits 16]

Where every sample can be looked at, the optimum is known; for more features it is the best that any solver found. Two ways that
need no solver stand beside: the most relevant features, and greedy forward selection (minimal redundancy, maximal relevance).
Problems that are done are in the folder; the same command goes on from there.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from qmm.discrete import (
    QAOA,
    Choice,
    Exhaustive,
    PathIntegralAnnealing,
    Problem,
    SimulatedAnnealing,
    Solver,
    TabuSearch,
    TrotterisedAnnealing,
    feature_selection,
    redundancy,
    relevance,
)
from qmm.files import write_json

_SHARES = (1.0, 0.5, 0.25)  # of the penalties' strength that each solver tries, as `qmm.discrete.selection` does
_EXHAUSTIVE = 20
_RIGHT = 1e-9


def solvers(seed: int) -> dict[str, Solver]:
    return {
        "exhaustive": Exhaustive(_EXHAUSTIVE),
        "simulated annealing": SimulatedAnnealing(seed=seed),
        "path-integral annealing": PathIntegralAnnealing(seed=seed),
        "tabu search": TabuSearch(seed=seed),
        "QAOA, 3 layers": QAOA(seed=seed),
        "Trotterised annealing": TrotterisedAnnealing(seed=seed),
    }


def problem_of(size: int, seed: int, samples: int = 500) -> Problem:
    """Features that mix a third as many hidden causes, of which three decide the class; a quarter of them is to be kept."""
    rng = np.random.default_rng([size, seed])
    causes = rng.normal(size=(samples, max(3, size // 3)))
    features = causes @ rng.normal(size=(causes.shape[1], size)) + 0.7 * rng.normal(size=(samples, size))
    classes = (causes[:, 0] + 0.5 * causes[:, 1] * causes[:, 2] + 0.3 * rng.normal(size=samples) > 0).astype(int)
    return feature_selection(relevance(features, classes), redundancy(features), max(2, size // 4))


def greedy(problem: Problem) -> Choice:
    """Feature after feature, each the one that makes the objective least at the final weights."""
    k, chosen = problem.constraints[0].upper, set[int]()
    everything = range(len(problem.objective.variables))
    for _ in range(k):
        tried = {
            i: problem.read({j: int(j in chosen | {i}) for j in everything}).objective for i in everything if i not in chosen
        }
        chosen.add(min(tried, key=lambda i: tried[i]))
    return problem.read({j: int(j in chosen) for j in everything})


def most_relevant(problem: Problem) -> Choice:
    order = sorted(problem.objective.variables, key=lambda i: problem.objective.linear[i])
    kept = set(order[: problem.constraints[0].upper])
    return problem.read({j: int(j in kept) for j in order})


def timed(choose: Callable[[], Choice]) -> dict[str, Any]:
    began = time.perf_counter()
    choice = choose()
    return {"seconds": time.perf_counter() - began, "objective": choice.objective, "feasible": choice.feasible}


def rows_of(size: int, seed: int, qubits: int) -> list[dict[str, Any]]:
    problem = problem_of(size, seed)
    found = {"most relevant": timed(lambda: most_relevant(problem)), "greedy": timed(lambda: greedy(problem))}
    for name, solver in solvers(seed).items():
        most = _EXHAUSTIVE if name == "exhaustive" else qubits if isinstance(solver, QAOA | TrotterisedAnnealing) else size
        if size <= most:
            shares = (1.0,) if name == "exhaustive" else _SHARES
            found[name] = timed(lambda solver=solver, shares=shares: solver.solve(problem, shares).choice)  # type: ignore[misc]
    best = min(row["objective"] for row in found.values() if row["feasible"])
    return [
        {"size": size, "seed": seed, "way": name, "gap": (r["objective"] - best) / abs(best), **r} for name, r in found.items()
    ]


def table(rows: pd.DataFrame) -> str:
    """Markdown: gaps in percent of the optimum's value, the share of problems solved, times relative to exhaustive search."""
    lines = []
    for size, group in rows.groupby("size"):
        exhaustive = group[group["way"] == "exhaustive"]["seconds"].median()
        reference = "the optimum" if size <= _EXHAUSTIVE else "the best found"
        lines += [f"\n**{size} features, {group['seed'].nunique()} problems** (gaps from {reference})\n"]
        lines += ["| | gap, mean | worst | optimum found | seconds | / exhaustive |", "|---|---|---|---|---|---|"]
        for way, own in group.groupby("way", sort=False):
            gaps: NDArray[np.float64] = own["gap"].where(own["feasible"], np.inf).to_numpy()
            seconds = own["seconds"].median()
            ratio = f"{seconds / exhaustive:.3g}" if exhaustive == exhaustive else "-"
            shares = f"{gaps.mean():.1%} | {gaps.max():.1%} | {(gaps < _RIGHT).mean():.0%}"
            lines.append(f"| {way} | {shares} | {seconds:.3g} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/selection", help="folder of the results; default: runs/selection")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 12, 16, 20, 40, 80], help="features; default: 8 ... 80")
    parser.add_argument("--seeds", type=int, default=5, help="problems of each size; default: 5")
    parser.add_argument("--qubits", type=int, default=16, help="at most, for circuits; default: 16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder, rows = Path(args.out), []
    cells = [(size, seed) for size in args.sizes for seed in range(args.seeds)]
    if not all((folder / f"{size}-{seed}.json").is_file() for size, seed in cells):
        rows_of(4, 0, args.qubits)  # compiles kernels and loads libraries, which is not to be timed
    for size, seed in tqdm(cells, unit="problem"):
        path = folder / f"{size}-{seed}.json"
        if not path.is_file():
            write_json(path, rows_of(size, seed, args.qubits))
        rows += json.loads(path.read_text())
    print(table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
