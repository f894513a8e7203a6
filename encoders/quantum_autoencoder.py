"""QuantumAutoencoder: features as a state, a circuit that empties some of its qubits, and what the others then say."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp
from torch import Tensor, nn

from qmm.circuits import AmplitudeEncoding, Ansatz, Brickwork, FeatureMap, drop_unfelt
from qmm.circuits.gates import check_name
from qmm.contracts import RunsCircuits, WeightedCircuit
from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, Probabilities, states

from ._autoencoding import Autoencoder, Scaled
from ._simulating import simulated, state_circuit
from .classical_autoencoder import ClassicalAutoencoder
from .compressors import PCACompressor

_SPREAD = 0.3  # of the first weights, in radians, as in QuantumFusion
_TURNS = ("ry",)
"""Of the default ansatz, which keeps real amplitudes real. Others, with RZ or with CX round the register, came to rest at a
higher loss on mosi-features."""
_ANGLES = 8  # features that enter an encoding by angles
_READ = "ZXY"
"""The order in which latent qubits are read out."""
_READ_AMPLITUDES = "XZY"
"""The same behind amplitudes, where <X> has terms linear in the features, by way of the constant; on a held-out part of the
training splits of mosi-features and of digits, more of the features came back from <X>."""


class AutoencoderCircuits(NamedTuple):
    """One circuit, read out in two ways."""

    latent: Circuit
    """One Pauli of each latent qubit, then the next, so many as there are features: the code."""
    trash: Circuit
    """What training makes 0: of each trash qubit ("local"), or of all together ("global"), how far they are from |0...0>."""


def autoencoder_circuits(
    feature_map: FeatureMap,
    ansatz: Ansatz,
    layers: int,
    latent: int,
    features: int,
    loss: str = "local",
    order: str = _READ,
) -> AutoencoderCircuits:
    """A built feature map, then `layers` of the ansatz on all of its qubits. The first `latent` qubits are kept, the others are
    trash. `order` is that of the Paulis which are read of the latent qubits. Inputs are named `x0`, weights by layer, `0.ry1`;
    gates that neither reading feels are left out."""
    n_qubits = feature_map.n_qubits
    circuit, inputs, _, _ = state_circuit(feature_map)
    weights: list[Parameter] = []
    for layer in range(layers):
        part = ansatz.circuit(n_qubits)
        own = {p: Parameter(f"{layer}.{p.name}") for p in part.parameters}
        weights += own.values()
        circuit.compose(part.assign_parameters(own), inplace=True)
    read = [_pauli(*place, n_qubits) for place in read_places(latent, order)[:features]]
    emptied = [_pauli("Z", q, n_qubits) for q in range(latent, n_qubits)]
    felt = drop_unfelt(Circuit.of(circuit, inputs, weights, [*read, *emptied]))
    outcomes = (0,) + (1,) * (2 ** (n_qubits - latent) - 1)
    lost = tuple(emptied) if loss == "local" else Probabilities(tuple(range(latent, n_qubits)), outcomes)
    return AutoencoderCircuits(felt._replace(observables=tuple(read)), felt._replace(observables=lost))


class QuantumAutoencoder(Autoencoder, RunsCircuits):
    """Features become a state of n qubits; a trained circuit U leaves n - l of them, the trash, in |0>, so that what the state
    holds is on the l latent qubits, and U^dagger with fresh qubits gives it back (arXiv:1612.02806). The code is one
    Pauli's expectation value of each latent qubit, then the next Pauli's, as many as there are features: <X>, <Z>, <Y> behind
    an amplitude encoding, <Z>, <X>, <Y> behind any other.

    With amplitude encoding, features minus their mean stand behind a constant of the same size: the state then knows their
    length and sign, which amplitudes alone do not, and no row is empty. Any other feature map gets the first principal
    components, squashed into [0, pi].

    `fit` trains it on the training split; it simulates exactly, wherever the circuits run later, unless `fit_exactly` is
    False. How much can be kept at most, `bound` tells.

    Args:
        features: Number of angles, k; at most 3 l.
        latent: Latent qubits, l; by default one for each feature, and one less than there are qubits at most.
        inputs: Features that enter, as principal components if there are more; by default all of them for an amplitude
            encoding (which then need ceil(log2(D + 1)) qubits), and 8 otherwise. Among amplitudes, components already stand
            in order, so that little is left to learn.
        feature_map: How they enter; by default AmplitudeEncoding. What is trained in it learns in fine-tuning alone.
        ansatz: Of which U is made; by default Brickwork of RY and CX, which keeps real amplitudes real (then <Y> is always 0).
        layers: Of the ansatz.
        loss: "local", the mean over the trash qubits of how likely each is found in |1>, whose gradient does not vanish with
            their number (arXiv:2001.00550), or "global", how likely they are not all |0>, as published.
        fit_exactly: Whether `fit` simulates the circuits.
        steps: Of the training.
        batch_size: Samples of a step.
        learning_rate: The first; it falls to 0.
        seed: Of the first weights and of the order of samples.
        finetune: Whether the circuit goes on learning, from the task's loss, with the rest of the model.
        low: Smallest angle in radians.
        high: Largest angle in radians.
        gain: Factor before the squash; 1 spreads normal features evenly over the range.
    """

    reference = "arXiv:1612.02806"

    def __init__(
        self,
        features: int,
        latent: int | None = None,
        inputs: int | None = None,
        feature_map: FeatureMap | None = None,
        ansatz: Ansatz | None = None,
        layers: int = 6,
        loss: Literal["local", "global"] = "local",
        fit_exactly: bool = True,
        steps: int = 500,
        batch_size: int = 64,
        learning_rate: float = 0.05,
        seed: int = 0,
        finetune: bool = False,
        low: float = 0.0,
        high: float = math.pi,
        gain: float = 1.0,
    ):
        super().__init__(features, steps, batch_size, learning_rate, seed, finetune, low, high, gain)
        if layers < 1 or (inputs is not None and inputs < 1):
            raise InputError(f"QuantumAutoencoder: layers={layers}, inputs={inputs}; expected at least 1")
        self.loss = check_name("loss", loss, ("local", "global"))
        self.feature_map = copy.deepcopy(feature_map) or AmplitudeEncoding()
        self.latent, self.inputs, self.ansatz, self.layers = latent, inputs, ansatz or Brickwork(_TURNS), layers
        self.fit_exactly = fit_exactly

    def build(self, in_features: int) -> None:
        """Raises InputError where the qubits do not allow so many latent ones, or these so many features."""
        super().build(in_features)
        self.front: Scaled | PCACompressor
        if isinstance(self.feature_map, AmplitudeEncoding):
            self.front = Scaled(in_features, self.inputs)
            width = self.front.width + 1
        else:
            width = min(self.inputs or _ANGLES, in_features)
            self.front = PCACompressor(width)
            self.front.build(in_features)
        self.n_qubits = self.feature_map.least_qubits(width)
        self.feature_map.build(width, self.n_qubits)
        self.n_latent = min(self.features, self.n_qubits - 1) if self.latent is None else self.latent
        self._check_sizes(width)
        order = _READ_AMPLITUDES if isinstance(self.feature_map, AmplitudeEncoding) else _READ
        self._read = read_places(self.n_latent, order)
        parts = self.feature_map, self.ansatz, self.layers, self.n_latent, self.features
        self._circuits = autoencoder_circuits(*parts, self.loss, order)
        self._latent, self._trash = (CompiledCircuit(circuit) for circuit in self._circuits)
        generator = torch.Generator().manual_seed(self.seed)
        self.weights = nn.Parameter(_SPREAD * torch.randn(len(self._circuits.latent.weights), generator=generator))
        self.requires_grad_(self.finetune)

    def _check_sizes(self, width: int) -> None:
        given = f"QuantumAutoencoder: {width} values on {self.n_qubits} qubits"
        if not 1 <= self.n_latent < self.n_qubits:
            most = f"at least 1 of them and at most {self.n_qubits - 1} can be latent" if self.n_qubits > 1 else "none is trash"
            raise InputError(f"{given}, latent={self.n_latent}; {most}")
        if self.features > 3 * self.n_latent:
            raise InputError(
                f"{given}, {self.n_latent} of them latent, which give {3 * self.n_latent} values, {self.features} features are "
                "asked for; ask for fewer, or for more latent qubits"
            )

    def circuits(self) -> dict[str, Circuit]:
        """ "latent": what the code is read from; "trash": what `fit` trains."""
        return self._circuits._asdict()

    def weighted_circuits(self) -> dict[str, WeightedCircuit]:
        return {"latent": WeightedCircuit(self._latent, self.weights)}

    def counterpart(self) -> ClassicalAutoencoder:
        """The classical autoencoder of as many parameters, trained alike; not yet built."""
        return ClassicalAutoencoder(
            self.features,
            parameters=self.weights.numel(),
            steps=self.steps,
            batch_size=self.batch_size,
            seed=self.seed,
            finetune=self.finetune,
            low=self.low,
            high=self.high,
            gain=self.gain,
        )

    def trained(self) -> list[nn.Parameter]:
        return [self.weights]

    def fit_front(self, samples: NDArray[np.float64]) -> None:
        if isinstance(self.front, Scaled):
            self.front.fit(samples)
        else:
            self.front.fit([torch.from_numpy(samples)])

    def rows(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, p), angles of the feature map."""
        values = self.front(pooled.to(self.standardise.mean.dtype))
        if isinstance(self.front, Scaled):
            values = torch.cat([torch.ones_like(values[:, :1]), values], dim=1)
        angles: Tensor = self.feature_map(values)
        return angles

    def codes(self, rows: Tensor) -> Tensor:
        return self.expectations(self._latent, rows, self.weights)

    def losses(self, rows: Tensor) -> Tensor:
        values = self.expectations(self._trash, rows, self.weights)
        return (1 - values).mean(1) / 2 if self.loss == "local" else values[:, 1]

    def code_name(self, index: int) -> str:
        kind, qubit = self._read[index]
        return f"<{kind}> of latent qubit {qubit}"

    @torch.no_grad()
    def fidelity(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B,), exactly: how near the state that U^dagger makes of the latent qubits and fresh ones in |0> is to the
        one that was encoded; see `reconstruction_fidelity`."""
        return reconstruction_fidelity(states(self._latent, self.rows(pooled), self.weights), self.n_latent)

    @torch.no_grad()
    def bound(self, pooled: Tensor) -> float:
        """What no unitary exceeds on these rows (B, D), on average, neither in how likely the trash is |0...0> nor in the
        fidelity, which is never above that: the sum of the 2**l largest eigenvalues of the average state, of which the
        eigenvectors are the principal components, not centred, of the amplitudes."""
        psi = self.encoded(pooled)
        return float(torch.linalg.eigvalsh(psi.mT @ psi.conj() / len(psi))[-(2**self.n_latent) :].sum())

    @torch.no_grad()
    def encoded(self, pooled: Tensor) -> Tensor:
        """(B, D) -> (B, 2**n), the states that the feature map makes."""
        return states(state_circuit(self.feature_map), self.rows(pooled), self.weights.new_zeros(0))

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        with simulated(self, self.fit_exactly), super()._fitting():
            yield


def reconstruction_fidelity(state: Tensor, latent: int) -> Tensor:
    """(B, 2**n) states U|psi> -> (B,): <psi| U^dagger (rho_latent x |0><0|_trash) U |psi> (arXiv:1612.02806), the first
    `latent` qubits being latent: sum over the trash's states t of |<phi_0|phi_t>|**2, phi_t the latent part beside t."""
    parts = state.unflatten(1, (-1, 2**latent))
    return (parts @ parts[:, 0].conj().unsqueeze(-1)).abs().square().sum(dim=(1, 2))


def read_places(latent: int, order: str) -> list[tuple[str, int]]:
    """(Pauli, qubit) of each value that `latent` qubits can give, in the order in which they are taken."""
    return [(kind, qubit) for kind in order for qubit in range(latent)]


def _pauli(kind: str, qubit: int, n_qubits: int) -> SparsePauliOp:
    return SparsePauliOp.from_sparse_list([(kind, [qubit], 1.0)], n_qubits)
