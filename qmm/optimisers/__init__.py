"""Optimisers for circuit weights, as torch optimisers, and several of them in one model."""
