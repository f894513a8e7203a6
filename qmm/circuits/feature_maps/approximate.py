"""Approximate amplitude encoding: layers of a staircase of two-qubit gates, each the best matrix product state of bond
dimension 2 of what the layers before it have left (arXiv:1908.07958)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from torch import Tensor
from torch.autograd.function import once_differentiable

from qmm.circuits.feature_maps.amplitude import AmplitudeEncoding, polar_angle
from qmm.errors import InputError

_ZERO = 1e-10


class _Gate(NamedTuple):
    """RY with the turn of that place, or CZ where there is none."""

    qubits: tuple[int, ...]
    turn: int | None = None


class Staircase(NamedTuple):
    """Turns of an approximate state, and what is left of the state when they are undone."""

    turns: Tensor
    """(B, layers, turns of a layer)"""
    rest: Tensor
    """(B, 2**n) of length 1: |0...0> where the turns prepare the state exactly."""

    @property
    def fidelity(self) -> Tensor:
        """(B,): |<exact|approximate>|**2"""
        return self.rest[:, 0] ** 2


def turns_of_a_layer(n_qubits: int) -> int:
    return 4 * n_qubits - 5 if n_qubits > 1 else 1


def staircase(turns: Sequence[float | ParameterExpression], n_qubits: int) -> QuantumCircuit:
    """The circuit of one layer: a pair of qubits, then each next qubit joined to the last, 2n - 3 CZ and 4n - 5 RY."""
    circuit = QuantumCircuit(n_qubits)
    for gate in _gates(n_qubits):
        if gate.turn is None:
            circuit.cz(*gate.qubits)
        else:
            circuit.ry(turns[gate.turn], *gate.qubits)
    return circuit


def fit_staircase(amplitudes: Tensor, layers: int = 1) -> Staircase:
    """(B, 2**n) real amplitudes -> the turns of `layers` staircases, to be run from the last layer to the first.

    Differentiable once. All of it is closed: 4 x 4 eigenvectors (the Schmidt vectors of each cut), no search.
    """
    rest = (amplitudes / amplitudes.detach().abs().amax(dim=-1, keepdim=True)).double()
    rest = rest / torch.linalg.vector_norm(rest, dim=-1, keepdim=True)
    n_qubits = (amplitudes.shape[-1] - 1).bit_length()
    turns = []
    for _ in range(layers):
        turns.append(_layer(rest, n_qubits))
        rest = _undo(rest, turns[-1], n_qubits)
    return Staircase(torch.stack(turns, dim=1).to(amplitudes.dtype), rest.to(amplitudes.dtype))


class ApproximateAmplitudeEncoding(AmplitudeEncoding):
    """sum_i x_i/|x| |i>, nearly: depth and gates grow with the number of qubits, not of features (arXiv:1908.07958).

    Exact for up to three qubits, and for states of Schmidt rank 2 at every cut between qubits. `fidelity` tells how near others
    come; smooth features come near. Written again on top of itself, it is the same circuit, but no state of the features.

    Args:
        layers: Of staircases; each makes up for part of what is lacking.
        norm: As for AmplitudeEncoding.
    """

    reference = "arXiv:1908.07958"

    def __init__(self, layers: int = 1, norm: str = "drop"):
        super().__init__(norm)
        if layers < 1:
            raise InputError(f"layers={layers}; an approximate amplitude encoding needs at least one")
        self.layers = layers

    @property
    def n_turns(self) -> int:
        return self.layers * turns_of_a_layer(self.index_qubits)

    def turns(self, amplitudes: Tensor) -> Tensor:
        return fit_staircase(amplitudes, self.layers).turns.flatten(1)

    def fidelity(self, features: Tensor) -> Tensor:
        """(B, k) -> (B,): |<exact|approximate>|**2 of each sample. Raises InputError for a row of zeros."""
        return fit_staircase(self.amplitudes(features), self.layers).fidelity

    def prepare(self, turns: Sequence[Parameter]) -> QuantumCircuit:
        width = turns_of_a_layer(self.index_qubits)
        circuit = QuantumCircuit(self.index_qubits)
        for layer in reversed(range(self.layers)):
            circuit.compose(staircase(turns[layer * width : (layer + 1) * width], self.index_qubits), inplace=True)
        return circuit

    @property
    def _spectrum(self) -> str:
        return f"{super()._spectrum}; of the nearest state that {self.layers} staircase{'s' * (self.layers > 1)} can make"


def _gates(n_qubits: int) -> list[_Gate]:
    """Of one layer in order; the turns are numbered as they come."""
    if n_qubits == 1:
        return [_Gate((0,), 0)]
    gates = [_Gate((1,), 0), _Gate((0,), 1), _Gate((1, 0)), _Gate((0,), 2)]
    for low in range(1, n_qubits - 1):
        fresh, turn = low + 1, 4 * low - 1
        gates += [_Gate((fresh,), turn), _Gate((fresh, low)), _Gate((fresh,), turn + 1)]
        gates += [_Gate((low,), turn + 2), _Gate((fresh, low)), _Gate((low,), turn + 3)]
    return gates


def _layer(state: Tensor, n_qubits: int) -> Tensor:
    """(B, 2**n) -> (B, turns): of its matrix product state of bond dimension 2, cut by cut from the highest qubit on."""
    if n_qubits == 1:
        return 2 * polar_angle(state[:, 1:], state[:, :1])
    found: list[Tensor] = []
    rest = state.unflatten(1, (4, -1))
    for _ in range(n_qubits - 2):
        turns, isometry = _split(_DominantPair.apply(rest @ rest.mT))
        found.insert(0, turns)
        rest = (isometry.mT @ rest).reshape(len(state), 4, -1)
    return torch.cat([_pair(rest.squeeze(-1)), *found], dim=1)


def _pair(vector: Tensor) -> Tensor:
    """(B, 4) -> (B, 3): RY on the high qubit, then the low one's RY about a CZ, which is multiplexed on |0>."""
    low, high = vector.unflatten(1, (2, 2)).unbind(dim=1)
    share = 2 * polar_angle(torch.linalg.vector_norm(high, dim=1), torch.linalg.vector_norm(low, dim=1))
    first, second = (2 * polar_angle(half[:, 1], half[:, 0]) for half in (low, high))
    return torch.stack([share, (first - second) / 2, (first + second) / 2], dim=1)


