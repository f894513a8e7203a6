"""Sounds of the made-up scenes, synthesised: an event somewhere within background noise."""

import numpy as np

SAMPLE_RATE = 8000
"""Hz; the events lie below 3.6 kHz."""


def make_sound(event: str, rng: np.random.Generator, seconds: float = 1.0) -> np.ndarray:
    """(T,) float32 of "birds", "rain" or "bells": random pitch, onset, level and background."""
    length = int(seconds * SAMPLE_RATE)
    signal = {"birds": _birds, "rain": _rain, "bells": _bells}[event](length, rng)
    signal = signal / (np.abs(signal).max() + 1e-6)
    background = _noise(length, rng, slope=rng.uniform(0.3, 1.3)) * rng.uniform(0.02, 0.12)
    if rng.random() < 0.4:  # a far engine, whatever the scene
        background += rng.uniform(0.05, 0.2) * np.sign(np.sin(2 * np.pi * rng.uniform(45, 110) * _seconds(length)))
    mixed = signal * rng.uniform(0.35, 1.0) + background
    return (mixed / (np.abs(mixed).max() + 1e-6) * rng.uniform(0.2, 0.95)).astype(np.float32)


def _seconds(length: int) -> np.ndarray:
    return np.arange(length) / SAMPLE_RATE


def _noise(length: int, rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise of standard deviation 1 whose amplitude falls with frequency to the power `slope`."""
    spectrum = np.fft.rfft(rng.standard_normal(length, dtype=np.float32))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 8.0) ** slope, length)
    return noise / noise.std()


def _birds(length: int, rng: np.random.Generator) -> np.ndarray:
    """Two to six chirps that sweep up or down."""
    signal = np.zeros(length)
    centre = rng.uniform(1500, 2800)
    for _ in range(rng.integers(2, 7)):
        own = int(rng.uniform(0.04, 0.14) * SAMPLE_RATE)
        start = rng.integers(0, length - own)
        pitch = np.linspace(centre + rng.uniform(-600, 600), centre + rng.uniform(-600, 600), own)
        level = np.hanning(own) * rng.uniform(0.4, 1)
        signal[start : start + own] += level * np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)
    return signal


def _rain(length: int, rng: np.random.Generator) -> np.ndarray:
    """A hiss that swells, and drops in it."""
    swell = 1 + rng.uniform(0, 0.6) * np.sin(2 * np.pi * (rng.uniform(0.3, 1.5) * _seconds(length) + rng.random()))
    drops = np.zeros(length)
    drops[rng.integers(0, length, rng.integers(10, 60))] = rng.uniform(2, 8)
    tail = np.exp(-np.arange(64) / rng.uniform(4, 16)) * rng.standard_normal(64)
    return swell * _noise(length, rng, slope=rng.uniform(0, 0.35)) + np.convolve(drops, tail)[:length]


def _bells(length: int, rng: np.random.Generator) -> np.ndarray:
    """One to three strikes: the partials of a bell, each dying away by itself."""
    signal, pitch = np.zeros(length), rng.uniform(280, 620)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.uniform(0, 0.7) * length)
        time = _seconds(length - start)
        for ratio, level in ((0.5, 0.5), (1.0, 1.0), (1.2, 0.7), (1.5, 0.5), (2.0, 0.6), (2.74, 0.4), (3.76, 0.25)):
            decay = rng.uniform(0.1, 0.4) / np.sqrt(ratio)
            signal[start:] += level * np.exp(-time / decay) * np.sin(2 * np.pi * ratio * pitch * time + rng.uniform(0, 6.28))
    return signal
