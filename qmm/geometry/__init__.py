"""Geometry: metrics of circuits, what they entangle, and how their gradients lie."""
