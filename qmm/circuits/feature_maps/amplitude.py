"""Amplitude encoding: the features are the amplitudes of a state, 2**n of them on n qubits."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from qiskit.circuit import Parameter, ParameterExpression, QuantumCircuit
from torch import Tensor
from torch.nn.functional import pad

from qmm.circuits.contracts import Encoding, FeatureMap
from qmm.circuits.gates import check_name
from qmm.circuits.multiplexing import real_state, turns_of
from qmm.errors import InputError

NORMS = ("drop", "angle")


class _PolarAngle(torch.autograd.Function):
    """atan2, whose gradient does not explode around the origin.

    An angle with next to nothing to turn has an enormous gradient, which the circuit's tiny one takes back; but the latter is
    known up to rounding only. So the gradient is damped below the square root of the precision, and 0 at the origin.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, x: Tensor) -> Tensor:
        return torch.atan2(y, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        y, x = ctx.saved_tensors
        scaled = gradients[0] / (x * x + y * y).clamp(min=torch.finfo(x.dtype).eps)
        return scaled * x, -scaled * y


def polar_angle(y: Tensor, x: Tensor) -> Tensor:
    """atan2(y, x) of numbers about 1 in size, with a gradient that is bounded everywhere."""
    return _PolarAngle.apply(y, x)


def amplitude_turns(amplitudes: Tensor) -> Tensor:
    """(..., 2**n) real amplitudes of any length but 0 -> (..., 2**n - 1) turns for `real_state`, signs included.

    Differentiable: on each level of a binary tree the rotation by 2 atan2(|right half|, |left half|), with the signed
    amplitudes themselves in the leaves; then the turns of each level's multiplexed rotation (arXiv:quant-ph/0407010).
    """
    n_qubits = (amplitudes.shape[-1] - 1).bit_length()
    scaled = amplitudes / amplitudes.detach().abs().amax(dim=-1, keepdim=True)  # angles do not feel it, overflow does
    turns = []
    for level in range(n_qubits):
        halves = scaled.unflatten(-1, (2**level, 2, -1))
        sizes = halves.squeeze(-1) if level == n_qubits - 1 else torch.linalg.vector_norm(halves, dim=-1)
        low, high = sizes.unbind(dim=-1)
        turns.append(turns_of(2 * polar_angle(high, low)))
    return torch.cat(turns, dim=-1)


def amplitude_encoding(turns: Sequence[float | ParameterExpression]) -> QuantumCircuit:
    """|0...0> -> sum_i x_i/|x| |i> of n qubits for the 2**n - 1 turns = `amplitude_turns(x)`; RY and CX alone."""
    return real_state(turns)


class AmplitudeEncoding(FeatureMap):
    """`amplitude_encoding`: sum_i x_i/|x| |i>, exact, 2**n real features on n qubits (arXiv:quant-ph/0407010).

    Fewer features are padded with zeros at the end. The length |x| and the overall sign are no part of the state: x, 2x and -x
    are one, and of a single feature nothing is left.

    Args:
        norm: "drop" forgets the length; "angle" keeps it on one qubit more, the last: cos(a/2)|0> + sin(a/2)|1> with
            tan(a/2) = |x|/sqrt(k), the features' root mean square.
    """

    reference = "arXiv:quant-ph/0407010"

    def __init__(self, norm: str = "drop"):
        super().__init__()
        self.norm = check_name("treatment of the norm", norm, NORMS)

    def least_qubits(self, features: int) -> int:
        return max(1, (features - 1).bit_length()) + (self.norm == "angle")

    @property
    def index_qubits(self) -> int:
        """n: those that hold the amplitudes."""
        return self.n_qubits - (self.norm == "angle")

    @property
    def n_turns(self) -> int:
        """Angles that prepare the amplitudes."""
        return 2**self.index_qubits - 1

    @property
    def n_angles(self) -> int:
        return self.n_turns + (self.norm == "angle")

    def amplitudes(self, features: Tensor) -> Tensor:
        """(B, k) -> (B, 2**n), padded, as long as they are. Raises InputError for a row of zeros."""
        empty = (features == 0).all(dim=-1).nonzero()
        if len(empty):
            raise InputError(
                f"row {int(empty[0])} of the features is all zeros; amplitudes are divided by their length, which must not "
                "be 0: leave such samples out, or add a constant to the features"
            )
        return pad(features, (0, 2**self.index_qubits - features.shape[-1]))

    def turns(self, amplitudes: Tensor) -> Tensor:
        """(B, 2**n) -> (B, n_turns)"""
        return amplitude_turns(amplitudes)

    def prepare(self, turns: Sequence[Parameter]) -> QuantumCircuit:
        """(n_turns,) -> the circuit on the n qubits."""
        return amplitude_encoding(turns)

    def forward(self, features: Tensor) -> Tensor:
        """(B, k) -> (B, p) angles. Raises InputError for a row of zeros."""
        turns = self.turns(self.amplitudes(features))
        if self.norm == "drop":
            return turns
        size = torch.linalg.vector_norm(features, dim=-1, keepdim=True) / math.sqrt(self.features)
        return torch.cat([turns, 2 * torch.atan(size)], dim=-1)

    def circuit(self, angles: Sequence[Parameter], upload: int = 0) -> QuantumCircuit:
        circuit = QuantumCircuit(self.n_qubits)
        circuit.compose(self.prepare(angles[: self.n_turns]), range(self.index_qubits), inplace=True)
        if self.norm == "angle":
            circuit.ry(angles[self.n_turns], self.n_qubits - 1)
        return circuit

    def describe(self) -> Encoding:
        return self.described(f"{self.features}/{self.n_qubits}", self._spectrum)

    @property
    def _spectrum(self) -> str:
        kept = "times k, |x| or |x|^2, over k + |x|^2" if self.norm == "angle" else "the length |x| is lost"
        return f"no frequencies: after one upload, polynomials of degree 2 in x/|x|; {kept}"