def _split(isometry: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 4, 2) from one qubit to a fresh and a low one -> (B, 4) turns that make it behind a rotation of the one qubit, and
    the isometry that they make.

    By its cosine-sine decomposition: W = CZ (V + U) (C; S) R with rotations V, U, R and diagonal C, S; the fresh qubit, 0
    before, is turned by the angles of C, S, then the low one by V or U. A CZ between two rotations multiplexes them.
    """
    isometry = isometry * _column_sign(torch.linalg.det(isometry.detach()[:, :2]) < 0)
    top, bottom = isometry.unflatten(1, (2, 2)).unbind(dim=1)
    bottom = bottom * top.new_tensor([[1.0], [-1.0]])  # the CZ
    (a, b), (c, d) = (row.unbind(dim=1) for row in top.unbind(dim=1))
    plus, minus = polar_angle((c - b) / 2, (a + d) / 2), polar_angle((c + b) / 2, (a - d) / 2)
    v, back = (plus + minus) / 2, _rotation((minus - plus) / 2)
    cosines = (_rotation(-v) @ top @ back).diagonal(dim1=1, dim2=2)
    sines = bottom @ back
    chosen = _column_sign((cosines[:, 1] < _ZERO) & (sines[:, 1, 1] < 0))
    sines = sines * chosen
    u = polar_angle(-sines[:, 0, 1], sines[:, 1, 1])  # the second sine is the larger one
    sines = (_rotation(-u) @ sines).diagonal(dim1=1, dim2=2)
    first, second = polar_angle(sines, cosines).unbind(dim=1)
    return torch.stack([first - second, first + second, v + u, v - u], dim=1), isometry @ back * chosen


def _column_sign(turned: Tensor) -> Tensor:
    """(B,) bool -> (B, 1, 2) factors that turn the second column round.

    A column's sign is free. It is chosen so that C is not negative, and where C is 0 so that U turns by less than a right
    angle, lest rounding choose it.
    """
    return torch.stack([torch.ones_like(turned, dtype=torch.float64), 1.0 - 2.0 * turned], dim=1).unsqueeze(1)


def _rotation(angle: Tensor) -> Tensor:
    """(B,) -> (B, 2, 2)"""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)


def _undo(state: Tensor, turns: Tensor, n_qubits: int) -> Tensor:
    """(B, 2**n) and (B, turns): the layer's inverse on the state."""
    for gate in reversed(_gates(n_qubits)):
        if gate.turn is None:
            high, low = gate.qubits
            halves = state.unflatten(1, (-1, 2, 2 ** (high - low - 1), 2, 2**low)).unbind(dim=2)
            ones = torch.stack([halves[1][:, :, :, 0], -halves[1][:, :, :, 1]], dim=3)
            state = torch.stack([halves[0], ones], dim=2).flatten(1)
        else:
            halves = state.unflatten(1, (-1, 2, 2 ** gate.qubits[0]))
            back = _rotation(-turns[:, gate.turn] / 2)
            state = torch.einsum("bij,bhjl->bhil", back, halves).flatten(1)
    return state


class _DominantPair(torch.autograd.Function):
    """(B, 4, 4) symmetric -> (B, 4, 2): its two dominant eigenvectors.

    Their gradient is that of the plane they span: how they lie in it makes no difference to what follows, so that a gap
    between the two is not divided by, and that to the others is kept away from 0.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(values, vectors)
        return vectors[:, :, 2:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        others, kept = vectors.split(2, dim=2)
        gaps = values[:, None, 2:] - values[:, :2, None]
        small = torch.finfo(values.dtype).eps * values[:, -1, None, None] ** 2
        moved = others @ (others.mT @ gradient * gaps / (gaps**2 + small)) @ kept.mT
        return (moved + moved.mT) / 2
