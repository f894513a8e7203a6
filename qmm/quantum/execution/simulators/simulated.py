"""Qiskit's primitives on simulated regions: SimulatedSampler and SimulatedEstimator."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

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
from qiskit.quantum_info import PauliList, SparsePauliOp
from qiskit_aer.primitives import EstimatorV2, SamplerV2

from qmm.quantum.angles import collect
from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.simulators.propagation import Program
from qmm.quantum.execution.simulators.region import touched
from qmm.quantum.execution.simulators.simulation import Floats, Measured, Simulation, drawn
from qmm.quantum.pubs import Observables

_CLIFFORD = (
    *("id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "rz", "cx", "cy", "cz", "swap", "ecr"),
    *("pauli", "measure", "reset", "barrier", "delay"),
)


class SimulatedSampler(BaseSamplerV2):
    """Shots from a simulation.

    Args:
        simulation: What is shared.
        seed: All random numbers follow from it.
        default_shots: Where neither PUB nor call names their number.
    """

    def __init__(self, simulation: Simulation, seed: int | None = None, default_shots: int = 1024):
        self._simulation, self._seed, self._default_shots = simulation, seed, default_shots

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        """Starts the job. Its result has a BitArray for each classical register, as qiskit-aer's sampler gives it."""
        coerced = [SamplerPub.coerce(pub, self._default_shots if shots is None else shots) for pub in pubs]
        if not all(pub.circuit.cregs for pub in coerced):
            warnings.warn("a circuit has no classical register, its result will be empty; add measurements", stacklevel=2)
        return _begun(self._simulation, self._run, coerced)

    def _run(self, pubs: Sequence[SamplerPub]) -> PrimitiveResult[SamplerPubResult]:
        rng = np.random.default_rng(self._seed)
        return PrimitiveResult([self._result(pub, rng) for pub in pubs], metadata={"version": 2})

    def _result(self, pub: SamplerPub, rng: np.random.Generator) -> SamplerPubResult:
        plan = self._simulation.plan(pub.circuit)
        bindings = _bindings(pub, plan.circuit)
        metadata = {"shots": pub.shots, "circuit_metadata": pub.circuit.metadata}
        if plan.measured is None:
            sampler = SamplerV2.from_backend(self._simulation.regions.simulator(plan.region), seed=int(rng.integers(2**31)))
            if plan.circuit.parameters:
                found = sampler.run([(plan.circuit, bindings.reshape(*pub.shape, -1))], shots=pub.shots).result()[0]
                return SamplerPubResult(found.data, {**found.metadata, **metadata})
            found = sampler.run([plan.circuit], shots=pub.shots * pub.size).result()[0]
            arrays = {name: bits.array.reshape(*pub.shape, pub.shots, -1) for name, bits in found.data.items()}
            data = {name: BitArray(array, found.data[name].num_bits) for name, array in arrays.items()}
            return SamplerPubResult(DataBin(**data, shape=pub.shape), {**found.metadata, **metadata})
        states = drawn(self._simulation.probabilities(plan, bindings), pub.shots, rng).reshape(*pub.shape, pub.shots)
        data = {register.name: _bits(states, plan.measured, pub.circuit, register) for register in pub.circuit.cregs}
        return SamplerPubResult(DataBin(**data, shape=pub.shape), metadata)


class SimulatedEstimator(BaseEstimatorV2):
    """Expectation values from a simulation, without read-out errors, with normal noise of the precision asked for.

    Args: as of `SimulatedSampler`.
    """

    def __init__(self, simulation: Simulation, seed: int | None = None, default_precision: float = 0.0):
        self._simulation, self._seed, self._default_precision = simulation, seed, default_precision

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> PrimitiveJob[PrimitiveResult[PubResult]]:
        """Starts the job. Its result's `evs` have the shape to which a PUB's bindings and observables broadcast."""
        default = self._default_precision if precision is None else precision
        coerced = [EstimatorPub.coerce(pub, default) for pub in pubs]
        return _begun(self._simulation, self._run, coerced)

    def _run(self, pubs: Sequence[EstimatorPub]) -> PrimitiveResult[PubResult]:
        rng = np.random.default_rng(self._seed)
        return PrimitiveResult([self._result(pub, rng) for pub in pubs], metadata={"version": 2})

    def _result(self, pub: EstimatorPub, rng: np.random.Generator) -> PubResult:
        found = Observables()
        columns = found.add(pub.observables)
        operators = found.paulis()
        felt = sorted({int(q) for o in operators for q in np.flatnonzero((o.paulis.x | o.paulis.z).any(axis=0))})
        region = touched(pub.circuit, felt)
        small, program = self._simulation.narrow(pub.circuit, region)
        own = [_on(operator, region) for operator in operators]
        bindings = _bindings(pub, small)
        if program is not None:
            values = _expectations(program, bindings, own, self._simulation.threads)
        else:
            options = {"run_options": {"seed_simulator": int(rng.integers(2**31))}}
            estimator = EstimatorV2.from_backend(self._simulation.regions.simulator(region), options=options)
            inner = (small, own, bindings[:, None]) if small.parameters else (small, own)
            values = estimator.run([inner], precision=0.0).result()[0].data.evs
            values = np.broadcast_to(values, (len(bindings), len(own)))
        rows, places = np.broadcast_arrays(np.arange(len(bindings)).reshape(pub.parameter_values.shape), columns)
        evs = rng.normal(values[rows, places], pub.precision)
        data = DataBin(evs=np.asarray(evs), stds=np.full(rows.shape, pub.precision), shape=rows.shape)
        return PubResult(data, {"target_precision": pub.precision, "circuit_metadata": pub.circuit.metadata})


