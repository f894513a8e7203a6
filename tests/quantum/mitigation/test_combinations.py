"""Mitigations together: better than none and than each alone on noise of both kinds; what excludes each other is refused."""

from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
import pytest
from qiskit.circuit.library import RZZGate
from qiskit_aer.noise import NoiseModel, ReadoutError, coherent_unitary_error, depolarizing_error
from torch import Tensor

from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution import Mitigation, Request
from qmm.quantum.mitigation import (
    M3,
    DynamicalDecoupling,
    FourTwoTwo,
    PauliTwirling,
    Symmetrisation,
    Trex,
    ZeroNoiseExtrapolation,
)
from qmm.quantum.settings import parts

SHOTS = 8000
Model = tuple[CompiledCircuit, Tensor, Tensor]


def device_noise(over_rotation: float = 0.0, depolarizing: float = 0.0, misread: float = 0.0) -> NoiseModel:
    noise = NoiseModel(basis_gates=["rz", "sx", "x", "cz", "delay"])
    error = coherent_unitary_error(RZZGate(over_rotation).to_matrix())
    noise.add_all_qubit_quantum_error(error.compose(depolarizing_error(depolarizing, 2)), ["cz"])
    for qubit, one in enumerate((0.1, 0.2, 0.05, 0.15, 0.1)):
        rates = np.array([0.02, one]) * misread
        noise.add_readout_error(ReadoutError([[1 - rates[0], rates[0]], [rates[1], 1 - rates[1]]]), [qubit])
    return noise


@pytest.fixture
def errors(noisy: Callable, models: Callable, reference: Callable) -> Callable[..., float]:
    """(noise, mitigation) -> the mean absolute error over circuits, samples and outputs."""
    problems: list[tuple[Model, Tensor]] = []
    for seed in range(2):
        model = models(seed, 3, 2, ["IIZ", "IZZ", "XXI"])
        problems.append((model, reference(model[0].circuit, *model[1:])))

    def measure(noise: NoiseModel | None, mitigation: Sequence[Mitigation]) -> float:
        found = []
        for seed, (model, expected) in enumerate(problems):
            backend, _ = noisy(noise, mitigation, shots=SHOTS, seed=seed)
            found.append((backend.submit(*model).result() - expected).abs().mean().item())
        return float(np.mean(found))

    return measure


def test_trex_and_extrapolation(errors: Callable) -> None:
    noise = device_noise(depolarizing=0.04, misread=1)
    trex, zne = Trex(), ZeroNoiseExtrapolation()
    none, both = errors(noise, []), errors(noise, [trex, zne])
    assert both < 0.45 * none
    assert both + 0.01 < min(errors(noise, [trex]), errors(noise, [zne]))


def test_twirling_and_extrapolation(errors: Callable) -> None:
    """Of a coherent error three folds make three times the angle: only twirled does it fade away as extrapolation expects."""
    noise = device_noise(over_rotation=0.25)
    twirling, zne = PauliTwirling(), ZeroNoiseExtrapolation()
    none, both = errors(noise, []), errors(noise, [twirling, zne])
    assert both < 0.5 * none
    assert both < 0.5 * errors(noise, [zne])


@pytest.mark.parametrize("other", [PauliTwirling(), Symmetrisation()], ids=["twirling", "debiasing"])
def test_trex_and_randomized_circuits(errors: Callable, other: Mitigation) -> None:
    noise = device_noise(over_rotation=0.25, misread=1)
    none, both = errors(noise, []), errors(noise, [other, Trex()])
    assert both < 0.6 * none
    assert both + 0.01 < min(errors(noise, [other]), errors(noise, [Trex()]))


COMBINATIONS: list[list[Mitigation]] = [
    [Trex(), PauliTwirling()],
    [Trex(), ZeroNoiseExtrapolation()],
    [PauliTwirling(4), ZeroNoiseExtrapolation(extrapolation="exponential")],
    [DynamicalDecoupling("XY4"), ZeroNoiseExtrapolation()],
    [Symmetrisation(2), Trex()],
    [M3(), PauliTwirling(4), ZeroNoiseExtrapolation([1, 2])],
    [Symmetrisation(2), ZeroNoiseExtrapolation([1, 3]), PauliTwirling(2), DynamicalDecoupling(), Trex(4)],
]


def names(mitigation: Sequence[Mitigation]) -> str:
    return " ".join(type(m).__name__ for m in mitigation)


