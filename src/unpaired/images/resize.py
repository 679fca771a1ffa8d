"""The one resize in floating point: bicubic, antialiased, band by band."""

import numpy as np
import PIL.Image
from numpy.typing import NDArray

__all__ = ["resize"]


def resize(
    images: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32],
    size: tuple[int, int],
    limits: tuple[float, float],
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.float32]:
    """Resizes (..., height, width, bands) to (..., *size, bands) in float32.

    Pillow's bicubic filter, which widens as it shrinks, in floating point without rounding to
    levels: as Parmar, Zhang, Zhu, "On Aliased Resizing and Surprising Subtleties in GAN
    Evaluation", 2022, recommend. Images that have that size already keep their values.

    >>> stripes = np.tile(np.array([0, 200], np.uint8), (8, 4))[:, :, np.newaxis]
    >>> resize(stripes, (1, 1), limits=(0, 255)).tolist()
    [[[100.0]]]

    Args:
        size: (height, width) of the results.
        limits: smallest and largest value; what the filter overshoots beside edges is clipped.
        box: (left, top, right, bottom) of the region to resize, in pixels of `images`.
    """
    *count, height, width, bands = images.shape
    if box is None and (height, width) == size:
        return images.astype(np.float32)
    result = np.empty((*count, *size, bands), np.float32)
    for *index, band in np.ndindex(*count, bands):
        place = (*index, slice(None), slice(None), band)
        plane = PIL.Image.fromarray(np.ascontiguousarray(images[place], np.float32))
        resized = plane.resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC, box)
        result[place] = np.asarray(resized)
    return result.clip(*limits, out=result)
