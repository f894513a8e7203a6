"""Shots without noise: independent from row to row and from job to job, repeated by the seed."""

import torch
from qiskit.circuit.library import efficient_su2

from qmm.quantum import Circuit, CompiledCircuit, ExactBackend
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.ideal import Ideal


def test_shots_are_independent_and_repeat_with_the_seed() -> None:
    ansatz = efficient_su2(3, reps=1)
    circuit = CompiledCircuit(Circuit.of(ansatz, [], None, ["ZII", "IXX", "YIZ"]))
    weights = torch.linspace(-1, 1, len(circuit.circuit.weights), dtype=torch.float64)
    rows = torch.zeros(200, 0, dtype=torch.float64)
    first, again = (PrimitiveBackend(Ideal(), shots=100, seed=3) for _ in range(2))
    job = first.submit(circuit, rows, weights)
    values, second = job.result(), first.submit(circuit, rows, weights).result()
    assert torch.equal(values, again.submit(circuit, rows, weights).result())
    assert not torch.equal(values, second)
    exact = ExactBackend().submit(circuit, rows[:1], weights).result()
    spread = values.std(dim=0)  # rows ask for the same: they differ by their shots
    torch.testing.assert_close(spread, ((1 - exact.square()) / 100).sqrt()[0], rtol=0.25, atol=0)
    torch.testing.assert_close(job.variances().mean(dim=0).sqrt(), spread, rtol=0.25, atol=0)
    assert ((values.mean(dim=0) - exact[0]).abs() < 5 * spread / 200**0.5).all()