def _on(operator: SparsePauliOp, region: tuple[int, ...]) -> SparsePauliOp:
    paulis = operator.paulis
    return SparsePauliOp(PauliList.from_symplectic(paulis.z[:, region], paulis.x[:, region]), operator.coeffs)


def _expectations(program: Program, bindings: Floats, operators: Sequence[SparsePauliOp], threads: int) -> Floats:
    """(N, P)"""
    digit = np.array([[0, 3], [1, 2]])  # x, z -> I, Z, X, Y
    strings = [digit[o.paulis.x.astype(int), o.paulis.z.astype(int)] @ 4 ** np.arange(o.num_qubits) for o in operators]
    distinct, places = np.unique(np.concatenate(strings), return_inverse=True)
    weights = np.zeros((len(distinct), len(operators)))
    owners = np.repeat(np.arange(len(operators)), [len(s) for s in strings])
    np.add.at(weights, (places, owners), np.concatenate([o.coeffs.real for o in operators]))
    return program.expectations(bindings, distinct.astype(np.int64), threads) @ weights


def _bindings(pub: Any, circuit: QuantumCircuit) -> Floats:
    """(N, parameters of the circuit), which may have lost some of the PUB's."""
    whole = list(pub.circuit.parameters)
    values = pub.parameter_values.as_array(whole).reshape(-1, len(whole)) if whole else np.zeros((pub.size, 0))
    place = {parameter: i for i, parameter in enumerate(whole)}
    return np.ascontiguousarray(values[:, [place[parameter] for parameter in circuit.parameters]])


def _bits(states: NDArray[np.int64], measured: Measured, circuit: QuantumCircuit, register: ClassicalRegister) -> BitArray:
    """What a register holds, packed as a BitArray packs it: big-endian bytes."""
    size = -(-register.size // 8)
    array = np.zeros((*states.shape, size), np.uint8)
    for i, bit in enumerate(register):
        place = measured.bits.get(circuit.find_bit(bit).index)
        if place is not None:
            array[..., size - 1 - i // 8] |= ((states >> place & 1) << i % 8).astype(np.uint8)
    return BitArray(array, register.size)


def _begun(simulation: Simulation, run: Callable[[list[Any]], Any], pubs: list[Any]) -> PrimitiveJob[Any]:
    if simulation.method == "stabilizer":
        for pub in pubs:
            _check_clifford(pub)
    job = PrimitiveJob(run, pubs)
    job._submit()
    return job


def _check_clifford(pub: SamplerPub | EstimatorPub) -> None:
    """Raises CircuitError, before anything runs, for what no stabilizer state can follow."""
    angles: list[Any] = []
    for place, item in enumerate(pub.circuit.data):
        if item.name not in _CLIFFORD:
            raise CircuitError(
                f"instruction {place} ({item.name!r}) is no Clifford gate, and method='stabilizer' simulates nothing else; "
                "take method='automatic', or for many qubits 'matrix_product_state'"
            )
        angles += [angle for angle in item.params if item.name == "rz"]
    values = collect(angles, pub.circuit.parameters, ()).evaluate(
        torch.from_numpy(_bindings(pub, pub.circuit)), torch.empty(0, dtype=torch.float64)
    )
    quarters = values.numpy() / (np.pi / 2)
    if quarters.size and np.abs(quarters - quarters.round()).max() > 1e-6:
        raise CircuitError(
            "a rotation by an angle that is no multiple of pi/2 is no Clifford gate, and method='stabilizer' simulates nothing "
            "else; take method='automatic', or for many qubits 'matrix_product_state'"
        )
