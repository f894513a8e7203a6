"""Times a training step of a quantum fusion by natural gradient beside one by plain gradient descent, interleaved.

python benchmarks/natural_gradient.py --widths 6 6 --batch 32 --layers 3 [--rows 8] [--dtype complex128]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from qmm.circuits import count
from qmm.fusion import QuantumFusion
from qmm.optimisers import QNSPSA, SPSA, QuantumNaturalGradient

Make = Callable[[list[nn.Parameter]], Optimizer]


def arguments(args: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[6, 6], help="angles of each modality; default: 6 6")
    parser.add_argument("--batch", type=int, nargs="+", default=[32], help="batch sizes; default: 32")
    parser.add_argument("--layers", type=int, default=3, help="default: 3")
    parser.add_argument("--rows", type=int, default=8, help="samples whose states make the cheaper metric; default: 8")
    parser.add_argument("--dtype", choices=("complex64", "complex128"), default="complex64", help="default: complex64")
    parser.add_argument("--repeats", type=int, default=200, help="steps timed of each; default: 200")
    parser.add_argument("--cpu", action="store_true", help="CPU time, for a machine that others load; with one thread")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    return parser.parse_args(args)


def optimisers(rows: int) -> dict[str, Make]:
    """The first is what the others are compared with. Learning rates of 0 keep all at the same weights."""
    return {
        "gradient": lambda p: SGD(p, lr=0.0),
        "natural, full": lambda p: QuantumNaturalGradient(p, lr=0.0),
        "natural, block": lambda p: QuantumNaturalGradient(p, lr=0.0, kind="block"),
        "natural, diagonal": lambda p: QuantumNaturalGradient(p, lr=0.0, kind="diagonal"),
        f"natural, full, of {rows} samples": lambda p: QuantumNaturalGradient(p, lr=0.0, rows=rows),
        f"natural, block, of {rows} samples": lambda p: QuantumNaturalGradient(p, lr=0.0, kind="block", rows=rows),
        "natural, full, every 10th": lambda p: QuantumNaturalGradient(p, lr=0.0, every=10),
        "natural, conjugate gradient": lambda p: QuantumNaturalGradient(p, lr=0.0, solver="cg"),
        "SPSA": lambda p: SPSA(p, lr=0.0),
        "QNSPSA": lambda p: QNSPSA(p, lr=0.0),
    }


def medians(fusion: QuantumFusion, angles: dict[str, Tensor], rows: int, repeats: int, cpu: bool = False) -> dict[str, float]:
    """Milliseconds of a step: forward, backward to angles and weights, and the optimiser's part."""
    present = {m: torch.ones(len(x), dtype=torch.bool) for m, x in angles.items()}
    made = {name: make([fusion.weights]) for name, make in optimisers(rows).items()}
    times: dict[str, list[float]] = {name: [] for name in made}
    warm, clock = 10, time.process_time if cpu else time.perf_counter
    for _ in range(repeats + warm):
        for name, optimiser in made.items():

            def closure(optimiser: Optimizer = optimiser) -> Tensor:
                optimiser.zero_grad()
                loss = fusion(angles, present).square().mean()
                loss.backward()
                return loss

            began = clock()
            optimiser.step(closure)  # type: ignore[arg-type]
            times[name].append(clock() - began)
    return {name: 1e3 * statistics.median(seconds[warm:]) for name, seconds in times.items()}


def main(args: list[str] | None = None) -> None:
    given = arguments(args)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    fusion = QuantumFusion(given.layers)
    fusion.build({f"modality{i}": width for i, width in enumerate(given.widths)})
    real = torch.float64 if given.dtype == "complex128" else torch.float32
    fusion = fusion.to(real)
    print(f"{count(fusion.circuit())}, {given.dtype}, {given.threads} thread(s)")
    for size in given.batch:
        angles = {m: (torch.pi * torch.rand(size, k, dtype=real)).requires_grad_() for m, k in fusion.widths.items()}
        found = medians(fusion, angles, given.rows, given.repeats, given.cpu)
        first = next(iter(found.values()))
        print(f"\nbatch {size}:\n\n| step by | ms | times the gradient's |\n|---|---|---|")
        for name, milliseconds in found.items():
            print(f"| {name} | {milliseconds:.2f} | {milliseconds / first:.2f} |")


if __name__ == "__main__":
    main()
