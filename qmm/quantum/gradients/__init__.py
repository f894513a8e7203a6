"""Gradients of what is estimated: from shifted circuits, finite differences, random directions, or one more qubit."""
