"""A fusion of three registers cut into three devices, beside the whole; and one of 48 qubits by matrix product states, beside
its value computed exactly from cut registers: errors, overheads, seconds.

python benchmarks/cutting.py [--shots 1000 10000] [--repeats 40] [--bonds 4 8 16 32 64] [--noisy]

Registers meet in one layer, at three CX. Errors are root mean squares over samples, outputs and repeats; "shots" are those of
one evaluation, of all its fragments and bindings. With --noisy, fragments run on fake_lagos (7 qubits), the whole circuit on
fake_guadalupe (16 qubits), imitated by qiskit-aer.
"""

import argparse
import time
from typing import NamedTuple

import torch
from torch import Tensor

from qmm.fusion import FewMeetings, QuantumFusion
from qmm.quantum import Backend, Circuit, CompiledCircuit, ExactBackend, expectations
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.scaling import CutBackend, mps_report

MODALITIES = ("vision", "audio", "text")
_ROW = "| {:46} | {:>10} | {:>9} | {:>8} |"


class Workload(NamedTuple):
    circuit: CompiledCircuit
    inputs: Tensor
    """(B, n_inputs)"""
    weights: Tensor
    """(W,)"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, nargs="+", default=[1000, 10_000], help="of each binding; default: 1000 10000")
    parser.add_argument("--repeats", type=int, default=40, help="of each evaluation; default: 40")
    parser.add_argument("--batch", type=int, default=2, help="samples; default: 2")
    parser.add_argument(
        "--bonds", type=int, nargs="+", default=[4, 8, 16, 32, 64], help="bond dimensions; default: 4 8 16 32 64"
    )
    parser.add_argument("--noisy", action="store_true", help="on imitated devices as well, which takes minutes")
    parser.add_argument("--threads", type=int, default=1, help="of torch and of Aer; default: 1")
    return parser.parse_args()


def workload(qubits: int, layers: int, batch: int, spread: float, every: int = 1) -> Workload:
    """A fusion whose registers meet in one layer, at three CX; of its outputs, each `every`th."""
    torch.manual_seed(0)
    fusion = QuantumFusion(layers, qubits=dict.fromkeys(MODALITIES, qubits), entangler=FewMeetings(layers=[layers // 2]))
    fusion.build(dict.fromkeys(MODALITIES, 2 * qubits))
    circuit = fusion.circuit()
    few = Circuit.of(circuit.quantum_circuit, circuit.inputs, circuit.weights, circuit.observables[::every])
    inputs, weights = (spread * torch.randn(n, dtype=torch.float64) for n in ((batch, len(few.inputs)), len(few.weights)))
    return Workload(CompiledCircuit(few), inputs, weights)


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).square().mean().sqrt())


def line(name: str, off: float, shots: int | None, seconds: float) -> str:
    return _ROW.format(name, f"{off:.2e}", "" if shots is None else f"{shots:,}", f"{seconds:.2f}")


def evaluate(name: str, backend: Backend, load: Workload, exact: Tensor, repeats: int) -> tuple[float, int]:
    """Prints a line; the error, and the shots of one evaluation."""
    shots = backend.plan(load.circuit, len(load.inputs)).shots if hasattr(backend, "plan") else 0
    expectations(load.circuit, load.inputs[:1], load.weights, backend)  # transpiles and compiles
    began = time.perf_counter()
    found = torch.stack([expectations(load.circuit, load.inputs, load.weights, backend) for _ in range(repeats)])
    off = error(found, exact)
    print(line(name, off, shots or None, (time.perf_counter() - began) / repeats))
    return off, shots


def cut_fusion(args: argparse.Namespace) -> None:
    load, cut = workload(4, 2, args.batch, 0.5), CutBackend(ExactBackend())
    print(f"3 registers of 4 qubits, {load.circuit.circuit.n_outputs} outputs, {args.batch} samples:")
    print(f"{cut.cutting(load.circuit)}\n")
    print(_ROW.format("", "error", "shots", "s"), "\n| --- | --- | --- | --- |", sep="")
    exact = expectations(load.circuit, load.inputs, load.weights)
    evaluate("cut, fragments exact", cut, load, exact, 1)
    costs = []
    for shots in args.shots:
        pairs = {"whole": PrimitiveBackend(Ideal(), shots, seed=1), "cut": CutBackend(PrimitiveBackend(Ideal(), shots, seed=2))}
        found = [evaluate(f"{name}, {shots:,} shots a binding", one, load, exact, args.repeats) for name, one in pairs.items()]
        costs.append((found[1][0] / found[0][0]) ** 2 * found[1][1] / found[0][1])
    for name, backend in noisy(args.shots[0]).items() if args.noisy else ():
        evaluate(f"{name}, {args.shots[0]:,} shots a binding", backend, load, exact, 1)
    print(f"\nShots for the same error, cut over whole: {', '.join(f'{c:.0f}' for c in costs)}.\n")


def noisy(shots: int) -> dict[str, Backend]:
    lagos = {m: PrimitiveBackend(Aer(device="fake_lagos"), shots, seed=i) for i, m in enumerate(MODALITIES)}
    whole = PrimitiveBackend(Aer(method="statevector", device="fake_guadalupe"), shots)
    return {"whole on fake_guadalupe": whole, "cut on three fake_lagos": CutBackend(dict[str, Backend](lagos))}


def wide_fusion(args: argparse.Namespace, layers: int) -> None:
    load = workload(16, layers, 1, 0.3, every=40)
    print(f"3 registers of 16 qubits, {layers} layer(s), {load.circuit.circuit.n_outputs} of their outputs, one sample:\n")
    row = "| {:>5} | {:>7} | {:>9} | {:>8} | {:>10} | {:>6} |".format
    print(row("bond", "reached", "discarded", "fidelity", "max. error", "s"), "\n| --- | --- | --- | --- | --- | --- |", sep="")
    began = time.perf_counter()
    exact = expectations(load.circuit, load.inputs, load.weights, CutBackend(ExactBackend()))
    seconds = time.perf_counter() - began
    for bond in args.bonds:
        told = mps_report(load.circuit.circuit, load.inputs, load.weights, bond, threads=args.threads)
        off = (torch.from_numpy(told.values) - exact).abs().max().item()
        reached, discarded, fidelity = told.bond_dimensions.max(), f"{told.discarded[0]:.1e}", f"{told.fidelity[0]:.4f}"
        print(row(bond, reached, discarded, fidelity, f"{off:.1e}", f"{told.seconds:.2f}"))
    size = f"{exact.abs().mean():.2f} on average, {exact.abs().max():.2f} at most"
    print(f"\nExactly, from three fragments of 18 qubits: {seconds:.2f} s; values of {size}.\n")


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    with torch.no_grad():
        cut_fusion(args)
        for layers in (1, 2):
            wide_fusion(args, layers)
    print(f"{time.perf_counter() - began:.0f} s in all, {args.threads} thread(s).")


if __name__ == "__main__":
    main()
