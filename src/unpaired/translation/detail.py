"""Carries the change that a network made at its working size to the image at its full size.

An enlarged translation is blurred: it has no more detail than the network saw. Here the change is
enlarged instead, and applied to the original, whose grain and edges stay.

The change is a local affine function of the colours, as in the guided filter (He, Sun, Tang,
"Guided Image Filtering", 2010; "Fast Guided Filter", He, Sun, 2015: fitted at the small size). In
each window of 3 x 3 pixels of the small image,

    change of band c  =  sum over bands k of gain[c, k] * colour[k]  +  offset[c]

by least squares with a ridge, averaged over the windows that hold a pixel. Where the colours
differ across an edge and their changes too, gains carry the edge to full size: no halo. Where the
image is flat the ridge leaves a plain offset, so grain keeps its strength. What the fit leaves of
the change is added to the offset: reduced again, the result has the network's colours. Gains and
offsets are enlarged by the bicubic filter.

All this happens on a scale that is stretched towards black and white, atanh(.9 x) for x in
[-1, 1]: a sum there stays in the range, nearly, so that textures are compressed near white rather
than cut off, and no change leaves a pixel what it is. docs/results.md has what was compared.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from unpaired.config import DomainFacts
from unpaired.errors import ConfigError
from unpaired.translation.strips import taps

__all__ = ["Change", "Detail", "require_detail"]

Detail = Literal["keep", "none"]
"""Of what is translated at a smaller size: keep the original's detail, or enlarge the result."""
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_STRETCH = np.float32(0.9)  # 1 is infinitely far; 0.9 puts black and white at -1.47 and 1.47
_RIDGE = 1e-2  # variance on the stretched scale: of 14 levels of 255 in mid-grey
_MOST_GUIDES = 4  # more bands than that are guided each by itself: windows hold too few pixels
_FIT_PIXELS = 2**15  # fitted at once
_BLOCK = 64  # columns enlarged by one small matrix product


def require_detail(detail: Detail | None, before: DomainFacts, after: DomainFacts) -> None:
    """Requires that detail can be kept between two domains, if it is to be.

    Raises:
        ConfigError: it is to be kept and their bands differ, or no such choice.
    """
    if detail not in ("keep", "none", None):
        raise ConfigError(f"--detail is {detail!r}: choose keep or none")
    if detail == "keep" and before.bands != after.bands:
        raise ConfigError(
            f"--detail keep is for domains of equal bands, and {before.name} has {before.bands} "
            f"where {after.name} has {after.bands}: give --detail none"
        )


