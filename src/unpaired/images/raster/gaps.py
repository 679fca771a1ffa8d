"""Pixels without data filled from those near them, the same whatever window is read."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["GAP_BLOCK", "filled"]

GAP_BLOCK = 64
"""Pixels: the largest square from which pixels that are not valid are filled."""


def filled(signed: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A copy of (height, width, bands) where pixels that are not valid have means of those near.

    They get the mean of the valid ones in the smallest of the squares of 4, 16 and 64 pixels
    around them that has any, else 0. The squares are aligned to the upper left corner of the array.

    >>> row = np.array([[[0.5], [0.3], [9.0], [9.0]]], np.float32)
    >>> filled(row, np.array([[True, True, False, False]])).round(2).tolist()
    [[[0.5], [0.30000001192092896], [0.4000000059604645], [0.4000000059604645]]]
    """
    result = np.where(valid[..., np.newaxis], signed, np.float32(0))
    missing = ~valid
    height, width = valid.shape
    pads = (0, -height % GAP_BLOCK), (0, -width % GAP_BLOCK)
    sums = np.pad(result, (*pads, (0, 0)))
    counts = np.pad(valid.astype(np.float32), pads)
    for side in (4, 16, 64):
        sums, counts = _summed(sums), _summed(counts)
        means = sums / np.maximum(counts, 1)[..., np.newaxis]
        rows, columns = np.nonzero(missing)
        near = counts[rows // side, columns // side] > 0
        rows, columns = rows[near], columns[near]
        result[rows, columns] = means[rows // side, columns // side]
        missing[rows, columns] = False
    return result


def _summed(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums over squares of 4 x 4."""
    height, width, *rest = array.shape
    summed: NDArray[np.float32] = array.reshape(height // 4, 4, width // 4, 4, *rest).sum((1, 3))
    return summed
