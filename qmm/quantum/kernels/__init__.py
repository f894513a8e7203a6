"""The CPU engine: samples side by side in SIMD vectors, compiled by numba; forward, and adjoint backward."""
