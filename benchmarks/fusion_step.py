"""Times forward + backward of the quantum fusion beside its classical counterpart, interleaved: medians and their ratio.

python benchmarks/fusion_step.py --widths 6 6 --batch 32 --layers 3 [--reupload] [--entangler rzz] [--missing 0.2]
"""

import argparse
import statistics
import time

import torch
from torch import Tensor

from qmm.circuits import count
from qmm.contracts import Budget, Fusion
from qmm.fusion import Pairs, QuantumFusion, Ring

ENTANGLERS = {"cx": Ring, "rzz": Pairs}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[6, 6], help="angles of each modality; default: 6 6")
    parser.add_argument("--batch", type=int, nargs="+", default=[32], help="batch sizes; default: 32")
    parser.add_argument("--layers", type=int, default=3, help="default: 3")
    parser.add_argument("--classes", type=int, default=9, help="of the linear decoder that counts in the match; default: 9")
    parser.add_argument("--reupload", action="store_true", help="write the angles again before every layer")
    parser.add_argument("--entangler", choices=ENTANGLERS, default="cx", help="how registers meet; default: cx")
    parser.add_argument("--missing", type=float, default=0.0, help="share of samples that lack each modality; default: 0")
    parser.add_argument("--repeats", type=int, default=200, help="steps timed of each; default: 200")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    return parser.parse_args()


def members(args: argparse.Namespace, widths: dict[str, int]) -> dict[str, Fusion]:
    quantum = QuantumFusion(args.layers, reupload=args.reupload, entangler=ENTANGLERS[args.entangler]())
    quantum.build(widths)

    def decoder(features: int) -> int:
        return (features + 1) * args.classes

    budget = Budget(quantum.weights.numel() + decoder(quantum.out_features), decoder)
    print(f"{count(quantum.circuit())}, {quantum.out_features} values; {budget.parameters} parameters with the decoder")
    others = quantum.counterparts(budget)
    for fusion in others.values():
        fusion.build(widths)
    return {"quantum": quantum, **others}


def batch(widths: dict[str, int], size: int, missing: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    flags = torch.rand(size, len(widths)) >= missing
    flags[:, 0] |= flags.logical_not().all(dim=1)  # every sample has something
    angles = {m: (torch.pi * torch.rand(size, k)).requires_grad_() for m, k in widths.items()}
    return angles, dict(zip(widths, flags.unbind(1), strict=True))


def step(fusion: Fusion, angles: dict[str, Tensor], present: dict[str, Tensor]) -> float:
    """Seconds of one forward + backward, gradients to angles and weights."""
    fusion.zero_grad()
    began = time.perf_counter()
    fusion(angles, present).square().mean().backward()
    return time.perf_counter() - began


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    widths = {f"modality{i}": width for i, width in enumerate(args.widths)}
    fusions = members(args, widths)
    for size in args.batch:
        angles, present = batch(widths, size, args.missing)
        times: dict[str, list[float]] = {name: [] for name in fusions}
        for _ in range(args.repeats + 10):
            for name, fusion in fusions.items():
                times[name].append(step(fusion, angles, present))
        medians = {name: 1e3 * statistics.median(seconds[10:]) for name, seconds in times.items()}  # after warming up
        ratios = ", ".join(f"{name} {ms:.2f} ms (quantum / it: {medians['quantum'] / ms:.1f})" for name, ms in medians.items())
        print(f"batch {size}: {ratios}")


if __name__ == "__main__":
    main()
