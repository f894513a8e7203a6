"""What perturbations cost a training step of a fusion, forward and backward, beside the same step without: interleaved runs.

python benchmarks/perturbations.py
"""

import argparse
import statistics
import time

import torch

from qmm.contracts import Perturbation
from qmm.fusion import QuantumFusion
from qmm.regularisation import AngleNoise, GateDropout, PauliNoise

MODALITIES = ("vision", "audio", "text")


def cases() -> dict[str, tuple[Perturbation, ...]]:
    """Name -> what is applied; the first is what the others are compared with."""
    return {
        "none": (),
        "GateDropout(rotations=0.1)": (GateDropout(0.1),),
        "GateDropout(rotations=0.1, per_sample=True)": (GateDropout(0.1, per_sample=True),),
        "GateDropout(rotations=0.1, entanglers=0.1)": (GateDropout(0.1, 0.1),),
        "AngleNoise(weights=0.1)": (AngleNoise(0.1),),
        "PauliNoise(rate=0.02)": (PauliNoise(0.02),),
    }


def times(features: int, batch: int, rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Seconds by case, of each round."""
    torch.manual_seed(0)
    fusion = QuantumFusion(layers=3)
    fusion.build(dict.fromkeys(MODALITIES, features))
    angles = {m: torch.rand(batch, features, requires_grad=True) for m in MODALITIES}
    present = {m: torch.ones(batch, dtype=torch.bool) for m in MODALITIES}
    found: dict[str, list[float]] = {name: [] for name in cases()}
    applied = cases()
    for place in range(warm_up + rounds):
        for name, perturbations in applied.items():
            fusion.perturbations = perturbations
            began = time.perf_counter()
            fusion(angles, present).square().sum().backward()
            if place >= warm_up:  # until then circuits of the pool are compiled
                found[name].append(time.perf_counter() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=4, help="of each of three modalities, two a qubit")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = times(options.features, options.batch, options.rounds, options.warm_up)
    plain = statistics.median(found["none"])
    print(f"| perturbation | step, ms (median of {options.rounds}) | over none |\n|---|---|---|")
    for name, own in found.items():
        print(f"| {name} | {1e3 * statistics.median(own):.2f} | {statistics.median(own) / plain:.2f} |")


if __name__ == "__main__":
    main()
