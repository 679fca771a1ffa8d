"""What is kept of one raster: its kind and place, some of its values, and where it has data.

A scene may be larger than memory, so it is read in parts, each once.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.images.formats import Reading
from unpaired.images.raster.geo import Geo, Window
from unpaired.images.raster.scene import OpenRaster, open_scene

__all__ = ["RasterLook", "cells_of", "centred", "look_at_raster", "tiles_of"]

_PART = 2**22  # samples read at once
_VALUES = 2**20  # pixels whose values are kept of a scene, at most


@dataclass(frozen=True, eq=False)
class RasterLook:
    """What is kept of one raster."""

    dtype: str
    geo: Geo
    size: tuple[int, int]
    values: NDArray[np.floating[Any]] = field(repr=False)
    """(k, bands): values of valid pixels, spread over all of it."""
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    """Of the valid pixels of each band; empty where there is none."""
    invalid: float
    """Share of pixels without data."""
    cells: tuple[tuple[Window, float], ...] = field(repr=False)
    """The parts that crops are drawn in, and the invalid share of the crop in their middle."""
    block: tuple[int, int]
    digest: bytes

    @property
    def slow(self) -> bool:
        """Whether a crop reads far more than itself: stored in rows of a large scene."""
        height, width = self.block
        return min(self.size) >= 4096 and (width >= 4096 or height >= 4096)


def look_at_raster(
    path: Path, reading: Reading, crop: int | None, most: int = _VALUES
) -> RasterLook:
    """Reads a raster once, in parts, and keeps the values of at most about `most` pixels.

    Raises:
        ImageError, MissingExtra: see `open_scene`; or a part of it is damaged.
    """
    with open_scene(path, reading.bands, reading.alpha) as scene:
        side = 2 * crop if crop else 512
        digest = hashlib.blake2b(f"{scene.size} {scene.dtype}".encode(), digest_size=16)
        values, cells = [], []
        pixels = scene.size[0] * scene.size[1]
        every = -(-pixels // min(most, _VALUES))
        kept = np.float64 if scene.dtype == "int32" else np.float32
        low = np.full(len(scene.bands), np.inf)
        high, invalid = -low, 0
        for part, inner in _parts(scene, side):
            image = scene.read(part)
            digest.update(np.ascontiguousarray(image.pixels).data)
            valid = np.ones(part.size, np.bool_) if image.valid is None else image.valid
            good = image.pixels[valid]
            if len(good):
                low, high = np.minimum(low, good.min(axis=0)), np.maximum(high, good.max(axis=0))
                values.append(good[every // 2 :: every].astype(kept))
            invalid += valid.size - len(good)
            for cell in inner:
                middle = centred(cell, crop or side)
                top, left = middle.top - part.top, middle.left - part.left
                there = valid[top : top + middle.height, left : left + middle.width]
                cells.append((cell, 1 - float(there.mean())))
        found = np.isfinite(low).all()
        return RasterLook(
            dtype=scene.dtype,
            geo=scene.geo,
            size=scene.size,
            values=np.concatenate(values) if values else np.empty((0, len(scene.bands))),
            lowest=tuple(low.tolist()) if found else (),
            highest=tuple(high.tolist()) if found else (),
            invalid=invalid / pixels,
            cells=tuple(cells),
            block=scene.block,
            digest=digest.digest(),
        )


def tiles_of(path: Path, reading: Reading, side: int, invalid: float) -> list[Window]:
    """The cells of a raster of at least `side` pixels whose middle has data enough.

    Raises:
        ImageError, MissingExtra: see `open_scene`; or a part of it is damaged.
    """
    with open_scene(path, reading.bands, reading.alpha) as scene:
        found = []
        for cell in (cell for row in cells_of(scene.size, side) for cell in row):
            if min(cell.size) < side:
                continue
            valid = scene.read(centred(cell, side)).valid
            if valid is None or 1 - float(valid.mean()) <= invalid:
                found.append(cell)
        return found


def cells_of(size: tuple[int, int], side: int) -> list[list[Window]]:
    """Divides (height, width) into rows of cells of at least `side` pixels where that fits.

    >>> [[cell.width for cell in row] for row in cells_of((8, 30), 10)]
    [[10, 10, 10]]
    """
    rows, columns = (_edges(length, side) for length in size)
    return [
        [Window(top, left, bottom - top, right - left) for left, right in columns]
        for top, bottom in rows
    ]


def centred(cell: Window, side: int) -> Window:
    """The square in the middle of a cell, of at most `side` pixels."""
    height, width = min(cell.height, side), min(cell.width, side)
    top, left = (cell.height - height) // 2, (cell.width - width) // 2
    return Window(top, left, height, width).within(cell)


def _edges(length: int, side: int) -> list[tuple[int, int]]:
    count = max(length // side, 1)
    edges = [length * index // count for index in range(count + 1)]
    return list(pairwise(edges))


def _parts(scene: OpenRaster, side: int) -> Iterator[tuple[Window, list[Window]]]:
    """Parts of some million samples that cover the scene, and the cells in each."""
    for row in cells_of(scene.size, side):
        together = max(_PART // (row[0].height * row[0].width * len(scene.bands)), 1)
        for start in range(0, len(row), together):
            cells = row[start : start + together]
            width = cells[-1].left + cells[-1].width - cells[0].left
            yield Window(cells[0].top, cells[0].left, cells[0].height, width), cells
