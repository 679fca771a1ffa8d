"""Resizing by strips of rows: in floating point a whole image would be four times its size.

The filter is that of `images.resize`: Pillow's bicubic, antialiased. It treats columns first and
then rows, so what it needs of a large image is one strip, and the image with its small width.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import PIL.Image
from numpy.typing import NDArray

__all__ = ["each_strip", "enlarged", "shrunk", "strips", "taps"]

Floats = NDArray[np.float32]

_PIXELS = 2**16  # of a strip: what is computed of it stays in the cache of a core
_FEW = 8  # strips, and threads
_BICUBIC = PIL.Image.Resampling.BICUBIC


def strips(size: tuple[int, int]) -> Iterator[slice]:
    """The rows of an image of `size`, some at a time."""
    height, width = size
    rows = max(_PIXELS // width, 1)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def each_strip(size: tuple[int, int], do: Callable[[slice], None]) -> None:
    """Does something for the rows of every strip, in threads if there are many strips."""
    parts = list(strips(size))
    if len(parts) <= _FEW:
        for part in parts:
            do(part)
        return
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _FEW), thread_name_prefix="strips") as pool:
        for _ in pool.map(do, parts):
            pass


def shrunk(
    rows_of: Callable[[slice], Floats], original: tuple[int, int], size: tuple[int, int]
) -> Floats:
    """Resizes an image of `original` size to (*size, bands), clipped to [-1, 1].

    `rows_of` gives its rows of a slice, (rows, width, bands) in [-1, 1].
    """
    height, width = size
    bands = rows_of(slice(0, 1)).shape[2]
    narrow = np.empty((bands, original[0], width), np.float32)

    def narrow_strip(part: slice) -> None:
        strip = rows_of(part)
        for band in range(bands):
            narrow[band, part] = _resized(strip[:, :, band], (width, len(strip)))

    each_strip(original, narrow_strip)
    result = np.stack([_resized(plane, (width, height)) for plane in narrow], axis=2)
    return result.clip(-1, 1, out=result)


def enlarged(signed: Floats, size: tuple[int, int]) -> Callable[[slice], Floats]:
    """Resizes (height, width, bands) to a larger `size`: gives the rows of a slice, clipped."""
    height, width = size
    low, _, bands = signed.shape
    wide = [_resized(signed[:, :, band], (width, low)) for band in range(bands)]
    index, weights = taps(low, height)

    def rows_of(part: slice) -> Floats:
        result = np.empty((bands, part.stop - part.start, width), np.float32)
        for band, plane in enumerate(wide):
            # In float64, in the order in which Pillow adds.
            total = plane[index[part, 0]] * weights[part, :1]
            for tap in range(1, weights.shape[1]):
                total += plane[index[part, tap]] * weights[part, tap : tap + 1]
            result[band] = total
        return np.moveaxis(result.clip(-1, 1, out=result), 0, 2)

    return rows_of


@lru_cache(maxsize=8)
def taps(small: int, large: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The four pixels of a small side that each of a large one is made of, and their weights.

    Both are (large, 4). The bicubic filter of Keys, 1981, with a = -1/2, as in Pillow; what is
    outside the image has no weight.
    """
    centres = (np.arange(large) + 0.5) * (small / large)
    index = np.floor(centres - 0.5).astype(np.intp)[:, np.newaxis] + np.arange(-1, 3)
    x = np.abs(index - centres[:, np.newaxis] + 0.5)
    weights = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5)
    weights[(index < 0) | (index >= small)] = 0
    weights *= 1 / weights.sum(axis=1, keepdims=True)
    return index.clip(0, small - 1), weights


def _resized(plane: Floats, size: tuple[int, int]) -> Floats:
    """Resizes one band to (width, height), not clipped."""
    image = PIL.Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize(size, _BICUBIC))