@dataclass(frozen=True, eq=False)
class Change:
    """A network's change of an image, as planes at the working size.

    `planes` (bands, guides + 1, height, width): of each band its gains, one for each guiding band,
    and its offset. The guides are all bands or, of many, the band itself.
    """

    planes: Floats

    @classmethod
    def of(cls, small: Floats, translated: Floats) -> Self:
        """Fits the change from `small` to `translated`: (height, width, bands), in [-1, 1]."""
        height, width, bands = small.shape
        guides = bands if bands <= _MOST_GUIDES else 1
        colours = _stretched(np.moveaxis(small, 2, 0)).astype(np.float64)
        change = _stretched(np.moveaxis(translated, 2, 0)).astype(np.float64) - colours
        planes = np.empty((bands, guides + 1, height, width), np.float32)
        rows = max(_FIT_PIXELS // width, 1)
        for top in range(0, height, rows):
            part = slice(top, min(top + rows, height))
            if bands <= _MOST_GUIDES:
                planes[:, :, part] = _fit(colours, change, part)
            else:
                for band in range(bands):
                    one = slice(band, band + 1)
                    planes[one, :, part] = _fit(colours[one], change[one], part)
        return cls(planes)

    def apply(self, strip: Floats, top: int, size: tuple[int, int]) -> Floats:
        """Changes a strip of rows (rows, width, bands) of the original of `size`, from `top` down.

        The result is planar in memory, and does not depend on where strips begin.
        """
        rows, width, bands = strip.shape
        colours = _stretched(np.ascontiguousarray(np.moveaxis(strip, 2, 0)))
        result = np.empty((bands, rows, width), np.float32)
        for band in range(bands):
            small = _enlarged_rows(self.planes[band], top, rows, size[0])
            *gains, offset = _enlarged_columns(small, width)
            changed = np.add(colours[band], offset, out=result[band])
            guides = colours if len(gains) == bands else colours[band : band + 1]
            for gain, guide in zip(gains, guides, strict=True):
                gain *= guide
                changed += gain
        np.tanh(result, out=result)
        result /= _STRETCH
        return np.moveaxis(result, 0, 2)


def _stretched(signed: Floats) -> Floats:
    scaled = signed.clip(-1, 1)
    scaled *= _STRETCH
    result: Floats = np.arctanh(scaled, out=scaled)
    return result


# ---- the fit ------------------------------------------------------------------------------------


def _fit(guides: Doubles, change: Doubles, part: slice) -> Floats:
    """Fits the rows `part` of planes (bands, height, width): (bands, guides + 1, rows, width)."""
    near = _widened(part, guides.shape[1])  # the rows whose windows hold a pixel of these
    wide = _widened(near, guides.shape[1])
    gains = _regress(guides[:, wide], change[:, wide], _within(near, wide))
    gains = _mean(gains, _within(part, near))
    explained = np.einsum("bgyx,gyx->byx", gains, guides[:, part])
    planes = np.empty((len(change), len(guides) + 1, *explained.shape[1:]), np.float32)
    planes[:, :-1] = gains
    planes[:, -1] = change[:, part] - explained
    return planes


def _regress(x: Doubles, change: Doubles, rows: slice) -> Doubles:
    """Gains (bands, guides, rows, width) of the least squares in the window of each pixel."""
    count = len(x)
    mean = _mean(x, rows)
    # The covariances of the guides, of which the lower triangle is used, and with the change.
    matrix = {
        (i, j): _mean(x[i] * x[j], rows) - mean[i] * mean[j] + (_RIDGE if i == j else 0.0)
        for i in range(count)
        for j in range(i + 1)
    }
    mean_change = _mean(change, rows)
    gains = np.stack(
        [_mean(change * x[i], rows) - mean_change * mean[i] for i in range(count)], axis=1
    )
    # Gaussian elimination without pivots, which positive definite matrices do not need.
    for k in range(count):
        for i in range(k + 1, count):
            factor = matrix[i, k] / matrix[k, k]
            for j in range(k + 1, i + 1):
                matrix[i, j] -= factor * matrix[j, k]
            gains[:, i] -= factor * gains[:, k]
    for k in reversed(range(count)):
        for i in range(k + 1, count):
            gains[:, k] -= matrix[i, k] * gains[:, i]
        gains[:, k] /= matrix[k, k]
    return gains


def _mean(values: Doubles, rows: slice) -> Doubles:
    """Means of 3 x 3 pixels around those of `rows`; the borders are repeated outwards."""
    height = values.shape[-2]
    above, below = (
        np.arange(rows.start + by, rows.stop + by).clip(0, height - 1) for by in (-1, 1)
    )
    sums = values[..., rows, :] + values[..., above, :] + values[..., below, :]
    wide = np.concatenate([sums[..., :1], sums, sums[..., -1:]], axis=-1)
    return np.asarray((wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]) / 9)


def _widened(rows: slice, height: int) -> slice:
    return slice(max(rows.start - 1, 0), min(rows.stop + 1, height))


def _within(rows: slice, outer: slice) -> slice:
    return slice(rows.start - outer.start, rows.stop - outer.start)


# ---- enlarging ----------------------------------------------------------------------------------


def _enlarged_rows(planes: Floats, top: int, rows: int, height: int) -> Floats:
    """The rows from `top` of planes (..., small height, width) enlarged to `height`."""
    index, weights = taps(planes.shape[-2], height)
    here = slice(top, top + rows)
    parts = weights[here].astype(np.float32)
    result: Floats = planes[..., index[here, 0], :] * parts[:, :1]
    for tap in range(1, index.shape[1]):
        result += planes[..., index[here, tap], :] * parts[:, tap : tap + 1]
    return result


def _enlarged_columns(planes: Floats, width: int) -> Floats:
    """Enlarges (count, rows, small width) to (count, rows, width), by small matrix products.

    A block of columns depends on a few columns of the small image: a product with all taps at once
    takes a third of the time of gathering and adding them one by one. In fp64, for the rounding of
    a product depends on how many lines it has, which must not show in the result.
    """
    index, weights = _blocks(planes.shape[2], width)
    count, rows = planes.shape[:2]
    lines = count * rows
    taken = planes.reshape(lines, -1).astype(np.float64).take(index, axis=1)
    result = np.empty((lines, len(index), _BLOCK), np.float32)
    for block, matrix in enumerate(weights):
        result[:, block] = taken[:, block] @ matrix
    return result.reshape(count, rows, -1)[:, :, :width]


@lru_cache(maxsize=8)
def _blocks(small: int, large: int) -> tuple[NDArray[np.intp], Doubles]:
    """Of each block of columns the small columns it depends on, and their weights in each."""
    index, weights = taps(small, large)
    starts = range(0, large, _BLOCK)
    reach = max(int(np.ptp(index[start : start + _BLOCK])) + 1 for start in starts)
    columns = np.array([index[start : start + _BLOCK].min() + np.arange(reach) for start in starts])
    matrices = np.zeros((len(columns), reach, _BLOCK))
    block, place = (part[:, np.newaxis] for part in np.divmod(np.arange(large), _BLOCK))
    np.add.at(matrices, (block, index - columns[block, 0], place), weights)
    return columns.clip(0, small - 1), matrices
