"""Metrics of images against their true translations: PSNR, SSIM, accuracy; SAM, ERGAS, bias.

Those of photographs take uint8 images, (..., height, width, bands), and give a value an image.
Those of rasters take images of any number type and give a value, or one a band, over all pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import DataError

__all__ = [
    "band_bias",
    "band_rmse",
    "class_accuracy",
    "ergas",
    "psnr",
    "spectral_angle",
    "squared_error",
    "ssim",
    "within",
]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Uint8 = NDArray[np.uint8]
Raster = NDArray[Any]

_WINDOW = 7
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


# ---- photographs --------------------------------------------------------------------------


def squared_error(x: Uint8, y: Uint8) -> Floats:
    """Mean squared error of each image, in levels squared: shape (...).

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(x, y)
    error: Floats = np.mean((x.astype(np.float64) - y) ** 2, axis=(-3, -2, -1))
    return error


def psnr(x: Uint8, y: Uint8) -> Floats:
    """Peak signal-to-noise ratio of each image in dB, peak 255: shape (...).

    Equal images give infinity.

    Raises:
        DataError: the shapes differ.

    >>> image = np.full((8, 8, 3), 100, np.uint8)
    >>> round(float(psnr(image, image + 10)), 2)
    28.13
    """
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255**2 / squared_error(x, y)))


def ssim(x: Uint8, y: Uint8) -> Floats:
    """Structural similarity of each image, at most 1: shape (...).

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", 2004, equation 13, with the
    defaults of scikit-image: uniform windows of 7x7 wholly inside the image, sample covariance,
    each band by itself, and the mean over windows and bands.

    Raises:
        DataError: the shapes differ, or the images are below 7x7 pixels.
    """
    _check_shapes(x, y)
    height, width = x.shape[-3:-1]
    if min(height, width) < _WINDOW:
        raise DataError(
            f"SSIM needs images of at least {_WINDOW}x{_WINDOW} pixels, not {height}x{width}"
        )
    pairs = zip(x.reshape(-1, *x.shape[-3:]), y.reshape(-1, *x.shape[-3:]), strict=True)
    return np.array([_ssim_of_one(a, b) for a, b in pairs]).reshape(x.shape[:-3])


def within(x: Uint8, y: Uint8, levels: int) -> Mask:
    """Pixels with every band within `levels` of the other image's: (..., height, width).

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(x, y)
    near: Mask = np.all(np.abs(x.astype(np.int16) - y) <= levels, axis=-1)
    return near


def class_accuracy(
    correct: Mask, classes: Uint8, pure: Mask, names: Sequence[str]
) -> dict[str, float]:
    """Share of correct pixels by class, over pixels purely of it; a class without any is omitted.

    All arrays are (..., height, width); `classes` are indices into `names`.
    """
    pixels = np.bincount(classes[pure], minlength=len(names))
    hits = np.bincount(classes[pure & correct], minlength=len(names))
    counted = zip(names, hits, pixels, strict=True)
    return {name: float(hit / count) for name, hit, count in counted if count}


def _ssim_of_one(x: Uint8, y: Uint8) -> float:
    a, b = x.astype(np.int64), y.astype(np.int64)
    samples = _WINDOW**2
    # The sums are whole numbers, hence exact; nothing cancels before the divisions.
    sum_a, sum_b = _window_sums(a), _window_sums(b)
    unbiased = samples * (samples - 1)
    variance_a = (samples * _window_sums(a * a) - sum_a**2) / unbiased
    variance_b = (samples * _window_sums(b * b) - sum_b**2) / unbiased
    covariance = (samples * _window_sums(a * b) - sum_a * sum_b) / unbiased
    mean_a, mean_b = sum_a / samples, sum_b / samples
    likeness = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    likeness /= (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
    return float(np.mean(likeness))


def _window_sums(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums over all 7x7 windows: (height, width, bands) -> (height - 6, width - 6, bands)."""
    integral = np.pad(values, ((1, 0), (1, 0), (0, 0))).cumsum(axis=0).cumsum(axis=1)
    rows = integral[_WINDOW:] - integral[:-_WINDOW]
    sums: NDArray[np.int64] = rows[:, _WINDOW:] - rows[:, :-_WINDOW]
    return sums


def _check_shapes(x: NDArray[Any], y: NDArray[Any]) -> None:
    if x.shape != y.shape:
        raise DataError(f"cannot compare images of different shapes: {x.shape} and {y.shape}")


# ---- rasters ------------------------------------------------------------------------------


def band_bias(generated: Raster, truth: Raster, valid: Mask | None = None) -> Floats:
    """Mean of `generated` - `truth` of each band, in the raster's own units: (bands,).

    `valid`, (..., height, width), marks the pixels that count; None is all.

    Raises:
        DataError: the shapes differ, or no pixel is valid.
    """
    x, y = _valid_pixels(generated, truth, valid)
    bias: Floats = (x - y).mean(axis=0)
    return bias


def band_rmse(generated: Raster, truth: Raster, valid: Mask | None = None) -> Floats:
    """Root mean squared error of each band, in the raster's own units: (bands,).

    Arguments and errors as `band_bias`.
    """
    x, y = _valid_pixels(generated, truth, valid)
    rmse: Floats = np.sqrt(((x - y) ** 2).mean(axis=0))
    return rmse


def spectral_angle(generated: Raster, truth: Raster, valid: Mask | None = None) -> float:
    """Mean angle between generated and true spectra, in degrees, 0 to 180 (SAM).

    Kruse et al., "The Spectral Image Processing System", 1993. A pixel that is 0 in all bands has
    no direction and is omitted; where none is left the result is NaN. Arguments and errors as
    `band_bias`.
    """
    x, y = _valid_pixels(generated, truth, valid)
    lengths_x, lengths_y = (np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    defined = ((lengths_x > 0) & (lengths_y > 0))[:, 0]
    if not defined.any():
        return float("nan")
    x, y = x[defined] / lengths_x[defined], y[defined] / lengths_y[defined]
    # Exact where the arc cosine of the product is not: at angles near 0 and near 180.
    half = np.arctan2(np.linalg.norm(x - y, axis=1), np.linalg.norm(x + y, axis=1))
    return float(np.degrees(2 * half).mean())


def ergas(generated: Raster, truth: Raster, valid: Mask | None = None) -> float:
    """Relative dimensionless global error of synthesis, per cent, 0 where equal (ERGAS).

    Wald, "Quality of high resolution synthesised images: is there a simple criterion?", 2000:
    100 h/l sqrt(mean over bands of (RMSE / mean of the truth)^2), both of one resolution: h/l = 1.
    It is meaningful only for quantities with a true zero, such as reflectance, not for decibels or
    elevations. Infinite or NaN where a band's true mean is 0. Arguments and errors as `band_bias`.
    """
    means = _valid_pixels(generated, truth, valid)[1].mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = band_rmse(generated, truth, valid) / means
    return float(100 * np.sqrt((relative**2).mean()))


def _valid_pixels(generated: Raster, truth: Raster, valid: Mask | None) -> tuple[Floats, Floats]:
    """The valid pixels of both: (pixels, bands)."""
    _check_shapes(generated, truth)
    if valid is not None and valid.shape != generated.shape[:-1]:
        raise DataError(f"a mask of shape {valid.shape} does not fit an image of {generated.shape}")
    counted = np.ones(generated.shape[:-1], np.bool_) if valid is None else valid
    if not counted.any():
        raise DataError("cannot compare images of which no pixel is valid")
    return np.asarray(generated[counted], np.float64), np.asarray(truth[counted], np.float64)
