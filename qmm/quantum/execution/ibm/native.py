"""Samplers of devices that take no gates but their own."""

from collections.abc import Iterable
from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2, SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2


class NativeSampler(BaseSamplerV2):
    """A sampler that takes measurements in any basis, where the device's own takes no gates but those of the device."""

    def __init__(self, sampler: Any, device: BackendV2):
        self._sampler, self._device = sampler, device

    @property
    def options(self) -> Any:
        return self._sampler.options

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None) -> Any:
        """Starts the job, which is the device's own."""
        from qmm.quantum.execution.simulators.region import native

        target = self._device.target
        return self._sampler.run([_with(pub, native(_circuit(pub), target)) for pub in pubs], shots=shots)


def _circuit(pub: SamplerPubLike) -> QuantumCircuit:
    if isinstance(pub, QuantumCircuit):
        return pub
    return pub.circuit if isinstance(pub, SamplerPub) else pub[0]


def _with(pub: SamplerPubLike, circuit: QuantumCircuit) -> SamplerPubLike:
    """The same of another circuit."""
    if isinstance(pub, QuantumCircuit):
        return circuit
    if isinstance(pub, SamplerPub):
        return SamplerPub(circuit, pub.parameter_values, pub.shots)
    return circuit, *pub[1:]
