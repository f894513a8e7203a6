"""Fragments on simulated devices: their circuits are transpiled, run and mitigated as any other."""

import pytest
import torch

from qmm.quantum import CompiledCircuit, expectations
from qmm.quantum.execution import PrimitiveBackend
from qmm.quantum.execution.simulators.aer import Aer
from qmm.quantum.execution.simulators.noise import Noise
from qmm.quantum.mitigation import Trex
from qmm.quantum.scaling import CutBackend

MEETINGS = [("rzz", 1, 2), ("cx", 3, 0)]


@pytest.fixture
def case(meeting) -> tuple[CompiledCircuit, torch.Tensor, torch.Tensor]:
    circuit = CompiledCircuit(meeting(11, (2, 2), MEETINGS, n_gates=6))
    drawn = torch.Generator().manual_seed(0)
    inputs, weights = (torch.randn(size, generator=drawn, dtype=torch.float64) for size in ((2, 3), (3,)))
    return circuit, inputs, weights


@pytest.mark.parametrize("primitive", ["sampler", "estimator"])
def test_aer_gives_what_the_exact_engine_gives(case, primitive):
    circuit, inputs, weights = case
    job = CutBackend(PrimitiveBackend(Aer(primitive=primitive, threads=1), shots=3000)).submit(circuit, inputs, weights)
    off = (job.result() - expectations(circuit, inputs, weights)).abs()
    assert (off <= 5.5 * job.variances().sqrt() + 1e-9).all()
    assert (job.variances() > 0).any()


def test_a_cut_circuit_on_a_line_of_noiseless_qubits(case):
    """In the gates of a device, routed along its couplings; an ancilla of a deferred measurement is a qubit like any other."""
    circuit, inputs, weights = case
    line = Noise(coupling_map="line", qubits=4)
    job = CutBackend(PrimitiveBackend(Aer(noise=line, threads=1), shots=3000)).submit(circuit, inputs, weights)
    off = (job.result() - expectations(circuit, inputs, weights)).abs()
    assert (off <= 5.5 * job.variances().sqrt() + 1e-9).all()


def test_read_out_errors_are_mitigated_in_the_fragments(case):
    circuit, inputs, weights = case
    exact = expectations(circuit, inputs, weights)
    noise = Noise(readout=0.06)
    plain, mitigated = (
        CutBackend(PrimitiveBackend(Aer(noise=noise, threads=1), shots=4000, mitigation=m)).submit(circuit, inputs, weights)
        for m in ([], [Trex()])
    )
    biased, unbiased = ((job.result() - exact) / job.variances().sqrt().clamp(min=1e-6) for job in (plain, mitigated))
    assert biased.abs().max() > 8
    assert unbiased.abs().max() < 6
