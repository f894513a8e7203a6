"""The dispatcher: sends requests to a provider's primitives, and brings their estimates back."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from qmm.quantum.errors import CircuitError
from qmm.quantum.execution.answers import estimates_of_samples, estimates_of_values, estimator_pub, sampler_pubs
from qmm.quantum.execution.providers import Provider
from qmm.quantum.execution.requests import Estimates, Request


class Dispatcher:
    """Runs requests as jobs, one after the other, in a thread of its own."""

    def __init__(self, provider: Provider, seed: int = 0):
        self.provider, self.seed = provider, seed
        self._pool = ThreadPoolExecutor(1, "qmm-quantum")
        self._jobs = 0

    def submit(self, requests: Sequence[Request]) -> "Future[list[Estimates]]":
        return self._pool.submit(self._run, list(requests))

    def _run(self, requests: list[Request]) -> list[Estimates]:
        seed = int(np.random.SeedSequence([self.seed, self._jobs]).generate_state(1)[0])
        self._jobs += 1
        sampler = self.provider.sampler(seed)
        if sampler is not None:
            pubs = [sampler_pubs(request) for request in requests]
            results = iter(sampler.run([pub for group in pubs for pub in group]).result())
            return [
                estimates_of_samples(request, [next(results) for _ in group])
                for request, group in zip(requests, pubs, strict=True)
            ]
        if any(request.reader is not None for request in requests):
            raise CircuitError(f"{self.provider.name} has no sampler, and a mitigation needs bits; take another provider")
        estimator = self.provider.estimator(seed)
        if estimator is None:
            raise CircuitError(f"{self.provider.name} makes neither a sampler nor an estimator")
        answers = estimator.run([estimator_pub(request) for request in requests]).result()
        return [estimates_of_values(request, result) for request, result in zip(requests, answers, strict=True)]
