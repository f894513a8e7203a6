"""Autoencoders: what the quantum one loses is what density matrices say, its training comes near the bound that eigenvalues
set, and the classical twin has as many parameters."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from qiskit.quantum_info import DensityMatrix, Pauli, Statevector, partial_trace
from scipy.stats import norm

from qmm import Branch, MultimodalModel
from qmm.circuit_weights import circuit_parameters, weighted_circuits
from qmm.circuits import AngleEncoding, Brickwork, DenseAngleEncoding
from qmm.config import to_config
from qmm.contracts import Compressor
from qmm.decoders import ClassDecoder
from qmm.encoders import ClassicalAutoencoder, QuantumAutoencoder, VectorEncoder
from qmm.errors import InputError
from qmm.fusion import ConcatFusion
from qmm.quantum import ExactBackend
from qmm.quantum.execution import Aer, Ideal, PrimitiveBackend
from qmm.training.cli import instantiate


def correlated(rows: int = 120, width: int = 7, rank: int = 3, noise: float = 0.05) -> torch.Tensor:
    return torch.randn(rows, rank) @ torch.randn(rank, width) + noise * torch.randn(rows, width) + 2


def built(compressor: Any, data: torch.Tensor, fit: bool = True) -> Any:
    compressor.build(data.shape[1])
    if fit:
        compressor.fit(data.split(50))
    return compressor


def quantum(data: torch.Tensor, fit: bool = True, features: int = 2, **options: Any) -> QuantumAutoencoder:
    return built(QuantumAutoencoder(features, **{"steps": 40, "layers": 2, **options}), data, fit)


def test_the_state_that_is_encoded() -> None:
    """Amplitudes are the features minus their mean, over their root mean square length, behind a constant 1."""
    data = correlated(width=6)
    encoder = quantum(data)
    centred = data - data.mean(0)
    amplitudes = torch.cat([torch.ones(len(data), 1), centred / centred.square().sum(1).mean().sqrt()], 1)
    expected = torch.nn.functional.normalize(amplitudes, dim=1)
    overlaps = (encoder.encoded(data)[:, :7] @ expected.to(torch.complex64).mT).diagonal().abs()
    torch.testing.assert_close(overlaps, torch.ones(len(data)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"feature_map": DenseAngleEncoding(), "ansatz": Brickwork()}, {"latent": 1}])
def test_codes_losses_and_fidelity_are_those_of_qiskits_density_matrices(options: dict[str, Any]) -> None:
    data = correlated()
    encoder = quantum(data, **options)
    n, latent = encoder.n_qubits, encoder.n_latent
    rows = encoder.rows(data[:4])
    codes, local, fidelity = encoder.codes(rows), encoder.losses(rows), encoder.fidelity(data[:4])
    whole = quantum(data, loss="global", **options)
    whole.weights.data.copy_(encoder.weights)
    circuit = encoder.circuits()["latent"]
    trash = list(range(latent, n))
    empty = DensityMatrix.from_label("0" * len(trash))
    for b, angles in enumerate(rows):
        values = dict(zip((*circuit.inputs, *circuit.weights), [*angles.tolist(), *encoder.weights.tolist()], strict=True))
        used = {p: v for p, v in values.items() if p in circuit.quantum_circuit.parameters}
        after = Statevector(circuit.quantum_circuit.assign_parameters(used))
        paulis = [(kind, q) for kind in ("ZXY" if "feature_map" in options else "XZY") for q in range(latent)][:2]
        expected = [after.expectation_value(Pauli(kind), [q]).real for kind, q in paulis]
        np.testing.assert_allclose(codes[b].detach(), expected, atol=1e-5)
        likely = [(1 - after.expectation_value(Pauli("Z"), [q]).real) / 2 for q in trash]
        assert local[b].item() == pytest.approx(np.mean(likely), abs=1e-5)
        assert whole.losses(rows)[b].item() == pytest.approx(1 - after.probabilities(trash)[0], abs=1e-5)
        kept = empty.tensor(partial_trace(after, trash))  # trash qubits are the higher ones
        assert fidelity[b].item() == pytest.approx(np.real(after.data.conj() @ kept.data @ after.data), abs=1e-5)


def test_training_empties_the_trash_of_states_that_fit_into_the_latent_qubits() -> None:
    torch.manual_seed(1)
    data = torch.randn(200, 3) @ torch.randn(3, 15)
    encoder = quantum(data, features=2, latent=2, layers=6, steps=300, loss="global", ansatz=Brickwork())
    assert encoder.bound(data) == pytest.approx(1.0, abs=1e-4)  # three directions and the constant, in 2 of 4 qubits
    with torch.no_grad():
        lost = encoder.losses(encoder.rows(data)).mean().item()
        untrained = quantum(data, False, features=2, latent=2, layers=6, loss="global", ansatz=Brickwork())
        untrained.fit_front(data.double().numpy())
        before = untrained.losses(untrained.rows(data)).mean().item()
    assert lost < 0.1 < 0.5 < before
    assert encoder.fidelity(data).mean().item() > 0.85


@pytest.mark.parametrize("seed", range(5))
def test_no_unitary_exceeds_the_bound(seed: int) -> None:
    torch.manual_seed(seed)
    data = correlated(noise=0.5)
    encoder = quantum(data, loss="global", latent=1, steps=30 * seed + 1)
    kept = 1 - encoder.losses(encoder.rows(data)).mean().item()
    assert encoder.fidelity(data).mean().item() <= kept + 1e-5
    assert kept <= encoder.bound(data) + 1e-5
    psi = encoder.encoded(data).numpy()
    values = np.linalg.eigvalsh(np.mean([np.outer(p, p.conj()) for p in psi], axis=0))
    assert encoder.bound(data) == pytest.approx(values[-2:].sum(), abs=1e-5)


def test_the_default_encoding_and_the_others_order_of_reading() -> None:
    data = correlated(width=15)
    encoder = quantum(data, features=4)
    assert (encoder.n_qubits, encoder.n_latent) == (4, 3)
    assert [encoder.code_name(i) for i in range(4)] == [
        "<X> of latent qubit 0", "<X> of latent qubit 1", "<X> of latent qubit 2", "<Z> of latent qubit 0",
    ]  # fmt: skip
    other = quantum(data, features=3, feature_map=AngleEncoding(), inputs=5)
    assert (other.n_qubits, other.n_latent) == (5, 3)
    assert other.code_name(2) == "<Z> of latent qubit 2"
    few = quantum(data, inputs=3)
    assert few.n_qubits == 2
    components = few.front(data)
    torch.testing.assert_close(components.T @ components, torch.diag((components**2).sum(0)), atol=1e-3, rtol=0)


def test_angles_are_the_standardised_codes_squashed() -> None:
    data = correlated()
    encoder = quantum(data, low=-1.0, high=2.0, gain=0.5)
    codes = encoder.codes(encoder.rows(data)).detach()
    z = (codes - codes.mean(0)) / codes.std(0, correction=0)
    torch.testing.assert_close(encoder(data), torch.from_numpy(-1 + 3 * norm.cdf(0.5 * z.numpy())).float(), atol=1e-4, rtol=0)


AUTOENCODERS = pytest.mark.parametrize(
    "make",
    [
        lambda **o: QuantumAutoencoder(2, steps=20, layers=2, **o),
        lambda **o: QuantumAutoencoder(2, steps=20, layers=2, feature_map=DenseAngleEncoding(), inputs=4, **o),
        lambda **o: ClassicalAutoencoder(2, steps=20, hidden=[4], **o),
    ],
    ids=["amplitudes", "angles", "classical"],
)


@AUTOENCODERS
def test_what_is_fitted_travels_and_stays(make: Callable[..., Any]) -> None:
    data = correlated()
    compressor, twin = (built(make(), data, fit=False) for _ in range(2))
    assert compressor.needs_fit
    with pytest.raises(InputError, match="Autoencoder is used before it was fitted; call fit"):
        compressor(data)
    compressor.fit(data.split(33))
    again = built(make(), data)
    torch.testing.assert_close(again(data), compressor(data), atol=1e-6, rtol=0)
    torch.testing.assert_close(built(make(seed=1), data)(data).isfinite().all(), torch.tensor(True))
    before = copy.deepcopy(compressor.state_dict())
    compressor.train()
    compressor(data * 3)
    assert all(torch.equal(before[name], value) for name, value in compressor.state_dict().items())
    assert not any(p.requires_grad for p in compressor.parameters())
    twin.load_state_dict(before)
    features = data.clone().requires_grad_()
    assert torch.equal(twin(features), compressor(features))
    twin(features).sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    assert compressor(data[:0]).shape == (0, 2)
    torch.testing.assert_close(compressor(data[:1]), compressor(data)[:1], atol=1e-5, rtol=0)
    assert not torch.equal(built(make(seed=1), data)(data), compressor(data))


@AUTOENCODERS
def test_fine_tuned_it_learns_from_the_task(make: Callable[..., Any]) -> None:
    data = correlated()
    compressor = built(make(finetune=True), data)
    trained = [p for p in compressor.parameters() if p.requires_grad]
    assert all(p.grad is None for p in trained)
    compressor.train()(data).square().mean().backward()
    assert trained
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


@AUTOENCODERS
def test_described_as_plain_data(make: Callable[..., Any]) -> None:
    compressor, data = make(seed=3), correlated()
    twin = instantiate(Compressor, to_config(compressor))
    for one in (compressor, twin):
        built(one, data)
    assert torch.equal(twin(data), compressor(data))


def test_circuits_are_found_in_a_model_and_run_where_it_says() -> None:
    """Their expectation values on Aer are the exact ones; `fit` simulates, so that it sends nothing."""
    data = correlated()
    backend = PrimitiveBackend(Aer(), shots=20000, seed=1, optimization_level=0)
    compressor = QuantumAutoencoder(2, steps=20, layers=2, finetune=True)
    branch = Branch(VectorEncoder(7, standardize=False), compressor)
    model = MultimodalModel(ConcatFusion(2), ClassDecoder(["a", "b"]), text=branch, backend=backend)
    assert compressor.backend is backend
    compressor.fit([data])
    assert compressor.backend is backend
    assert backend.ledger.snapshot().circuits == 0
    assert list(weighted_circuits(model)) == ["branches.text.compressor.latent"]
    assert list(circuit_parameters(model)) == ["branches.text.compressor.weights"]
    compressor.eval()
    rows = compressor.rows(data[:6])
    with torch.no_grad():
        measured = compressor.codes(rows)
        assert backend.ledger.snapshot().circuits > 0
        model.run_on(ExactBackend())
        exact = compressor.codes(rows)
    assert not torch.equal(measured, exact)
    torch.testing.assert_close(measured, exact, atol=5 / math.sqrt(20000), rtol=0)  # 5 standard errors at most


def test_training_on_shots_is_possible() -> None:
    backend = PrimitiveBackend(Ideal(), shots=500, seed=1)
    compressor = QuantumAutoencoder(1, steps=2, batch_size=2, layers=1, fit_exactly=False)
    compressor.build(3)
    before = compressor.weights.detach().clone()
    compressor.run_on(backend)
    compressor.fit([correlated(8, 3)])
    assert backend.ledger.snapshot().circuits > 0
    assert not torch.equal(before, compressor.weights)


@pytest.mark.parametrize(("features", "width", "layers"), [(2, 30, 4), (4, 100, 6), (3, 60, 5)])
def test_the_twin_has_as_many_parameters(features: int, width: int, layers: int) -> None:
    encoder = QuantumAutoencoder(features, layers=layers, low=0.5, steps=7)
    encoder.build(width)
    twin = encoder.counterpart()
    twin.build(width)
    assert twin.n_parameters == sum(p.numel() for p in twin.parameters())
    assert abs(twin.n_parameters / encoder.weights.numel() - 1) <= 0.05
    assert (twin.features, twin.low, twin.steps) == (features, 0.5, 7)


def test_a_twin_of_another_size_says_by_how_much() -> None:
    twin = ClassicalAutoencoder(2, parameters=100)
    with pytest.warns(UserWarning, match=r"17 parameters, -83% of the 100 asked for; 5 features"):
        twin.build(5)
    assert twin.mismatch == pytest.approx(-0.83)


def test_the_classical_autoencoder_comes_near_principal_components() -> None:
    """Nothing of three numbers that is linear gives more back than PCA's share, and tanh bends little."""
    data = correlated(400, noise=0.3)
    encoder = built(ClassicalAutoencoder(3, steps=600), data)
    values = torch.linalg.svdvals(data - data.mean(0)).square()
    best = (values[:3].sum() / values.sum()).item()
    lost = (data - encoder.reconstruct(data)).square().sum() / values.sum()
    own = encoder.losses(encoder.rows(data)).mean()
    torch.testing.assert_close(lost, own.detach(), atol=1e-4, rtol=0)  # rows have length 1 on average
    assert best - 0.1 < 1 - lost.item() < best + 0.02


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: QuantumAutoencoder(2, layers=0), "layers=0"),
        (lambda: QuantumAutoencoder(2, loss="fidelity"), "local"),
        (lambda: QuantumAutoencoder(2, steps=0), "steps=0"),
        (lambda: built(QuantumAutoencoder(2, latent=3), torch.zeros(9, 7)), "8 values on 3 qubits, latent=3; .* at most 2"),
        (
            lambda: built(QuantumAutoencoder(4, latent=1), torch.zeros(9, 7)),
            "1 of them latent, which give 3 values, 4",
        ),
        (lambda: built(QuantumAutoencoder(1), torch.zeros(9, 1)), "2 values on 1 qubits, latent=0; none is trash"),
        (lambda: built(QuantumAutoencoder(2), torch.ones(9, 7)), "do not vary"),
        (lambda: built(QuantumAutoencoder(2), torch.randn(1, 7)), "2 components from 1 samples"),
        (lambda: built(QuantumAutoencoder(2), torch.full((9, 7), math.nan)), "row 0 of the training features is NaN"),
        (lambda: quantum(correlated(), features=5, latent=2), "<Y> of latent qubit 0 does not vary"),
        (lambda: quantum(correlated(5, 40), inputs=20), "20 principal components from 5 samples"),
        (lambda: ClassicalAutoencoder(2, inputs=3, parameters=9), "give one of them"),
        (lambda: ClassicalAutoencoder(2, hidden=[0]), r"hidden=\[0\]"),
    ],
)
def test_mistakes_are_named(use: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        use()