@pytest.mark.parametrize("mitigation", COMBINATIONS, ids=names)
def test_without_noise_errors_are_those_of_chance(
    noisy: Callable, models: Callable, reference: Callable, mitigation: list[Mitigation]
) -> None:
    """Whatever order they are given in."""
    circuit, inputs, weights = models(0, 3, 1, ["IIZ", ["YIZ", "IZI", "YZZ"], "XXI"])
    expected = reference(circuit.circuit, inputs, weights)
    for order in (mitigation, mitigation[::-1]):
        job = noisy(None, order, shots=2000)[0].submit(circuit, inputs, weights)
        assert ((job.result() - expected).abs() / job.variances().sqrt()).max() < 5
        assert (job.variances().sqrt() < 0.2).all()


@pytest.mark.parametrize("mitigation", COMBINATIONS, ids=names)
def test_what_is_sent_is_in_the_instruction_set(noisy: Callable, models: Callable, mitigation: list[Mitigation]) -> None:
    compiled, inputs, _ = models(0, 3, 1, ["IIZ", "XXI"])
    circuit = compiled.circuit
    bindings = np.zeros((len(inputs), len(circuit.inputs) + len(circuit.weights)))
    backend, _ = noisy(None, mitigation)
    target = backend.provider.device.target
    asked = Request(circuit.quantum_circuit, (*circuit.inputs, *circuit.weights), bindings, parts(circuit).measurement, 100)
    for request in backend.expand(asked).requests:
        found = request.circuit
        assert found.num_qubits == target.num_qubits
        assert set(found.parameters) <= set(request.parameters)
        for item in found.data:
            assert target.instruction_supported(item.name, tuple(found.find_bit(q).index for q in item.qubits))


def test_shots(noisy: Callable, models: Callable) -> None:
    """Factors multiply them, variants share them, calibrations add their own; all but those are one job."""
    circuit, inputs, weights = models(0, 3, 1, ["IIZ", "XXX"])
    circuits = 2 * len(inputs)  # bases times samples
    for mitigation, shots, jobs in (
        ([PauliTwirling(8), Trex(8, shots=800)], circuits * 100 + 800, 2),
        ([ZeroNoiseExtrapolation(), Trex(8, shots=800)], 3 * circuits * 100 + 800, 2),
        ([PauliTwirling(), ZeroNoiseExtrapolation()], 3 * circuits * 100, 1),
        ([DynamicalDecoupling(), ZeroNoiseExtrapolation([1, 3])], 2 * circuits * 100, 1),
        ([M3(shots=800), ZeroNoiseExtrapolation()], 3 * circuits * 100 + 800, 2),
    ):
        backend, sent = noisy(None, mitigation, shots=100)
        backend.submit(circuit, inputs, weights).result()
        assert sent.shots == shots, names(mitigation)
        assert sent.jobs == jobs, names(mitigation)


def test_variants_need_few_flips_each(noisy: Callable, models: Callable) -> None:
    """Eight twirled circuits with opposite flips, in place of eight times sixteen."""
    circuit, inputs, weights = models(0, 3, 1, ["ZZZ"], samples=1)
    backend, sent = noisy(None, [PauliTwirling(8), Trex(16)], shots=160)
    backend.submit(circuit, inputs, weights).result()
    calibration, *own = sent.pubs
    assert calibration[1] == 16
    assert {shots for *_, shots in own} == {10}
    assert sum(bindings for _, bindings, _ in own) == 8 * 2


@pytest.mark.parametrize(
    ("mitigation", "message"),
    [
        ([Trex(), M3()], "Trex and M3 each read what is measured"),
        ([M3(), FourTwoTwo()], "FourTwoTwo and M3 each read what is measured"),
        ([Trex(), FourTwoTwo()], "FourTwoTwo and Trex each read what is measured"),
        ([Trex(), PauliTwirling(), Trex(4)], "Trex came twice"),
        ([ZeroNoiseExtrapolation(), ZeroNoiseExtrapolation([1, 2])], "ZeroNoiseExtrapolation came twice"),
    ],
    ids=lambda value: names(value) if isinstance(value, list) else "",
)
def test_what_excludes_each_other_is_refused(noisy: Callable, mitigation: list[Mitigation], message: str) -> None:
    for order in permutations(mitigation):
        with pytest.raises(CircuitError, match=message):
            noisy(None, order)
