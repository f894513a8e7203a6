"""IBM's devices, and snapshots of them."""
