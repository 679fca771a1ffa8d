"""Drawings of the course, as images that a notebook shows: points, curves, rows of images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from learn.scenes import for_product
from unpaired.images.grid import draw_grid

__all__ = ["bars", "curves", "images", "maps", "points"]

COLOURS = ("#1f6fb4", "#d9650e", "#2b8a3e", "#8a3ea8", "#777777")
_SHARP = 2  # pixels of the drawing per pixel shown
Array = NDArray[Any] | torch.Tensor


def images(columns: Mapping[str, Array], count: int = 5, cell: int = 96) -> Image.Image:
    """Columns of images (N, 3, H, W) or (N, H, W, 3) in [-1, 1], the first `count` of each."""
    shown = [
        (title, for_product(x[:count]) if isinstance(x, torch.Tensor) else x[:count])
        for title, x in columns.items()
    ]
    return draw_grid(shown, cell=cell)


def maps(scores: torch.Tensor, side: int) -> NDArray[np.float32]:
    """Score maps (N, 1, h, w) as grey images (N, side, side, 3): 0 black, 1 white."""
    large = torch.nn.functional.interpolate(scores.detach(), size=(side, side), mode="nearest")
    return for_product(large.clamp(0, 1).repeat(1, 3, 1, 1) * 2 - 1)


def points(panels: Mapping[str, Mapping[str, Array]], side: int = 200) -> Image.Image:
    """Panels of points (N, 2) in [-2, 2], by title and by name; the names are told once, below."""
    sheet, draw = _sheet(len(panels) * (side + 8) + 8, side + 52)
    for index, (title, sets) in enumerate(panels.items()):
        left = 8 + index * (side + 8)
        _text(draw, left + side / 2, 12, title, "mm")
        _box(draw, left, 24, left + side, 24 + side)
        for (_, xy), colour in zip(sets.items(), COLOURS, strict=False):
            for x, y in np.clip(np.asarray(xy), -2, 2):
                across, down = left + (x + 2) / 4 * side, 24 + (2 - y) / 4 * side
                _dot(draw, across, down, 1.5, colour)
    _legend(draw, list(next(iter(panels.values()))), side + 38)
    return sheet


def curves(
    lines: Mapping[str, Sequence[float] | Array | tuple[Array, Array]],
    *,
    x: str = "step",
    marks: Mapping[str, float] | None = None,
    size: tuple[int, int] = (560, 220),
) -> Image.Image:
    """Curves by name, each its values or (x, values); `marks` are dashed horizontal lines."""
    drawn = {}
    for name, line in lines.items():
        along, values = line if isinstance(line, tuple) else (range(len(line)), line)
        drawn[name] = np.asarray(along, float), np.asarray(values, float)
    marks = marks or {}
    first, last = _ends([each for each, _ in drawn.values()])
    low, high = _ends([*(values for _, values in drawn.values()), np.array([*marks.values()])])
    high = high if high > low else low + 1
    width, height = size
    left, right, top, bottom = 52, width - 12, 12, height - 52
    sheet, draw = _sheet(width, height)

    def place(step: float, value: float) -> tuple[float, float]:
        across = left + (right - left) * (step - first) / ((last - first) or 1)
        return across, bottom - (bottom - top) * (value - low) / (high - low)

    for value in _ticks(low, high):
        _, down = place(first, value)
        draw.line(_sharp(left, down, right, down), "#e4e4e4", _SHARP)
        _text(draw, left - 6, down, f"{value:g}", "rm")
    for step in _ticks(first, last):
        _text(draw, place(step, low)[0], bottom + 12, f"{step:g}", "mm")
    _text(draw, right, bottom + 26, x, "rm")
    _box(draw, left, top, right, bottom)
    for name, value in marks.items():
        _, down = place(first, value)
        for dash in range(left, right, 10):
            draw.line(_sharp(dash, down, dash + 5, down), "#444444", _SHARP)
        _text(draw, right - 4, down - 8, name, "rm")
    for (along, values), colour in zip(drawn.values(), COLOURS, strict=False):
        path = [c for p in zip(along, values, strict=True) for c in _sharp(*place(*p))]
        draw.line(path, colour, 2 * _SHARP, joint="curve")
    _legend(draw, list(drawn), height - 12)
    return sheet


def bars(
    groups: Mapping[str, Mapping[str, tuple[float, float, float]]], unit: str, width: int = 560
) -> Image.Image:
    """Values with intervals, (value, low, high), as points on a line: groups of rows by name."""
    rows = sum(len(group) + 1 for group in groups.values())
    sheet, draw = _sheet(width, 22 * rows + 40)
    _, high = _ends([np.array([v for group in groups.values() for t in group.values() for v in t])])
    low = min(0.0, *(t[1] for group in groups.values() for t in group.values()))
    left, right = 190, width - 70

    def place(value: float) -> float:
        return left + (right - left) * (value - low) / ((high - low) or 1)

    down = 16.0
    for (title, group), colour in zip(groups.items(), COLOURS, strict=False):
        _text(draw, 8, down, title, "lm")
        for name, (value, least, most) in group.items():
            down += 22
            _text(draw, left - 10, down, name, "rm")
            draw.line(_sharp(place(least), down, place(most), down), colour, 2 * _SHARP)
            _dot(draw, place(value), down, 4, colour)
            _text(draw, place(most) + 8, down, f"{value:.3g}", "lm")
        down += 22
    draw.line(_sharp(place(0), 24, place(0), down - 8), "#999999", _SHARP)
    _text(draw, place(0), down + 4, "0", "mm")
    _text(draw, right, down + 4, unit, "rm")
    return sheet


# ---- parts --------------------------------------------------------------------------------


def _sheet(width: float, height: float) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (round(width * _SHARP), round(height * _SHARP)), "white")
    return sheet, ImageDraw.Draw(sheet)


def _sharp(*places: float) -> list[float]:
    return [_SHARP * place for place in places]


def _text(draw: ImageDraw.ImageDraw, x: float, y: float, text: str, anchor: str) -> None:
    font = ImageFont.load_default(13 * _SHARP)
    draw.text((_SHARP * x, _SHARP * y), text, "#222222", font, anchor=anchor)


def _box(draw: ImageDraw.ImageDraw, *corners: float) -> None:
    draw.rectangle(_sharp(*corners), outline="#999999", width=1)


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: str) -> None:
    draw.ellipse(_sharp(x - radius, y - radius, x + radius, y + radius), colour)


def _legend(draw: ImageDraw.ImageDraw, names: Sequence[str], down: float) -> None:
    left = 12.0
    for name, colour in zip(names, COLOURS, strict=False):
        _dot(draw, left, down, 4, colour)
        _text(draw, left + 9, down, name, "lm")
        left += 30 + draw.textlength(name, ImageFont.load_default(13 * _SHARP)) / _SHARP


def _ends(arrays: Sequence[NDArray[Any]]) -> tuple[float, float]:
    everything = np.concatenate([np.ravel(each) for each in arrays])
    return float(everything.min()), float(everything.max())


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, at most six."""
    span = high - low or 1
    power = 10.0 ** math.floor(math.log10(span))
    step = next(part * power for part in (0.2, 0.5, 1, 2) if span / (part * power) < 6)
    return [k * step for k in range(math.ceil(low / step - 1e-9), int(high / step + 1e-9) + 1)]
