"""LCUFusion: its circuit's block is the polynomial of the linear combination, by dense matrices; post-selection; the absent."""

import itertools

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import CRXGate, RYGate
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from scipy.linalg import block_diag

from qmm.circuits import turns_of
from qmm.errors import InputError
from qmm.fusion import LCUFusion
from qmm.fusion.lcu import circuit_14, select

WIDTHS = {"vision": 3, "audio": 2, "text": 1}
PATTERNS = [p for size in (1, 2, 3) for p in itertools.combinations(WIDTHS, size)]


def make(degree: int = 2, qubits: int = 2, layers: int = 1) -> LCUFusion:
    torch.manual_seed(0)
    fusion = LCUFusion(degree, qubits, layers)
    fusion.build(WIDTHS)
    for parameter in fusion.parameters():
        torch.nn.init.uniform_(parameter, -1.5, 1.5)
    return fusion.double()


def features(rows: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {m: 3 * torch.rand(rows, k, generator=generator, dtype=torch.float64) for m, k in WIDTHS.items()}


def flags(present: tuple[str, ...], rows: int = 2) -> dict[str, torch.Tensor]:
    return {m: torch.full((rows,), m in present) for m in WIDTHS}


def token(angles: list[float], n_qubits: int, layers: int = 1) -> np.ndarray:
    circuit, place = QuantumCircuit(n_qubits), iter(angles)
    for _ in range(layers):
        for direction, order in ((1, range(n_qubits - 1, -1, -1)), (-1, [n_qubits - 1, *range(n_qubits - 1)])):
            for q in range(n_qubits):
                circuit.append(RYGate(next(place)), [q])
            for q in order:
                circuit.append(CRXGate(next(place)), [q, (q + direction) % n_qubits])
    return Operator(circuit).data


def polynomial_state(fusion: LCUFusion, x: dict[str, list[float]]) -> tuple[np.ndarray, float]:
    """Dense: coefficients of P from its factors, powers of M, then the trained circuit; the state, and its squared norm."""
    n, sizes = fusion.qubits, fusion.mixing[0].exp().tolist()
    phases, combination = fusion.mixing[1].tolist(), np.zeros((2**n, 2**n), complex)
    norm = 0.0
    for i, m in enumerate(WIDTHS):
        if m in x:
            scale, offset = fusion.scale[i].tolist(), fusion.offset[i].tolist()
            angles = [s * x[m][g % len(x[m])] + o for g, (s, o) in enumerate(zip(scale, offset, strict=True))]
            combination += sizes[i] * np.exp(1j * phases[i]) * token(angles, n, fusion.layers)
            norm += sizes[i]
    coefficients = np.array([1.0 + 0j])
    for log_size, phase in fusion.roots.T.tolist():
        root = np.exp(log_size + 1j * phase)
        coefficients = np.convolve(coefficients, [root, 1.0]) / (np.exp(log_size) + norm)
    powers = [np.linalg.matrix_power(combination, k) for k in range(fusion.degree + 1)]
    state = sum(c * p for c, p in zip(coefficients, powers, strict=True)) @ np.eye(2**n)[0]
    trained = fusion.ansatz.circuit(n)
    names = {p.name: p for p in trained.parameters}
    own = [w.name.removeprefix("data.") for w in fusion.circuit().weights if w.name.startswith("data.")]
    values = dict(zip((names[name] for name in own), fusion.weights.tolist(), strict=True))
    state = Operator(trained.assign_parameters(values)).data @ state
    return state, float(np.vdot(state, state).real)


@pytest.mark.parametrize(("degree", "settings"), [(1, {"qubits": 3}), (2, {"layers": 2}), (3, {})])
def test_every_pattern_is_the_polynomial_of_the_linear_combination(degree, settings):
    fusion = make(degree, **settings)
    x = features()
    for present in PATTERNS:
        fused, success = fusion(x, flags(present)), fusion.success_probability(x, flags(present))
        for row in range(2):
            state, probability = polynomial_state(fusion, {m: x[m][row].tolist() for m in present})
            n, state = fusion.qubits, state / np.sqrt(probability)
            strings = ["I" * (n - 1 - q) + letter + "I" * q for letter in "XYZ" for q in range(n)]
            expected = [Statevector(state).expectation_value(SparsePauliOp(s)).real for s in strings]
            torch.testing.assert_close(fused[row], torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)
            assert success[row].item() == pytest.approx(probability, abs=1e-10)


def test_select_is_block_diagonal():
    angles = np.random.default_rng(0).uniform(-3, 3, (4, 8))
    turns = turns_of(torch.tensor(angles.T))
    named = [[Parameter(f"{g}.{i}") for i in range(4)] for g in range(8)]
    circuit = select(2, 1, named)
    bound = circuit.assign_parameters(
        {p: v for row, own in zip(named, turns.tolist(), strict=True) for p, v in zip(row, own, strict=True)}
    )
    np.testing.assert_allclose(Operator(bound).data, block_diag(*[token(list(a), 2) for a in angles]), atol=1e-10)
    assert set(bound.count_ops()) == {"rx", "ry", "cx", "cz"}
    assert len(circuit_14(2, 1)) == 8


def test_indices_are_as_few_as_the_present_modalities_need():
    fusion = make(degree=2)
    assert [fusion.circuit(p).quantum_circuit.num_qubits for p in (["text"], ["text", "audio"], list(WIDTHS))] == [4, 6, 6]


def test_weights_of_the_absent_get_no_gradient():
    fusion = make()
    fused = fusion(features(), flags(("vision", "text"))).square().sum()
    scale, offset, mixing = torch.autograd.grad(fused, [fusion.scale, fusion.offset, fusion.mixing])
    for gradient in (scale, offset, mixing.T):
        assert not gradient[1].any()
        assert gradient[[0, 2]].all()


def test_success_is_certain_where_all_items_are_the_identity():
    fusion = make(degree=3)
    with torch.no_grad():
        for parameter in (fusion.scale, fusion.offset, fusion.mixing[1], fusion.roots[1]):
            parameter.zero_()
    success = fusion.success_probability(features(), flags(tuple(WIDTHS)))
    torch.testing.assert_close(success, torch.ones(2, dtype=torch.float64))


def test_what_is_refused():
    with pytest.raises(InputError, match="degree=0"):
        LCUFusion(degree=0)
    with pytest.raises(InputError, match="qubits=1"):
        LCUFusion(qubits=1)
    with pytest.raises(InputError, match="'vision': 9 features for a unitary of 8 angles"):
        LCUFusion().build({"vision": 9})
