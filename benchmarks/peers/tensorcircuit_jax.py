"""TensorCircuit-NG on JAX: vmap over the samples, the whole step under one jit."""

import os
from typing import Any

import interface
import jax
import jax.numpy as jnp
import numpy as np
import tensorcircuit as tc
from tensorcircuit_torch import FIXED, ROTATIONS, sample

threads = int(os.environ["OMP_NUM_THREADS"])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])  # XLA has no number of threads to set


class Peer(interface.Peer):
    GATES = (*FIXED, *ROTATIONS)
    PACKAGES = ("tensorcircuit-ng", "jax")

    def __init__(self, circuit: interface.Description, dtype: str, batch: int, device: str):
        super().__init__(circuit, dtype, batch, device)
        tc.set_backend("jax")
        tc.set_dtype(dtype)
        self.real = np.float32 if dtype == "complex64" else np.float64

        def one(x: Any, weights: Any) -> Any:
            return jnp.stack(sample(circuit, [*x, *weights]))

        def step(inputs: Any, weights: Any, mixture: Any) -> Any:
            values, backward = jax.vjp(jax.vmap(one, in_axes=(0, None)), inputs, weights)
            return values, *backward(mixture)

        self.jitted_forward, self.jitted_step = jax.jit(jax.vmap(one, in_axes=(0, None))), jax.jit(step)

    def prepare(self, inputs: Any, weights: Any, mixture: Any) -> tuple[Any, Any, Any]:
        x, w, m = (jnp.asarray(array, dtype=self.real) for array in (inputs, weights, mixture))
        return x, w, m

    def forward(self, inputs: Any, weights: Any) -> Any:
        return self.jitted_forward(inputs, weights).block_until_ready()

    def step(self, inputs: Any, weights: Any, mixture: Any) -> tuple[Any, Any, Any]:
        values, grad_inputs, grad_weights = jax.block_until_ready(self.jitted_step(inputs, weights, mixture))
        return values, grad_inputs, grad_weights
