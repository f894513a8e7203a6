"""Regularisation of circuits: gates left out, angles that tremble, decay that knows their period."""
