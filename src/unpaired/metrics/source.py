"""Metrics of generated images against their own sources: how much changed, what content is kept.

Two failures are invisible to distances of sets: a generator that does nothing, and one that blurs
or replaces what it is shown. All functions take batches (..., height, width, bands) in levels of
255 (see `to_levels`) and give a value an image, shape (...). Where the numbers of bands differ,
the luminance of both is compared.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import DataError
from unpaired.images.image import luminance
from unpaired.metrics.weightless import to_cielab

__all__ = ["HARDLY", "blobs", "change", "colour_change", "content_kept", "contrast", "to_levels"]

Floats = NDArray[np.float64]
Levels = NDArray[Any]
"""Levels of 255, of any number type."""

HARDLY = 0.04
"""A mean change below this share of the sources' contrast counts as none.

Photographs of Yosemite have a contrast of 68 levels of 255, so this is 2.7 levels: saving them as a
JPEG of quality 95 changes them by 2.7 to 3.0 (at 64 and 128 px). A share, since images may use a
small part of their range, as 16-bit rasters do."""
_BLOB = 40  # levels of 255 that the place of a blob changes by, on average
_APART = 3  # times that is more than nine in ten places of its image do
_FLAT = 1e-12  # levels squared: the gradients of an image that is constant up to rounding errors


def to_levels(samples: NDArray[np.uint8 | np.uint16]) -> Floats:
    """Samples of 8 or 16 bits in levels of 255.

    >>> to_levels(np.array([0, 65535], np.uint16)).tolist()
    [0.0, 255.0]
    """
    levels = samples.astype(np.float64)
    if samples.dtype == np.uint16:
        levels /= 257
    return levels


def change(generated: Levels, source: Levels) -> Floats:
    """Mean absolute difference from the source, in levels of 255: 0 where nothing changed.

    Raises:
        DataError: the sizes differ.

    >>> image = np.full((8, 8, 3), 100)
    >>> float(change(image + [0, 3, -6], image))
    3.0
    """
    x, y = _comparable(generated, source)
    difference: Floats = np.abs(x - y).mean(axis=(-3, -2, -1))
    return difference


def colour_change(generated: Levels, source: Levels) -> Floats:
    """Mean colour difference from the source: CIE 1976, delta E, under D65; about 2.3 is just seen.

    Raises:
        DataError: the sizes differ, or the images are not sRGB of three bands.

    >>> white, black = np.full((8, 8, 3), 255), np.zeros((8, 8, 3))
    >>> round(float(colour_change(black, white)), 2)
    100.0
    """
    if generated.shape[-1] != 3 or source.shape[-1] != 3:
        bands = f"{generated.shape[-1]} and {source.shape[-1]}"
        raise DataError(f"colour differences are of images of three bands, not of {bands}")
    x, y = _comparable(generated, source)
    difference: Floats = np.linalg.norm(to_cielab(x) - to_cielab(y), axis=-1).mean(axis=(-2, -1))
    return difference


def content_kept(generated: Levels, source: Levels) -> Floats:
    """Correlation of the luminance gradients with those of the source, from -1 to 1.

    Of forward differences a (generated) and b (source) in both axes: sum(ab) / sqrt(sum(aa)
    sum(bb)). Brightness, contrast and tint do not count. 1 where all edges are kept, about 0 of an
    unrelated image, -1 of an inverted one; a photograph blurred by a Gaussian of 1 or 2 pixels has
    .75 or .48. NaN where the source is flat, which has no content; 0 where the generated image
    alone is.

    Raises:
        DataError: the sizes differ.

    >>> image = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    >>> [round(float(content_kept(x, image)), 6) for x in (image / 2 + 9, 255 - image, 0 * image)]
    [1.0, -1.0, 0.0]
    """
    _check_sizes(generated, source)
    a, b = (_gradients(luminance(images.astype(np.float64))) for images in (generated, source))
    ab, aa, bb = ((x * y).sum(axis=(0, -2, -1)) for x, y in ((a, b), (a, a), (b, b)))
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(aa > _FLAT, ab / np.sqrt(aa * bb), 0.0)
    return np.where(bb > _FLAT, kept, np.nan)


def blobs(generated: Levels, source: Levels) -> Floats:
    """1 where an image has a blob: one place changed far more than the rest; 0 where it has none.

    A place is a square of a thirteenth of the shorter side, of 3 pixels at least. It is a blob
    where its mean absolute difference from the source is above 40 levels of 255, and above three
    times that (plus one level) which nine in ten places stay below. Instance norms grow such places
    (Karras et al., "StyleGAN 2", arXiv 1912.04958, figure 1). Where a translation changes images
    everywhere, none is found. Too small an image for a place has none.

    Raises:
        DataError: the sizes differ.

    >>> image = np.zeros((32, 32, 1))
    >>> image[4:10, 0:6] = 90
    >>> float(blobs(image, 0 * image)), float(blobs(image + 60, 0 * image))
    (1.0, 0.0)
    """
    x, y = _comparable(generated, source)
    side = max(3, min(x.shape[-3:-1]) // 13)
    if side > min(x.shape[-3:-1]):
        return np.zeros(x.shape[:-3])
    sums = np.abs(x - y).mean(axis=-1)
    for axis in (-2, -1):  # sums over windows, one axis after the other
        edge = [(0, 0)] * sums.ndim
        edge[axis] = (1, 0)
        total = np.moveaxis(np.pad(sums, edge).cumsum(axis=axis), axis, -1)
        sums = np.moveaxis(total[..., side:] - total[..., :-side], -1, axis)
    places = (sums / side**2).reshape(*sums.shape[:-2], -1)
    greatest, most = places.max(axis=-1), np.quantile(places, 0.9, axis=-1)
    found: Floats = ((greatest > _BLOB) & (greatest > _APART * (most + 1))).astype(np.float64)
    return found


def contrast(batches: Iterable[Levels]) -> float:
    """Contrast of a set of images of one size, in levels of 255: the standard deviation of all
    samples around the mean of their band; 0 of no images. Reads them once.

    >>> contrast([np.array([0, 200]).reshape(1, 1, 2, 1)])
    100.0
    """
    count, sums, squares = 0, np.zeros(1), np.zeros(1)
    for batch in batches:
        rows = batch.reshape(-1, batch.shape[-1]).astype(np.float64)
        count += len(rows)
        sums, squares = sums + rows.sum(axis=0), squares + (rows**2).sum(axis=0)
    variances = squares / max(count, 1) - (sums / max(count, 1)) ** 2
    return float(np.sqrt(max(0.0, variances.mean())))


def _comparable(generated: Levels, source: Levels) -> tuple[Floats, Floats]:
    """Both in float64, and as luminance where their numbers of bands differ."""
    _check_sizes(generated, source)
    x, y = generated.astype(np.float64), source.astype(np.float64)
    if x.shape[-1] == y.shape[-1]:
        return x, y
    return luminance(x)[..., np.newaxis], luminance(y)[..., np.newaxis]


def _gradients(grey: Floats) -> Floats:
    """Forward differences to the right and downwards: (..., H, W) to (2, ..., H - 1, W - 1)."""
    corner = grey[..., :-1, :-1]
    return np.stack([grey[..., :-1, 1:] - corner, grey[..., 1:, :-1] - corner])


def _check_sizes(x: Levels, y: Levels) -> None:
    if x.shape[:-1] != y.shape[:-1]:
        raise DataError(f"cannot compare images of {x.shape} with sources of {y.shape}")
