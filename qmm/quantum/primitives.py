"""Qiskit's primitives on the exact engine: drop-ins for StatevectorEstimator and StatevectorSampler that run all the
bindings of a circuit as one batch."""

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    BitArray,
    DataBin,
    EstimatorPubLike,
    PrimitiveJob,
    PrimitiveResult,
    PubResult,
    SamplerPubLike,
    SamplerPubResult,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qmm.quantum.circuit import Circuit, Probabilities
from qmm.quantum.compiled import CompiledCircuit
from qmm.quantum.fingerprint import Fingerprint
from qmm.quantum.measurements import split_measurements
from qmm.quantum.pubs import Bindings, Cache, Observables, batches, by_circuit

Seed = np.random.Generator | int | None


class ExactEstimator(BaseEstimatorV2):
    """Expectation values without shots, for whatever asks for an estimator: `EstimatorQNN(..., estimator=ExactEstimator())`.

    All PUBs of one circuit that follow each other in a call run as one batch; compiled circuits are kept from call to call.
    """

    def __init__(self, *, default_precision: float | None = None, seed: Seed = None, device: str | torch.device = "cpu"):
        """Args:
        default_precision: None: values are exact, and meet whatever precision a call asks for. A number: what
            StatevectorEstimator does, Gaussian noise of the width that a PUB or a call asks for, else of this one.
        seed: Of that noise. An int starts each PUB alike, as in StatevectorEstimator.
        device: Where states live.
        """
        self._default_precision, self._seed, self._device = default_precision, seed, torch.device(device)
        self._compiled: Cache[CompiledCircuit] = Cache()

    @property
    def default_precision(self) -> float | None:
        return self._default_precision

    @property
    def seed(self) -> Seed:
        return self._seed

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> PrimitiveJob[PrimitiveResult[PubResult]]:
        """Starts the job. Its result's `evs` have the shape to which a PUB's bindings and observables broadcast.

        `result()` raises CircuitError for circuits that cannot be simulated exactly, with the name of the instruction.
        """
        default = (self._default_precision or 0.0) if precision is None else precision
        job = PrimitiveJob(self._run, [EstimatorPub.coerce(pub, default) for pub in pubs])
        job._submit()
        return job

    def _run(self, pubs: Sequence[EstimatorPub]) -> PrimitiveResult[PubResult]:
        results = [
            self._result(pub, values)
            for fingerprint, group in by_circuit(pubs)
            for pub, values in zip(group, self._values(fingerprint, group), strict=True)
        ]
        return PrimitiveResult(results, metadata={"version": 2})

    def _values(self, fingerprint: Fingerprint, pubs: Sequence[EstimatorPub]) -> Iterator[NDArray[np.float64]]:
        """The expectation values of each PUB, from one batch: each binding once, each observable once."""
        circuit, parameters = pubs[0].circuit, pubs[0].circuit.parameters
        rows, columns, places = Bindings(len(parameters)), Observables(), []
        for pub in pubs:
            places.append((rows.add(pub.parameter_values.as_array(parameters)), columns.add(pub.observables)))
        compiled = self._compiled.get((fingerprint, *columns.keys), lambda: _compile(circuit, columns))
        values = np.concatenate([*batches(compiled, rows.stacked(), self._device)])
        for row, column in places:
            yield np.asarray(values[row, column])

    def _result(self, pub: EstimatorPub, values: NDArray[np.float64]) -> PubResult:
        if self._default_precision is not None and pub.precision:
            values = np.asarray(np.random.default_rng(self._seed).normal(values, pub.precision))
        data = DataBin(evs=values, stds=np.zeros_like(values), shape=values.shape)
        return PubResult(data, {"target_precision": pub.precision, "circuit_metadata": pub.circuit.metadata})


