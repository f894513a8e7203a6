"""What a circuit can express: expressibility, entangling capability, effective dimension. All are estimates over random
angles, drawn uniformly from [0, 2 pi)."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmm.errors import InputError
from qmm.quantum import Circuit, CompiledCircuit, Probabilities, expectations, states

_AMPLITUDES = 2**22  # of a chunk of states: 32 MiB in complex64


def expressibility(circuit: Circuit, pairs: int = 5000, bins: int = 75, inputs: Tensor | None = None, seed: int = 0) -> float:
    """`haar_divergence` of the fidelities of pairs of states: 0 where states are spread as evenly as they can be
    (arXiv:1905.10876). About 0.007 of it is the estimate's own with 5000 pairs and 75 bins.

    Args:
        inputs: (n_inputs,) angles that all states share; by default they are drawn like the weights.

    Raises InputError for fewer than one pair or bin, and for inputs of another shape.
    """
    rows = _states(circuit, 2 * _positive(pairs, "pairs"), inputs, seed)
    fidelities = [np.abs((chunk[::2].conj() * chunk[1::2]).sum(axis=1)) ** 2 for chunk in rows]
    return haar_divergence(np.concatenate(fidelities), circuit.quantum_circuit.num_qubits, bins)


def haar_divergence(fidelities: NDArray[np.floating], n_qubits: int, bins: int = 75) -> float:
    """Kullback-Leibler divergence, in nats, of a histogram of fidelities from that of Haar-random states, whose density is
    (N - 1) (1 - F)**(N - 2) with N = 2**n_qubits."""
    edges = np.linspace(0, 1, _positive(bins, "bins") + 1)
    found = np.histogram(np.clip(fidelities, 0, 1), edges)[0] / len(fidelities)
    power = 2**n_qubits - 1
    with np.errstate(divide="ignore"):  # log 0 of the last edge
        beyond = power * np.log1p(-edges)  # log of the share of Haar-random states above an edge: too small to subtract as is
    expected = beyond[:-1] + np.log(-np.expm1(beyond[1:] - beyond[:-1]))
    kept = found > 0
    return float((found[kept] * (np.log(found[kept]) - expected[kept])).sum())


def entangling_capability(circuit: Circuit, samples: int = 1000, inputs: Tensor | None = None, seed: int = 0) -> float:
    """The mean of `meyer_wallach` over random angles, from 0 (never entangled) to 1 (arXiv:1905.10876).

    Args:
        inputs: As in `expressibility`.
    """
    rows = _states(circuit, _positive(samples, "samples"), inputs, seed)
    return float(np.concatenate([meyer_wallach(chunk) for chunk in rows]).mean())


def meyer_wallach(state_vectors: NDArray[np.complexfloating]) -> NDArray[np.floating]:
    """(B, 2**n) -> (B,): 2 (1 - the mean over qubits of tr rho_k**2), how mixed single qubits are (arXiv:quant-ph/0305094)."""
    rows, size = state_vectors.shape
    n_qubits = size.bit_length() - 1
    purity = np.zeros(rows)
    for qubit in range(n_qubits):
        split = state_vectors.reshape(rows, -1, 2, 2**qubit)
        density = np.einsum("bisj,bitj->bst", split, split.conj())
        purity += (np.abs(density) ** 2).sum(axis=(1, 2))
    return 2 * (1 - purity / n_qubits)


class Dimension(NamedTuple):
    """How many of a circuit's parameters count, for data of a certain size."""

    effective: float
    parameters: int

    @property
    def share(self) -> float:
        """Of the parameters, those that count: comparable between circuits."""
        return self.effective / self.parameters


