"""SuperpositionFusion against its formula in numpy; the degree of what it computes; its missing modalities."""

import itertools

import numpy as np
import pytest
import torch
from qiskit.quantum_info import Operator, SparsePauliOp

from qmm.errors import InputError
from qmm.fusion import SuperpositionFusion
from qmm.fusion.assembly import by_first_use

WIDTHS = {"vision": 2, "audio": 1}


def make(widths: dict[str, int] | None = None, degree: int = 2) -> SuperpositionFusion:
    torch.manual_seed(0)
    fusion = SuperpositionFusion(degree)
    fusion.build(widths or WIDTHS)
    for parameter in fusion.parameters():
        torch.nn.init.uniform_(parameter, -3, 3)
    return fusion.double()


def by_formula(fusion: SuperpositionFusion, features: dict[str, list[float]]) -> list[float]:
    """Matrices on |index>|signal>, one pair of S(x) and U(theta) after the other; absent modalities are not in `features`."""
    index, branches = 1, {0: 0.0}
    for m, k in fusion.widths.items():
        branches |= {index + i: features[m][i] for i in range(k) if m in features}
        index += k
    n_index = (index - 1).bit_length()
    dim = 2**n_index

    def on_signal(matrices: dict[int, np.ndarray]) -> np.ndarray:
        return np.asarray(sum(np.kron(np.diag(np.eye(dim)[i]), matrices.get(i, np.eye(2))) for i in range(dim)))

    def ry(a: float) -> np.ndarray:
        return np.array([[np.cos(a / 2), -np.sin(a / 2)], [np.sin(a / 2), np.cos(a / 2)]])

    def rz(a: float) -> np.ndarray:
        return np.diag([np.exp(-0.5j * a), np.exp(0.5j * a)])

    prepare = preparation(sorted(branches), n_index)
    mixing = fusion.ansatz.circuit(n_index + 1)
    state = np.eye(2 * dim)[0]
    for step in range(fusion.degree):
        signal = on_signal({b: ry(x) for b, x in branches.items()}) @ np.kron(prepare, np.eye(2)) @ state
        z, y = fusion.turns[step].tolist()
        own = dict(zip(by_first_use(mixing), fusion.mixing[step].tolist(), strict=True))
        mixed = Operator(mixing.assign_parameters(own)).data
        state = mixed @ on_signal({b: ry(y[b]) @ rz(z[b]) for b in branches}) @ signal
    n = n_index + 1
    strings = ["I" * (n - 1 - q) + "Z" + "I" * q for q in range(n)]
    strings += ["I" * (n - 1 - q) + "Z" + "I" * (q - 1) + "Z" for q in range(1, n)]
    return [(state.conj() @ SparsePauliOp(s).to_matrix() @ state).real for s in strings]


def preparation(indices: list[int], n_index: int) -> np.ndarray:
    """The tree of rotations as a matrix: from the highest bit on, each level shares out what its two halves have to carry."""
    weights = np.array([float(i in indices) for i in range(2**n_index)])
    matrix = np.eye(2**n_index)
    for level in range(n_index):
        block = np.zeros((2**n_index, 2**n_index))
        size = 2 ** (n_index - level - 1)
        for prefix in range(2**level):
            start = prefix * 2 * size
            low, high = weights[start : start + size].sum(), weights[start + size : start + 2 * size].sum()
            c, s = (np.sqrt([low, high]) / np.sqrt(low + high)) if low + high else (1.0, 0.0)
            block[start : start + 2 * size, start : start + 2 * size] = np.kron([[c, -s], [s, c]], np.eye(size))
        matrix = block @ matrix
    np.testing.assert_allclose(matrix[:, 0], np.sqrt(weights / weights.sum()), atol=1e-12)
    return matrix


@pytest.mark.parametrize("degree", [1, 3])
def test_every_pattern_is_the_formula(degree):
    fusion = make(degree=degree)
    x = {m: 3 * torch.rand(3, k, dtype=torch.float64) for m, k in WIDTHS.items()}
    for present in [("vision", "audio"), ("vision",), ("audio",)]:
        fused = fusion(x, {m: torch.full((3,), m in present) for m in WIDTHS})
        expected = [by_formula(fusion, {m: x[m][row].tolist() for m in present}) for row in range(3)]
        torch.testing.assert_close(fused, torch.tensor(expected), atol=1e-10, rtol=0)


@pytest.mark.parametrize("degree", [1, 2])
def test_outputs_are_polynomials_of_twice_the_degree(degree):
    """In the amplitudes (cos(x/2), sin(x/2)) of two modalities: of degree 2P a fit is exact, of a lower one it is not."""
    widths = {"a": 1, "b": 1}
    fusion = make(widths, degree)
    x = {m: 6 * torch.rand(200, 1, dtype=torch.float64) for m in widths}
    y = fusion(x, {m: torch.ones(200, dtype=torch.bool) for m in widths}).detach().numpy()
    amplitudes = np.concatenate([f(x[m].numpy() / 2) for m in widths for f in (np.cos, np.sin)], axis=1)

    def residual(most: int) -> float:
        exponents = [e for e in itertools.product(range(most + 1), repeat=4) if sum(e) <= most]
        design = np.stack([np.prod(amplitudes**e, axis=1) for e in exponents], axis=1)
        return float(np.abs(design @ np.linalg.lstsq(design, y, rcond=None)[0] - y).max())

    assert residual(2 * degree) < 1e-10
    assert residual(2 * degree - 1) > 1e-3


def test_parameters_are_linear_in_the_features_and_qubits_logarithmic():
    for m in (1, 3, 7, 30):
        fusion = make({str(i): 4 for i in range(m)})
        n_qubits = fusion.circuit().quantum_circuit.num_qubits
        assert n_qubits == int(np.ceil(np.log2(4 * m + 1))) + 1
        mixing = 2 * n_qubits  # of HardwareEfficient
        assert sum(p.numel() for p in fusion.parameters()) == 2 * (2 * (4 * m + 1) + mixing)


def test_weights_of_the_absent_get_no_gradient():
    fusion = make()
    x = {m: torch.rand(2, k, dtype=torch.float64) for m, k in WIDTHS.items()}
    fused = fusion(x, {"vision": torch.tensor([False] * 2), "audio": torch.tensor([True] * 2)})
    turns, mixing = torch.autograd.grad(fused.square().sum(), [fusion.turns, fusion.mixing])
    assert not turns[:, :, 1:3].any()
    assert turns[:, :, [0, 3]].all()
    assert mixing.all()


def test_a_degree_of_zero_is_refused():
    with pytest.raises(InputError, match="degree=0"):
        SuperpositionFusion(degree=0)