class ExactSampler(BaseSamplerV2):
    """Shots from exact probabilities: the bits that StatevectorSampler draws from the same seed.

    All bindings of a circuit run as one batch; compiled circuits are kept from call to call.
    """

    def __init__(self, *, default_shots: int = 1024, seed: Seed = None, device: str | torch.device = "cpu"):
        """Args:
        default_shots: Where neither PUB nor call names their number.
        seed: An int starts each binding alike, as in StatevectorSampler; a Generator gives them draws of their own.
        device: Where states live.
        """
        self._default_shots, self._seed, self._device = default_shots, seed, torch.device(device)
        self._compiled: Cache[_Measured] = Cache()

    def reseeded(self, seed: Seed) -> Self:
        """The same with other random numbers; compiled circuits are shared."""
        other = copy.copy(self)
        other._seed = seed
        return other

    @property
    def default_shots(self) -> int:
        return self._default_shots

    @property
    def seed(self) -> Seed:
        return self._seed

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        """Starts the job. Its result has a BitArray for each classical register; bits that nothing measures are 0.

        `result()` raises CircuitError for measurements before the end, and for circuits that cannot be simulated exactly.
        """
        coerced = [SamplerPub.coerce(pub, self._default_shots if shots is None else shots) for pub in pubs]
        if not all(pub.circuit.cregs for pub in coerced):
            warnings.warn("a circuit has no classical register, its result will be empty; add measurements", stacklevel=2)
        job = PrimitiveJob(self._run, coerced)
        job._submit()
        return job

    def _run(self, pubs: Sequence[SamplerPub]) -> PrimitiveResult[SamplerPubResult]:
        results = []
        for fingerprint, group in by_circuit(pubs):
            circuit, n_parameters = group[0].circuit, group[0].circuit.num_parameters
            measured = self._compiled.get(fingerprint, lambda circuit=circuit: _compile_measured(circuit))  # type: ignore[misc]
            bindings = [pub.parameter_values.as_array(circuit.parameters).reshape(pub.size, n_parameters) for pub in group]
            distributions = (p for batch in batches(measured.compiled, np.concatenate(bindings), self._device) for p in batch)
            results += [self._result(pub, measured, distributions) for pub in group]
        return PrimitiveResult(results, metadata={"version": 2})

    def _result(self, pub: SamplerPub, measured: "_Measured", distributions: Iterator[NDArray[np.float64]]) -> SamplerPubResult:
        states = np.empty((pub.size, pub.shots), np.int64)
        for row in states:
            probabilities = next(distributions)
            row[:] = np.random.default_rng(self._seed).choice(len(probabilities), size=pub.shots, p=probabilities)
        states = states.reshape(*pub.shape, pub.shots)
        arrays = {register.name: measured.bits(states, pub.circuit, register) for register in pub.circuit.cregs}
        metadata = {"shots": pub.shots, "circuit_metadata": pub.circuit.metadata}
        return SamplerPubResult(DataBin(**arrays, shape=pub.shape), metadata)


class _Measured(NamedTuple):
    compiled: CompiledCircuit
    """Its outputs: the probabilities of the measured qubits' states."""
    places: dict[int, int]
    """The measured classical bits, each with its place in such a state."""

    def bits(self, states: NDArray[np.int64], circuit: QuantumCircuit, register: ClassicalRegister) -> BitArray:
        bits = np.zeros((*states.shape, register.size), bool)
        for i, bit in enumerate(register):
            place = self.places.get(circuit.find_bit(bit).index)
            if place is not None:
                bits[..., i] = states >> place & 1
        return BitArray.from_bool_array(bits, order="little")


def _compile(circuit: QuantumCircuit, observables: Observables) -> CompiledCircuit:
    own = circuit.copy()  # the user's may change
    return CompiledCircuit(Circuit.of(own, own.parameters, (), observables.paulis()))


def _compile_measured(circuit: QuantumCircuit) -> _Measured:
    unitary, measured = split_measurements(circuit.copy())
    qubits = tuple(sorted(set(measured.values())))
    compiled = CompiledCircuit(Circuit.of(unitary, unitary.parameters, (), Probabilities(qubits)))
    return _Measured(compiled, {bit: qubits.index(qubit) for bit, qubit in measured.items()})
