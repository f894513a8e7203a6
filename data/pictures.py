"""Pictures of the made-up scenes, drawn: a place under any sky, in any light, with things that stand anywhere."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

_UNIT = 96  # everything is drawn on 96 x 96 and scaled down, which smooths the edges

Colour = tuple[int, int, int]


def make_picture(place: str, rng: np.random.Generator, size: int = 48) -> np.ndarray:
    """(size, size, 3) uint8 of "forest", "beach" or "city"; sky, light and noise tell nothing about it."""
    image = Image.new("RGB", (_UNIT, _UNIT))
    draw = ImageDraw.Draw(image)
    horizon = int(rng.uniform(0.3, 0.6) * _UNIT)
    _draw_sky(draw, horizon, rng)
    draw_place: Callable[..., None] = {"forest": _draw_forest, "beach": _draw_beach, "city": _draw_city}[place]
    draw_place(draw, horizon, rng)
    for _ in range(rng.integers(0, 3)):
        _draw_tree(draw, rng.uniform(0, _UNIT), rng.uniform(horizon, _UNIT), rng.uniform(10, 22), rng)  # trees stand everywhere
    if rng.random() < 0.3:
        _draw_hut(draw, rng.uniform(0, _UNIT), rng.uniform(horizon, _UNIT), rng)  # and so do huts
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.float64)
    light = rng.uniform(0.55, 1.15) * rng.uniform(0.85, 1.15, 3)
    pixels = pixels * light + rng.uniform(0, 40) + rng.normal(0, rng.uniform(2, 12), pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


def _jitter(colour: Colour, rng: np.random.Generator, spread: float = 30) -> Colour:
    red, green, blue = (np.array(colour) + rng.uniform(-spread, spread, 3)).clip(0, 255).astype(int).tolist()
    return red, green, blue


def _pick(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    return _jitter(colours[rng.integers(len(colours))], rng)


def _draw_sky(draw: ImageDraw.ImageDraw, horizon: int, rng: np.random.Generator) -> None:
    skies = ((110, 170, 235), (190, 195, 205), (240, 170, 110), (60, 70, 130), (200, 220, 240))
    upper, lower = (np.array(_pick(skies, rng)) for _ in range(2))
    for y in range(horizon):
        red, green, blue = (upper + (lower - upper) * y / horizon).astype(int).tolist()
        draw.line((0, y, _UNIT, y), fill=(red, green, blue))
    for _ in range(rng.integers(0, 4)):
        left, top, width = rng.uniform(0, _UNIT), rng.uniform(0, horizon), rng.uniform(8, 30)
        draw.ellipse((left, top, left + width, top + width / 3), fill=_jitter((225, 225, 230), rng))
    if rng.random() < 0.4:
        left, top, across = rng.uniform(0, 85), rng.uniform(-8, horizon), rng.uniform(6, 16)
        draw.ellipse((left, top, left + across, top + across), fill=_jitter((250, 230, 140), rng))


def _draw_forest(draw: ImageDraw.ImageDraw, horizon: int, rng: np.random.Generator) -> None:
    grounds = ((70, 120, 60), (120, 100, 60), (150, 150, 110), (90, 90, 80))
    draw.rectangle((0, horizon, _UNIT, _UNIT), fill=_pick(grounds, rng))
    for foot in np.sort(rng.uniform(horizon, _UNIT, rng.integers(7, 14))):
        _draw_tree(draw, rng.uniform(0, _UNIT), foot, rng.uniform(24, 48), rng)


def _draw_tree(draw: ImageDraw.ImageDraw, x: float, foot: float, height: float, rng: np.random.Generator) -> None:
    crown = _pick(((40, 110, 50), (80, 140, 50), (180, 120, 40), (30, 80, 60)), rng)
    draw.rectangle((x - height / 20, foot - height / 3, x + height / 20, foot), fill=_jitter((90, 65, 40), rng))
    if rng.random() < 0.5:
        for level in (0.25, 0.5):
            base, half = foot - height * level, height * (0.4 - level * 0.3)
            draw.polygon([(x - half, base), (x + half, base), (x, base - height * 0.5)], fill=crown)
    else:
        draw.ellipse((x - height / 3.5, foot - height, x + height / 3.5, foot - height / 3.5), fill=crown)


def _draw_beach(draw: ImageDraw.ImageDraw, horizon: int, rng: np.random.Generator) -> None:
    seas = ((40, 110, 170), (60, 140, 130), (90, 100, 120), (120, 160, 200))
    draw.rectangle((0, horizon, _UNIT, _UNIT), fill=_pick(seas, rng))
    for _ in range(rng.integers(3, 9)):
        x, y = rng.uniform(0, _UNIT), rng.uniform(horizon, _UNIT)
        draw.arc((x, y, x + rng.uniform(8, 20), y + 4), 180, 360, fill=_jitter((220, 230, 235), rng))
    left, right = rng.uniform(horizon + 8, 84, 2)
    bend = rng.uniform(2, 7) * np.sin(np.linspace(0, rng.uniform(3, 9), 13) + rng.uniform(0, 6))
    shore = list(zip(np.linspace(0, _UNIT, 13).tolist(), (np.linspace(left, right, 13) + bend).tolist(), strict=True))
    sand = _pick(((225, 200, 140), (190, 170, 130), (150, 130, 100), (235, 220, 190)), rng)
    draw.polygon([*shore, (_UNIT, _UNIT), (0, _UNIT)], fill=sand)
    draw.line(shore, fill=_jitter((240, 240, 240), rng, 15), width=2)
    if rng.random() < 0.5:
        x, width = rng.uniform(10, 80), rng.uniform(6, 14)
        draw.polygon([(x, horizon), (x + width, horizon), (x + width / 2, horizon - width)], fill=_jitter((235, 235, 235), rng))


def _draw_city(draw: ImageDraw.ImageDraw, horizon: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, horizon, _UNIT, _UNIT), fill=_pick(((90, 90, 95), (140, 130, 120), (110, 120, 90)), rng))
    x = rng.uniform(-12, 2)
    while x < _UNIT:
        width = rng.uniform(14, 28)
        _draw_house(draw, x, width, rng.uniform(0.1, 0.9) * horizon, horizon + rng.uniform(4, 20), rng)
        x += width + rng.uniform(0, 6)
    if rng.random() < 0.6:
        draw.line((0, _UNIT - 8, _UNIT, _UNIT - rng.uniform(4, 16)), fill=_jitter((230, 230, 220), rng), width=2)


def _draw_house(draw: ImageDraw.ImageDraw, x: float, width: float, top: float, foot: float, rng: np.random.Generator) -> None:
    walls = ((160, 90, 70), (170, 165, 155), (210, 190, 150), (100, 110, 130), (80, 75, 80))
    draw.rectangle((x, top, x + width, foot), fill=_pick(walls, rng))
    pane, step = _pick(((250, 230, 140), (60, 70, 90), (180, 210, 230)), rng), rng.uniform(6, 9)
    for row in np.arange(top + 3, foot - 5, step):
        for column in np.arange(x + 3, x + width - 4, step):
            draw.rectangle((column, row, column + step / 2.2, row + step / 2.2), fill=pane)


def _draw_hut(draw: ImageDraw.ImageDraw, x: float, foot: float, rng: np.random.Generator) -> None:
    width = rng.uniform(8, 16)
    draw.rectangle((x, foot - width * 0.7, x + width, foot), fill=_jitter((150, 110, 80), rng))
    eaves, ridge = foot - width * 0.7, foot - width * 1.3
    draw.polygon([(x - 2, eaves), (x + width + 2, eaves), (x + width / 2, ridge)], fill=_jitter((140, 60, 50), rng))
