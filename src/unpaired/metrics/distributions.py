"""Distances between two sets of features: KID with its interval, FID.

Features are (n, width), one row an image, of any float type; they may be `np.memmap`, are read in
blocks, and all sums are taken in float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import DataError

__all__ = ["Interval", "fid", "kid", "least_like"]

Features = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]

_BLOCK = 1024  # rows at once: a block of a kernel matrix is 8 MiB
_NORMAL_95 = 1.959963984540054  # two-sided 95 % of the normal distribution


@dataclass(frozen=True)
class Interval:
    """A value and the 95 % interval around it."""

    value: float
    low: float
    high: float


def kid(x: Features, y: Features) -> Interval:
    """Kernel Inception Distance of two sets of features; unbiased, hence below 0 at times.

    Binkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", 2018: the squared maximum mean
    discrepancy with the kernel (a . b / width + 1)^3. It is the U-statistic over all n x m pairs,
    not a mean over subsets. It is usually shown times 1000; this is not.

    The interval is 1.96 standard errors each way, by the two-sample jackknife: each row of `x`,
    then of `y`, is omitted once (Arvesen, "Jackknifing U-statistics", 1969). Where both sets come
    from one distribution the statistic is degenerate, and the interval errs on the wide side. Rows
    count as independent: near-duplicates among the images make it too narrow.

    Raises:
        DataError: the widths differ, or there are fewer than 3 rows on a side.
    """
    _check_features(x, y, at_least=3, what="KID")
    n, m = len(x), len(y)
    within_x, within_y = _sums_within(x), _sums_within(y)
    across_x, across_y = _sums_across(x, y)
    total_x, total_y, total = within_x.sum(), within_y.sum(), across_x.sum()
    mean_x, mean_y = total_x / (n * (n - 1)), total_y / (m * (m - 1))
    value = float(mean_x + mean_y - 2 * total / (n * m))

    left_x = (total_x - 2 * within_x) / ((n - 1) * (n - 2)) + mean_y
    left_x -= 2 * (total - across_x) / ((n - 1) * m)
    left_y = (total_y - 2 * within_y) / ((m - 1) * (m - 2)) + mean_x
    left_y -= 2 * (total - across_y) / (n * (m - 1))
    half = _NORMAL_95 * float(np.sqrt((n - 1) * left_x.var() + (m - 1) * left_y.var()))
    return Interval(value, value - half, value + half)


def fid(x: Features, y: Features) -> float:
    """Fréchet Inception Distance of two sets of features; depends on n, and falls as n grows.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule...", 2017, equation 6:
    |m1 - m2|^2 + Tr(C1 + C2 - 2 sqrt(C1 C2)), covariances by n - 1. With any A such that A^T A = C,
    Tr sqrt(C1 C2) is the nuclear norm of A1 A2^T. Where n is at most the width, A is the centred
    rows over sqrt(n - 1): exact, and no larger than the features. Where n is above it, A comes from
    the eigenvectors of the covariance.

    Raises:
        DataError: the widths differ, or there are fewer than 2 rows on a side.
    """
    _check_features(x, y, at_least=2, what="FID")
    mean_x, root_x = _moments(x)
    mean_y, root_y = _moments(y)
    cross = float(np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum())
    shift = float(((mean_x - mean_y) ** 2).sum())
    spread = float((root_x**2).sum() + (root_y**2).sum())
    return max(0.0, shift + spread - 2 * cross)


def least_like(generated: Features, real: Features, count: int) -> NDArray[np.intp]:
    """Indices of the `count` generated images that are least like real ones, worst first.

    By the witness function of KID's kernel (Gretton et al., "A Kernel Two-Sample Test", 2012,
    section 2.3): the mean kernel with real images less that with the other generated ones.
    """
    across, _ = _sums_across(generated, real)
    witness = across / len(real) - _sums_within(generated) / max(len(generated) - 1, 1)
    return np.argsort(witness, kind="stable")[:count]


def _sums_within(x: Features) -> Floats:
    """(n,): for each row, the kernel summed over all other rows."""
    sums = np.zeros(len(x))
    for rows, a in _blocks(x):
        for columns, b in _blocks(x, rows.start):
            kernel = _kernel(a, b)
            if rows == columns:
                np.fill_diagonal(kernel, 0)
            else:
                sums[columns] += kernel.sum(axis=0)
            sums[rows] += kernel.sum(axis=1)
    return sums


def _sums_across(x: Features, y: Features) -> tuple[Floats, Floats]:
    """(n,) and (m,): the kernel of each row of `x` summed over `y`, and of `y` over `x`."""
    sums_x, sums_y = np.zeros(len(x)), np.zeros(len(y))
    for rows, a in _blocks(x):
        for columns, b in _blocks(y):
            kernel = _kernel(a, b)
            sums_x[rows] += kernel.sum(axis=1)
            sums_y[columns] += kernel.sum(axis=0)
    return sums_x, sums_y


def _kernel(a: Floats, b: Floats) -> Floats:
    base: Floats = a @ b.T / a.shape[1] + 1
    return base * base * base


def _blocks(x: Features, first: int = 0) -> Iterator[tuple[slice, Floats]]:
    for start in range(first, len(x), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(x)))
        yield rows, np.asarray(x[rows], np.float64)


def _moments(x: Features) -> tuple[Floats, Floats]:
    """The mean, (width,), and a root A of the covariance, A^T A: (min(n, width), width)."""
    n, width = x.shape
    mean: Floats = np.sum([block.sum(axis=0) for _, block in _blocks(x)], axis=0) / n
    if n <= width:
        return mean, (np.asarray(x, np.float64) - mean) / np.sqrt(n - 1)
    covariance = np.zeros((width, width))
    for _, block in _blocks(x):
        block = block - mean
        covariance += block.T @ block
    variances, axes = np.linalg.eigh(covariance / (n - 1))
    return mean, np.sqrt(np.maximum(variances, 0))[:, np.newaxis] * axes.T


def _check_features(x: Features, y: Features, *, at_least: int, what: str) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise DataError(f"cannot compare features of shapes {x.shape} and {y.shape}")
    if min(len(x), len(y)) < at_least:
        raise DataError(
            f"{what} needs at least {at_least} images on each side, not {len(x)} and {len(y)}"
        )
