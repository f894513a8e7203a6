"""The Runtime's primitives in local mode, on the region of a device that a circuit touches.

They measure and twirl every qubit of a device, so that a large one would have to be simulated as a whole. Here they are given
a device of no more qubits than a circuit needs.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import (
    BaseEstimatorV2,
    BaseSamplerV2,
    EstimatorPubLike,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubLike,
)
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2

from qmm.quantum.execution.simulators.region import Region, narrowed, native, touched
from qmm.quantum.execution.simulators.simulator import RegionSimulator
from qmm.quantum.pubs import Cache

Make = Callable[[RegionSimulator, int], Any]
"""A primitive of the Runtime on a simulated device, with a seed."""


class Places:
    """The simulated regions of a device, each made once."""

    def __init__(self, device: BackendV2, threads: int = 1):
        self.device, self._threads = device, threads
        self._known: Cache[RegionSimulator] = Cache()

    def simulator(self, qubits: tuple[int, ...]) -> RegionSimulator:
        return self._known.get(qubits, lambda: RegionSimulator.of(Region(self.device, qubits), threads=self._threads))


class LocalSampler(BaseSamplerV2):
    """A sampler of the Runtime, on regions.

    Args:
        places: The device's regions.
        make: The Runtime's own primitive.
        seed: All random numbers follow from it.
    """

    def __init__(self, places: Places, make: Make, seed: int):
        self._places, self._make, self._seed = places, make, seed

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None) -> PrimitiveJob[Any]:
        """Starts the job."""
        coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        job = PrimitiveJob(self._run, coerced)
        job._submit()
        return job

    def _run(self, pubs: Sequence[SamplerPub]) -> PrimitiveResult[Any]:
        own = [native(pub.circuit, self._places.device.target) for pub in pubs]
        regions = [touched(circuit) for circuit in own]
        small = [
            SamplerPub(found := narrowed(circuit, region), _values(pub, found), pub.shots)
            for pub, circuit, region in zip(pubs, own, regions, strict=True)
        ]
        keys = [(region, pub.shots) for region, pub in zip(regions, pubs, strict=True)]
        return _in_groups(small, keys, self._places, self._make, self._seed)


class LocalEstimator(BaseEstimatorV2):
    """An estimator of the Runtime, on regions; arguments as of `LocalSampler`."""

    def __init__(self, places: Places, make: Make, seed: int):
        self._places, self._make, self._seed = places, make, seed

    def run(self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None) -> PrimitiveJob[Any]:
        """Starts the job."""
        coerced = [EstimatorPub.coerce(pub, precision) for pub in pubs]
        job = PrimitiveJob(self._run, coerced)
        job._submit()
        return job

    def _run(self, pubs: Sequence[EstimatorPub]) -> PrimitiveResult[Any]:
        regions = [touched(pub.circuit, _felt(pub.observables)) for pub in pubs]
        small = [
            EstimatorPub(
                found := narrowed(pub.circuit, region), _on(pub.observables, region), _values(pub, found), pub.precision
            )
            for pub, region in zip(pubs, regions, strict=True)
        ]
        keys = [(region, pub.precision) for region, pub in zip(regions, pubs, strict=True)]
        return _in_groups(small, keys, self._places, self._make, self._seed)


def _in_groups(pubs: Sequence[Any], keys: Sequence[Any], places: Places, make: Make, seed: int) -> PrimitiveResult[Any]:
    """PUBs of one region and one number of shots run together, which the Runtime wants; results in the order of the PUBs."""
    found: list[Any] = [None] * len(pubs)
    for number, key in enumerate(dict.fromkeys(keys)):
        own = [i for i, other in enumerate(keys) if other == key]
        seed_here = int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)
        results = make(places.simulator(key[0]), seed_here).run([pubs[i] for i in own]).result()
        for i, result in zip(own, results, strict=True):
            found[i] = result
    return PrimitiveResult(found, metadata={"version": 2})


def _values(pub: Any, circuit: QuantumCircuit) -> BindingsArray:
    """The bindings of the parameters that the circuit still has."""
    whole, own = list(pub.circuit.parameters), list(circuit.parameters)
    if not own:
        return BindingsArray(shape=pub.parameter_values.shape)
    array = pub.parameter_values.as_array(whole)
    return BindingsArray({tuple(own): array[..., [whole.index(parameter) for parameter in own]]}, pub.parameter_values.shape)


def _felt(observables: ObservablesArray) -> list[int]:
    return sorted({int(q) for _, found in np.ndenumerate(observables.sparse_observables_array()) for q in found.indices})


def _on(observables: ObservablesArray, region: tuple[int, ...]) -> ObservablesArray:
    """The observables on the region: labels lose the identities of all other qubits."""
    whole = observables.ravel()
    width = observables.num_qubits
    small = [{"".join(label[width - 1 - q] for q in reversed(region)): c for label, c in item.items()} for item in whole]
    return ObservablesArray(small, num_qubits=len(region)).reshape(observables.shape)
