"""Translations that nothing was trained for: what a model has to beat.

Images are uint8, (n, height, width, 3). The unpaired baselines know the training images of the
target domain and no pairs. The colour table is an oracle: it is fitted on the test pairs themselves
and shows how far a map from colour to colour can come.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import DataError
from unpaired.metrics.paired import Mask, TruthScores, score_against_truth

__all__ = [
    "BASELINES",
    "Baseline",
    "apply_colour_table",
    "colour_table",
    "fit_colour_table",
    "identity",
    "match_histograms",
    "mean_image",
    "reinhard",
    "score_baselines",
]

Floats = NDArray[np.float64]
Images8 = NDArray[np.uint8]

# Reinhard et al. 2001: RGB to cone responses (LMS), and their logarithms to l-alpha-beta.
_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LAB = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])

_TABLE_BITS = 5


def identity(sources: Images8, targets: Images8) -> Images8:
    """The sources as they are."""
    return sources


def reinhard(sources: Images8, targets: Images8) -> Images8:
    """Each source image with the colour mean and spread of all target images together.

    Reinhard, Ashikhmin, Gooch, Shirley, "Color transfer between images", 2001: per channel of the
    decorrelated logarithmic space l-alpha-beta.

    Raises:
        DataError: the images are not RGB.
    """
    if sources.shape[-1] != 3 or targets.shape[-1] != 3:
        raise DataError("Reinhard's colour transfer needs images of three bands (RGB)")
    labs = (_to_lab(image) for image in targets)
    moments = [(lab.mean(axis=(0, 1)), (lab**2).mean(axis=(0, 1))) for lab in labs]
    mean, mean_square = np.mean(moments, axis=0)
    spread = np.sqrt(mean_square - mean**2)
    result = np.empty_like(sources)
    for index, image in enumerate(sources):
        lab = _to_lab(image)
        own_spread = np.maximum(lab.std(axis=(0, 1)), 1e-6)
        result[index] = _from_lab((lab - lab.mean(axis=(0, 1))) * (spread / own_spread) + mean)
    return result


def match_histograms(sources: Images8, targets: Images8) -> Images8:
    """Each source image with the histogram of all target images together, band by band."""
    result = np.empty_like(sources)
    for band in range(sources.shape[-1]):
        goal = _cumulative(targets[..., band])
        present = np.flatnonzero(np.diff(goal, prepend=0))
        for index, image in enumerate(sources[..., band]):
            levels = np.interp(_cumulative(image), goal[present], present)
            result[index, ..., band] = _to_bytes(levels)[image]
    return result


def mean_image(sources: Images8, targets: Images8) -> Images8:
    """The mean of the target images, for every source.

    Raises:
        DataError: sources and targets are of different sizes.
    """
    if sources.shape[1:] != targets.shape[1:]:
        raise DataError(
            f"the mean image needs images of one size, not {sources.shape[1:]} "
            f"and {targets.shape[1:]}"
        )
    mean = _to_bytes(targets.mean(axis=0, dtype=np.float64))
    return np.broadcast_to(mean, sources.shape).copy()


def colour_table(sources: Images8, targets: Images8) -> Images8:
    """An oracle: every colour becomes the mean of the true colours at its pixels.

    It is fitted on `targets`, the true translations of `sources`. The table has 32 levels a band: a
    finer one follows the noise of a small test set, and scores higher where the domain's colours
    are a few levels apart.

    Raises:
        DataError: sources and targets are not pairs of RGB images of one size.
    """
    if sources.shape != targets.shape or sources.shape[-1] != 3:
        raise DataError(
            f"a colour table needs pairs of RGB images, not {sources.shape} and {targets.shape}"
        )
    return apply_colour_table(fit_colour_table([(sources, targets)]), sources)


def fit_colour_table(pairs: Iterable[tuple[Images8, Images8]]) -> Images8:
    """The mean true colour of each cell of colours, (32768, 3), of pairs of RGB images.

    Pairs are (..., height, width, 3) each, read once; a cell that no pixel is in is black.
    """
    cells = 1 << 3 * _TABLE_BITS
    counts, sums = np.zeros(cells), np.zeros((cells, 3))
    for sources, targets in pairs:
        places = _cells(sources).ravel()
        counts += np.bincount(places, minlength=cells)
        for band in range(3):
            weights = targets[..., band].ravel()
            sums[:, band] += np.bincount(places, weights=weights, minlength=cells)
    return _to_bytes(sums / np.maximum(counts, 1)[:, np.newaxis])


def apply_colour_table(table: Images8, sources: Images8) -> Images8:
    """Every pixel of the sources with the colour that the table has for its cell."""
    translated: Images8 = table[_cells(sources)]
    return translated


def _cells(images: Images8) -> NDArray[np.intp]:
    """The cell of each pixel in a table of 32 levels a band."""
    levels = images.astype(np.intp) >> (8 - _TABLE_BITS)
    cells: NDArray[np.intp] = levels @ np.array([1 << 2 * _TABLE_BITS, 1 << _TABLE_BITS, 1])
    return cells


@dataclass(frozen=True)
class Baseline:
    """A baseline and what it has to be given."""

    name: str
    translate: Callable[[Images8, Images8], Images8]
    """(sources, targets) -> translations."""
    uses_pairs: bool = False
    """Whether `targets` are the true translations of the sources, not other images."""


BASELINES: tuple[Baseline, ...] = (
    Baseline("identity", identity),
    Baseline("Reinhard colour transfer", reinhard),
    Baseline("histogram matching", match_histograms),
    Baseline("mean image of the target domain", mean_image),
    Baseline("oracle colour table, fitted on pairs", colour_table, uses_pairs=True),
)


def score_baselines(
    sources: Images8, truth: Images8, classes: Images8, pure: Mask, targets_train: Images8
) -> dict[str, TruthScores]:
    """Scores of all `BASELINES` by name, in one direction of a `seasons` test set.

    Args:
        sources, truth: the test pairs, (n, height, width, 3).
        classes, pure: see `score_against_truth`.
        targets_train: training images of the target domain, (m, height, width, 3).

    Raises:
        DataError: the shapes do not fit together.
    """
    scores = {}
    for baseline in BASELINES:
        translated = baseline.translate(sources, truth if baseline.uses_pairs else targets_train)
        scores[baseline.name] = score_against_truth(translated, truth, classes, pure)
    return scores


def _to_lab(image: Images8) -> Floats:
    """RGB to l-alpha-beta; black counts as the darkest level, as it has no logarithm."""
    lab: Floats = np.log10(np.maximum(image, 1) / 255 @ _LMS.T) @ _LAB.T
    return lab


def _from_lab(lab: Floats) -> Images8:
    lms = 10 ** (lab @ np.linalg.inv(_LAB).T)
    return _to_bytes(255 * lms @ np.linalg.inv(_LMS).T)


def _cumulative(band: Images8) -> Floats:
    """(256,): share of pixels at or below each level."""
    shares: Floats = np.cumsum(np.bincount(band.ravel(), minlength=256)) / band.size
    return shares


def _to_bytes(values: Floats) -> Images8:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
