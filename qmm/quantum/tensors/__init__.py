"""The torch engine: a circuit as batched tensor operations, on any device, differentiable as often as one likes."""
