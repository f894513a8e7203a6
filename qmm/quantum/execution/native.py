"""Samplers of devices that take no gates but their own."""

from collections.abc import Iterable
from typing import Any

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
        from qmm.quantum.execution.region import native

        coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        target = self._device.target
        return self._sampler.run([SamplerPub(native(p.circuit, target), p.parameter_values, p.shots) for p in coerced])