def effective_dimension(
    circuit: Circuit, data_size: int = 10_000, inputs: Tensor | None = None, samples: int = 20, seed: int = 0
) -> Dimension:
    """The global effective dimension (arXiv:2011.00027), by Qiskit Machine Learning's formula from the engine's derivatives.

    The Fisher information is that of the outputs, each measured by itself: probabilities as they are, an observable as a coin
    of probability (1 + <O>/c)/2, where c is the sum of its |coefficients|. What a decoder makes of them plays no part.

    Args:
        data_size: How many samples one would learn from.
        inputs: (B, n_inputs) angles of real samples; by default `samples` drawn at random.
        samples: How many times the weights are drawn.

    Raises InputError for a circuit without weights, for a data size that the formula cannot take, and for inputs of another
    shape.
    """
    from qiskit_machine_learning.neural_networks import EffectiveDimension

    if not circuit.weights:
        raise InputError("an effective dimension of a circuit without weights; there is nothing to train in it")
    if data_size < 2 or data_size <= 2 * math.pi * math.log(data_size):
        raise InputError(f"an effective dimension for data of size {data_size}; the formula needs 19 or more")
    generator = torch.Generator().manual_seed(seed)
    weights = _angles(_positive(samples, "samples"), len(circuit.weights), generator)
    if inputs is None:
        inputs = _angles(samples, len(circuit.inputs), generator)
    elif inputs.ndim != 2 or inputs.shape[1] != len(circuit.inputs):
        raise InputError(
            f"inputs have shape {tuple(inputs.shape)}; give (B, {len(circuit.inputs)}) angles, a row for each sample"
        )
    network = EffectiveDimension(_network(circuit), weights.numpy(), inputs.numpy(force=True))
    return Dimension(float(network.get_effective_dimension(data_size)), len(circuit.weights))


def _network(circuit: Circuit) -> Any:
    """The circuit as a network of Qiskit Machine Learning whose outputs are probabilities."""
    from qiskit_machine_learning.neural_networks import NeuralNetwork

    compiled = CompiledCircuit(circuit)
    coins = not isinstance(circuit.observables, Probabilities)
    scale = torch.tensor([np.abs(o.coeffs).sum() for o in circuit.observables]) if coins else None

    def probabilities(inputs: Tensor, weights: Tensor) -> Tensor:
        values = expectations(compiled, inputs, weights)
        return values if scale is None else torch.cat([1 + values / scale, 1 - values / scale], dim=1) / 2

    class Network(NeuralNetwork):
        def _forward(self, input_data: Any, weights: Any) -> NDArray[np.float64]:
            return probabilities(torch.as_tensor(input_data), torch.as_tensor(weights)).numpy()

        def _backward(self, input_data: Any, weights: Any) -> tuple[None, NDArray[np.float64]]:
            own = (
                torch.as_tensor(weights).expand(len(input_data), -1).clone().requires_grad_()
            )  # each sample's, so that sums part
            outputs = probabilities(torch.as_tensor(input_data), own).sum(dim=0)
            rows = [torch.autograd.grad(output, own, retain_graph=True)[0] for output in outputs]
            return None, torch.stack(rows, dim=1).numpy()

    n_outputs = circuit.n_outputs * (1 + coins)
    return Network(len(circuit.inputs), len(circuit.weights), sparse=False, output_shape=n_outputs, input_gradients=False)


def _states(circuit: Circuit, count: int, inputs: Tensor | None, seed: int) -> Iterator[NDArray[np.complexfloating]]:
    """(b, 2**n) chunks, of even b but for the last, of the states of `count` random angles."""
    n_inputs = len(circuit.inputs)
    if inputs is not None and inputs.shape != (n_inputs,):
        raise InputError(f"inputs have shape {tuple(inputs.shape)}; give ({n_inputs},) angles, the same for all states")
    generator, compiled = torch.Generator().manual_seed(seed), CompiledCircuit(circuit)
    weights = _angles(count, len(circuit.weights), generator)
    drawn = _angles(count, n_inputs, generator) if inputs is None else inputs.detach().double().expand(count, -1)
    rows = max(2, _AMPLITUDES >> circuit.quantum_circuit.num_qubits)
    for x, w in zip(drawn.float().split(rows), weights.float().split(rows), strict=True):
        with torch.no_grad():
            yield states(compiled, x, w).numpy(force=True)


def _angles(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return 2 * math.pi * torch.rand(rows, columns, generator=generator, dtype=torch.float64)


def _positive(number: int, what: str) -> int:
    if number < 1:
        raise InputError(f"{what}={number}; give at least 1")
    return number
