"""What a user of qmm.quantum can mend."""


class CircuitError(ValueError):
    """A circuit, an observable or a tensor of angles that cannot be simulated: what came, what was expected, what to do."""
