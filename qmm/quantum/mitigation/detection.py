"""Error detection: pairs of qubits encoded, and shots in which a parity shows an error discarded."""

from collections.abc import Sequence
from itertools import chain
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.quantum_info import Pauli, PauliList, SparsePauliOp

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.requests import Estimates, Execution, Expansion, Mitigation, Request
from qmm.quantum.execution.transpiling import Transpiler
from qmm.quantum.mitigation.four_two_two import Encoder
from qmm.quantum.settings import Measurement


class FourTwoTwo(Mitigation):
    """Pairs of qubits in the [[4,2,2]] code, four qubits for two, and post-selection (arXiv:1705.09259).

    Each gate becomes rotations by Pauli strings of encoded qubits, mostly two qubits wide. CX, CZ and SWAP within a pair, and
    Hadamard gates on both of it, need no two-qubit gates. All four qubits of a block are measured, in X or in Z; where their
    parity is odd, or an ancilla reads 1, a shot is discarded. This finds any error of one qubit between gates that the measured
    parity can see (X and Y in the basis Z), not all those that happen within a rotation.

    It pays where rotations are few: an encoded rotation takes two-qubit gates where the bare one took none. `discarded` says
    which share of shots was lost.

    Args:
        pairs: The qubits [a, b] of each pair, of those on which the circuit has gates; None: 0 and 1, 2 and 3, ... Qubits in
            none stay as they are.
        check_preparation: One ancilla more for each pair, which checks that it was prepared without two errors.
        check_other: One ancilla more for each pair, which checks at the end the parity that the bits of the block do not give.
    """

    stage: ClassVar[int] = 30
    needs_sampler: ClassVar[bool] = True

    def __init__(
        self,
        pairs: Sequence[Sequence[int]] | None = None,
        check_preparation: bool = False,
        check_other: bool = False,
    ):
        """Raises CircuitError for what are no pairs, and for a qubit in two of them."""
        named = None if pairs is None else [tuple(pair) for pair in pairs]
        if named is not None and (any(len(pair) != 2 for pair in named) or len(set(chain(*named))) < 2 * len(named)):
            raise CircuitError(
                f"pairs={[list(pair) for pair in named]}; give two qubits for each, every qubit once: [[0, 1], [2, 3]]"
            )
        self._pairs = named
        self.check_preparation, self.check_other = check_preparation, check_other
        self._plain = Transpiler(None, level=0)
        self._shots = self._kept = 0.0

    @property
    def discarded(self) -> float:
        """The share of all shots so far that was discarded; nan before the first."""
        return 1 - self._kept / self._shots if self._shots else float("nan")

    def expand(self, request: Request, execution: Execution) -> Expansion:
        """Raises CircuitError for pairs that the circuit lacks, for gates that cannot be written as rotations, and where the
        layout of the bare circuit is prescribed. What is run raises it where no shot is kept.
        """
        if request.initial_layout is not None:
            raise CircuitError(
                "the circuit's layout is prescribed (by Symmetrisation, perhaps), and FourTwoTwo runs it on other qubits; "
                "leave one of the two out"
            )
        if not request.measurement.bases:
            return Expansion([request], lambda estimates: estimates[0])
        requests = [self._encoded(request, place) for place in range(len(request.measurement.bases))]
        columns = [np.flatnonzero(np.equal(request.measurement.homes, place)) for place in range(len(requests))]

        def combine(estimates: Sequence[Estimates]) -> Estimates:
            shape = len(request.bindings), len(request.measurement.observables)
            found = Estimates(np.empty(shape), np.empty(shape))
            for own, (values, variances) in zip(columns, estimates, strict=True):
                found.values[:, own], found.variances[:, own] = values[:, : len(own)], variances[:, : len(own)]
                self._shots += request.shots * len(values)
                self._kept += request.shots * values[:, -1].sum()
            return found

        return Expansion(requests, combine)

    def pairs(self, n_qubits: int) -> list[tuple[int, int]]:
        """Of a circuit. Raises CircuitError where it lacks them."""
        found = [(i, i + 1) for i in range(0, n_qubits - 1, 2)] if self._pairs is None else [(a, b) for a, b in self._pairs]
        if not found or not set(chain(*found)) <= set(range(n_qubits)):
            raise CircuitError(
                f"the circuit has {n_qubits} qubit(s), and pairs {[list(p) for p in found]} are to be encoded; name others"
            )
        return found

    def _encoded(self, request: Request, place: int) -> Request:
        """For one basis; the checks are its last observables."""
        bare = self._plain(request).circuit
        encoder = Encoder(bare.num_qubits, self.pairs(bare.num_qubits), self.check_preparation, self.check_other)
        for item in bare.data:
            encoder.append(item, [bare.find_bit(qubit).index for qubit in item.qubits])
        basis, homes = request.measurement.bases[place], request.measurement.homes
        read = encoder.read_out(_letters(basis))
        own = [o for o, home in zip(request.measurement.observables, homes, strict=True) if home == place]
        observables = [SparsePauliOp(PauliList([read.string(_letters(p)) for p in o.paulis]), o.coeffs) for o in own]
        checks = read.checks()
        measured = (*observables, *map(SparsePauliOp, checks))
        return request._replace(
            circuit=encoder.circuit,
            measurement=Measurement(measured, (read.measured(),), (0,) * len(measured)),
            reader=PostSelection(len(checks)),
        )


class PostSelection(NamedTuple):
    """Reads the shots in which all checks are even. A `Reader`."""

    checks: int
    """The last observables are these: products of bits, whose columns become the share of shots that are kept."""

    def read(self, bits: NDArray[np.bool_], basis: Pauli, observables: Sequence[SparsePauliOp]) -> Estimates:
        """Raises CircuitError where a binding keeps no shot."""
        qubits = np.flatnonzero(basis.x | basis.z)
        checks = np.concatenate([_masks(o, qubits) for o in observables[-self.checks :]])
        kept = ~_odd(bits, checks).any(axis=-1)
        count = kept.sum(axis=1)
        if not count.all():
            raise CircuitError(
                f"all {bits.shape[1]} shots of a circuit showed an error and were discarded; give more shots, or a circuit "
                "with fewer gates, or leave error detection out"
            )
        shape = len(bits), len(observables)
        found = Estimates(np.empty(shape), np.zeros(shape))
        for column, observable in enumerate(observables[: -self.checks]):
            shots = (1 - 2.0 * _odd(bits, _masks(observable, qubits))) @ observable.coeffs.real
            mean = (shots * kept).sum(axis=1) / count
            spread = (((shots - mean[:, None]) * kept) ** 2).sum(axis=1) / count
            found.values[:, column], found.variances[:, column] = mean, spread / np.maximum(1, count - 1)
        found.values[:, -self.checks :] = (count / bits.shape[1])[:, None]
        return found


def _masks(observable: SparsePauliOp, qubits: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(strings, k): the bits that each string is the product of."""
    return (observable.paulis.x | observable.paulis.z)[:, qubits]


def _odd(bits: NDArray[np.bool_], masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N, shots, k), (strings, k) -> (N, shots, strings)"""
    return (bits.astype(np.uint8) @ masks.astype(np.uint8).T & 1).astype(bool)


def _letters(pauli: Pauli) -> dict[int, str]:
    return {i: letter for i, letter in enumerate(reversed(pauli.to_label())) if letter in "XYZ"}
