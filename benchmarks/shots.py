"""Times forward + backward under shots, by the parameter-shift rule, beside Qiskit Machine Learning's EstimatorQNN under its
TorchConnector with the same rule, in turn: medians and ratios.

python benchmarks/shots.py --shots 1000 --batch 32 [--observables 1] [--family rzz] [--rounds 5]

The error of each is that of its last gradient of the weights, |found - exact| / |exact|: shot noise, at whatever speed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import families
import torch
from qiskit_aer.primitives import EstimatorV2
from torch import Tensor

from qmm.quantum import Backend, Circuit, ExactBackend, QuantumLayer
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.gradients import ParameterShift


class Member(NamedTuple):
    name: str
    values: Callable[[Tensor], Tensor]
    """(B, n_inputs) -> (B, n_outputs)"""
    weights: Tensor
    """The leaf that their gradient goes to."""
    batch: int


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=1000, help="of each circuit in each basis; default: 1000")
    parser.add_argument("--qubits", type=int, default=6, help="default: 6")
    parser.add_argument("--layers", type=int, default=3, help="of two weights a qubit in the family ring; default: 3")
    parser.add_argument("--family", choices=families.FAMILIES, default="ring", help="of circuits; default: ring")
    parser.add_argument("--observables", type=int, help="read out only the first so many; default: all, 9 for 6 qubits")
    parser.add_argument("--batch", type=int, default=32, help="default: 32")
    parser.add_argument("--peer-batch", type=int, default=2, help="of the peer, scaled to --batch; 0: no peer; default: 2")
    parser.add_argument("--rounds", type=int, default=5, help="steps timed of each; default: 5")
    parser.add_argument("--peer-rounds", type=int, default=2, help="of the peer; default: 2")
    parser.add_argument("--threads", type=int, default=1, help="of torch and of Aer; default: 1")
    return parser.parse_args()


def ours(name: str, circuit: Circuit, weights: Tensor, backend: Backend | None, batch: int) -> Member:
    layer = QuantumLayer(circuit, backend, ParameterShift(), weights)
    return Member(name, layer, layer.weights, batch)


def peer(circuit: Circuit, weights: Tensor, args: argparse.Namespace) -> Member:
    from qiskit_machine_learning.connectors import TorchConnector
    from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    precision = args.shots**-0.5
    options = {"default_precision": precision, "backend_options": {"max_parallel_threads": args.threads}}
    estimator: Any = EstimatorV2(options=options)
    network = EstimatorQNN(
        circuit=circuit.quantum_circuit,
        estimator=estimator,
        observables=list(circuit.observables),
        input_params=list(circuit.inputs),
        weight_params=list(circuit.weights),
        gradient=ParamShiftEstimatorGradient(estimator),
        input_gradients=True,
        default_precision=precision,
    )
    connector = TorchConnector(network, weights.numpy())
    return Member("EstimatorQNN + TorchConnector, Aer's EstimatorV2", connector, connector.weight, args.peer_batch)


def step(member: Member, inputs: Tensor, mixture: Tensor) -> tuple[float, Tensor]:
    """Seconds of one forward + backward with gradients to inputs and weights, and that of the weights."""
    own = inputs[: member.batch].clone().requires_grad_()
    member.weights.grad = None
    began = time.perf_counter()
    (member.values(own) * mixture[: member.batch]).sum().backward()
    seconds = time.perf_counter() - began
    assert member.weights.grad is not None
    return seconds, member.weights.grad


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    circuit = families.circuit(args.family, args.qubits, args.layers)
    if args.observables is not None:
        circuit = circuit._replace(observables=circuit.observables[: args.observables])
    inputs, weights = torch.randn(args.batch, len(circuit.inputs)), torch.randn(len(circuit.weights))
    mixture = torch.randn(args.batch, circuit.n_outputs)
    providers = {
        "qmm, Aer, bits": Aer(threads=args.threads),
        "qmm, Aer, expectation values": Aer(primitive="estimator", threads=args.threads),
        "qmm, bits of its exact engine": Ideal(),
    }
    members = [ours(n, circuit, weights, PrimitiveBackend(p, args.shots), args.batch) for n, p in providers.items()]
    if args.peer_batch:
        members.append(peer(circuit, weights, args))
    times: dict[str, list[float]] = {member.name: [] for member in members}
    errors = {}
    for member in members:
        step(member._replace(batch=1), inputs, mixture)  # transpiles and compiles
    for turn in range(args.rounds):
        for member in members:
            if member.name.startswith("qmm") or turn < args.peer_rounds:
                seconds, found = step(member, inputs, mixture)
                times[member.name].append(seconds * args.batch / member.batch)
                exact = step(ours("exact", circuit, weights, ExactBackend(), member.batch), inputs, mixture)[1]
                errors[member.name] = ((found - exact).norm() / exact.norm()).item()
    report(args, circuit, {name: statistics.median(seconds) for name, seconds in times.items()}, errors)


def report(args: argparse.Namespace, circuit: Circuit, medians: dict[str, float], errors: dict[str, float]) -> None:
    sizes = f"{args.qubits} qubits, {len(circuit.inputs)} inputs, {len(circuit.weights)} weights, {circuit.n_outputs} outputs"
    print(f"{args.family}, {sizes}, batch {args.batch}, {args.shots} shots, {args.threads} thread(s):\n")
    print("| | s | times faster | error |\n| --- | --- | --- | --- |")
    slowest = max(medians.values())
    for name, seconds in medians.items():
        print(f"| {name} | {seconds:.2f} | {slowest / seconds:.0f} | {errors[name]:.2f} |")
    if args.peer_batch not in (0, args.batch):
        print(f"\nEstimatorQNN ran {args.peer_batch} sample(s), scaled to {args.batch}: it runs one after the other.")


if __name__ == "__main__":
    main()
