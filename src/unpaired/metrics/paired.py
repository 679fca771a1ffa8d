"""Scores of translated images against the truth: PSNR, SSIM, and the share of right pixels.

Images are uint8, (..., height, width, bands). PSNR and SSIM are of single images; the figure of
a set is their mean over the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import DataError
from unpaired.seasons.landscapes import CLASSES

__all__ = [
    "TruthScores",
    "accuracy_within",
    "psnr",
    "score_against_truth",
    "ssim",
    "within",
]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Images8 = NDArray[np.uint8]

_WINDOW = 7
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class TruthScores:
    """How near the translations of a test set come to its truth."""

    psnr: float
    """Mean over the images, dB; infinite if one is exact."""
    ssim: float
    """Mean over the images."""
    acc16: float
    """Share of all pixels with every band within 16 levels of the truth."""
    macro16: float
    """Mean of `per_class`, so a large sky cannot hide a lost lake; NaN where no pixel is pure."""
    per_class: dict[str, float]
    """`acc16` on the set's pixels purely of one class, for each class that has any."""


def psnr(x: Images8, y: Images8) -> Floats:
    """Peak signal-to-noise ratio in dB, peak 255, of each image: shape (...).

    Equal images have infinity.

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(x, y)
    error: Floats = np.mean((x.astype(np.float64) - y) ** 2, axis=(-3, -2, -1))
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255**2 / error))


def ssim(x: Images8, y: Images8) -> Floats:
    """Structural similarity of each image: shape (...).

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", 2004, equation 13, as scikit-image
    has it by default: uniform windows of 7x7 wholly inside the image, sample covariance, each
    band by itself, and the mean over windows and bands.

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


def within(x: Images8, y: Images8, levels: int) -> Mask:
    """Where every band of a pixel is within `levels` of the other's: (..., height, width).

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(x, y)
    near: Mask = np.all(np.abs(x.astype(np.int16) - y) <= levels, axis=-1)
    return near


def accuracy_within(x: Images8, y: Images8, levels: int) -> float:
    """Share of all pixels where every band is within `levels` of the truth, 0 to 1.

    Raises:
        DataError: the shapes differ.
    """
    return float(np.mean(within(x, y, levels)))


def score_against_truth(
    translated: Sequence[Images8] | Images8,
    truth: Sequence[Images8] | Images8,
    classes: Sequence[Images8] | Images8,
    pure: Sequence[Mask] | Mask,
) -> TruthScores:
    """Scores of a translated `seasons` test set.

    Args:
        translated, truth: N images each, (height, width, 3).
        classes: N class maps, (height, width), indices into `CLASSES`.
        pure: N masks, (height, width), of the pixels that are of one class only.

    Raises:
        DataError: there are no images, or their numbers or shapes differ.
    """
    if not len(translated) == len(truth) == len(classes) == len(pure) > 0:
        raise DataError(
            f"cannot score {len(translated)} translations against {len(truth)} images with "
            f"{len(classes)} class maps and {len(pure)} masks: give as many of each, at least one"
        )
    hits = np.zeros(len(CLASSES), np.int64)
    pixels = np.zeros(len(CLASSES), np.int64)
    psnrs, ssims, right = [], [], []
    for x, y, labels, mask in zip(translated, truth, classes, pure, strict=True):
        near = within(x, y, 16)
        psnrs.append(psnr(x, y))
        ssims.append(ssim(x, y))
        right.append(near.ravel())
        pixels += np.bincount(labels[mask], minlength=len(CLASSES))
        hits += np.bincount(labels[mask & near], minlength=len(CLASSES))
    per_class = {
        name: float(hit / count)
        for name, hit, count in zip(CLASSES, hits, pixels, strict=True)
        if count
    }
    return TruthScores(
        psnr=float(np.mean(psnrs)),
        ssim=float(np.mean(ssims)),
        acc16=float(np.mean(np.concatenate(right))),
        macro16=float(np.mean(list(per_class.values()))) if per_class else float("nan"),
        per_class=per_class,
    )


def _ssim_of_one(x: Images8, y: Images8) -> float:
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


def _check_shapes(x: Images8, y: Images8) -> None:
    if x.shape != y.shape:
        raise DataError(f"cannot compare images of different shapes: {x.shape} and {y.shape}")
