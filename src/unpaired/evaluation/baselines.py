"""Translations that need no training: what a model has to beat.

Unpaired baselines know training images of the target domain and no pairs. The colour table is an
oracle: it is fitted on the test pairs themselves and shows how far a map from colour to colour can
come. Each is a function that is fitted once and then applied to a few images at a time, (n, side,
side, bands).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unpaired.directions import Direction
from unpaired.errors import DataError
from unpaired.evaluation.testset import TestSet
from unpaired.images.disk_array import disk_array
from unpaired.images.image import from_signed, to_signed
from unpaired.metrics.image_set import ImageSet, Samples
from unpaired.report.report import MethodKind

__all__ = [
    "BASELINES",
    "Baseline",
    "Candidate",
    "baselines_of",
    "fit_colour_table",
    "fit_histograms",
    "fit_mean",
    "fit_reinhard",
    "unchanged",
]

Floats = NDArray[np.float64]
Uint8 = NDArray[np.uint8]
Apply = Callable[[Samples], Samples]

# Reinhard et al. 2001: RGB to cone responses (LMS), and their logarithms to l-alpha-beta.
_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LAB = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])

_TABLE_BITS = 5


@dataclass(frozen=True, eq=False)
class Candidate:
    """A method of a report in one direction: its name and its translations of the test images."""

    name: str
    kind: MethodKind
    note: str
    images: ImageSet


@dataclass(frozen=True)
class Baseline:
    """A baseline: which images it needs, and how it is fitted."""

    name: str
    kind: MethodKind
    fit: Callable[[TestSet, Direction], Apply | None]
    """None where bands, depth or data do not allow it."""
    note: str = ""


def baselines_of(tests: TestSet, direction: Direction) -> Iterator[Candidate]:
    """The baselines that bands, depth and data allow, one after the other."""
    sources, target = tests.sources(direction), tests.reference(direction)
    for baseline in BASELINES:
        apply = baseline.fit(tests, direction)
        if apply is None:
            continue
        images = sources
        if apply is not unchanged:
            shape = (*sources.samples.shape[:3], target.bands)
            samples, done = disk_array(shape, target.samples.dtype), 0
            for chunk in sources.chunks():
                samples[done : done + len(chunk)] = apply(chunk)
                done += len(chunk)
            images = ImageSet(samples, sources.names)
        yield Candidate(baseline.name, baseline.kind, baseline.note, images)


# ---- what is fitted -----------------------------------------------------------------------


def unchanged(sources: Samples) -> Samples:
    """The sources as they are."""
    return sources


def fit_reinhard(targets: Iterable[Uint8]) -> Apply:
    """Gives each image the colour mean and spread of all target images together.

    Reinhard, Ashikhmin, Gooch, Shirley, "Color transfer between images", 2001: per channel of the
    decorrelated logarithmic space l-alpha-beta. `targets` are batches of RGB images.
    """
    labs = (_to_lab(image) for batch in targets for image in batch)
    moments = [(lab.mean(axis=(0, 1)), (lab**2).mean(axis=(0, 1))) for lab in labs]
    mean, mean_square = np.mean(moments, axis=0)
    spread = np.sqrt(mean_square - mean**2)

    def apply(sources: Samples) -> Samples:
        result = np.empty_like(sources)
        for index, image in enumerate(sources):
            lab = _to_lab(image)
            own_spread = np.maximum(lab.std(axis=(0, 1)), 1e-6)
            result[index] = _from_lab((lab - lab.mean(axis=(0, 1))) * (spread / own_spread) + mean)
        return result

    return apply


def fit_histograms(targets: Iterable[Uint8]) -> Apply:
    """Gives each image the histogram of all target images together, band by band."""
    counts = sum(np.stack([_histogram(x[..., k]) for k in range(x.shape[-1])]) for x in targets)

    def apply(sources: Samples) -> Samples:
        result = np.empty_like(sources)
        for band, count in enumerate(np.atleast_2d(counts)):
            goal = _cumulative(count)
            present = np.flatnonzero(np.diff(goal, prepend=0))
            for index, image in enumerate(sources[..., band]):
                levels = np.interp(_cumulative(_histogram(image)), goal[present], present)
                result[index, ..., band] = _to_bytes(levels)[image]
        return result

    return apply


def fit_mean(targets: Samples) -> Apply:
    """Gives the mean of the target images for every source, whatever its bands and depth."""
    mean = np.rint(np.mean(targets, axis=0, dtype=np.float64)).astype(targets.dtype)
    return lambda sources: np.broadcast_to(mean, (len(sources), *mean.shape))


def fit_colour_table(pairs: Iterable[tuple[Uint8, Uint8]]) -> Apply:
    """An oracle: gives every colour the mean of the true colours at its pixels.

    `pairs` are batches of RGB images and their true translations. The table has 32 levels a band: a
    finer one follows the noise of a small test set, and scores higher where the domain's colours
    are a few levels apart. A colour that no source has becomes black.

    Raises:
        DataError: sources and targets are not pairs of RGB images of one size.
    """
    cells = 1 << 3 * _TABLE_BITS
    counts, sums = np.zeros(cells), np.zeros((cells, 3))
    for sources, targets in pairs:
        if sources.shape != targets.shape or sources.shape[-1] != 3:
            raise DataError(
                f"a colour table needs pairs of RGB images, not {sources.shape} and {targets.shape}"
            )
        places = _cells(sources).ravel()
        counts += np.bincount(places, minlength=cells)
        for band in range(3):
            weights = targets[..., band].ravel()
            sums[:, band] += np.bincount(places, weights=weights, minlength=cells)
    table = _to_bytes(sums / np.maximum(counts, 1)[:, np.newaxis])
    return lambda sources: table[_cells(sources)]


# ---- which of them an evaluation allows ---------------------------------------------------


def _identity(tests: TestSet, direction: Direction) -> Apply | None:
    """The sources as they are, in the depth of the target domain; needs equal bands."""
    sources, target = tests.sources(direction), tests.reference(direction)
    if sources.bands != target.bands:
        return None
    if sources.samples.dtype == target.samples.dtype:
        return unchanged
    return lambda x: from_signed(to_signed(x), 8 if target.samples.dtype == np.uint8 else 16)


def _of_8_bits(tests: TestSet, direction: Direction) -> int:
    """The bands of both domains, where they are equal and of 8 bits; else 0."""
    sources, target = tests.sources(direction), tests.reference(direction)
    small = sources.samples.dtype == target.samples.dtype == np.uint8
    return target.bands if small and sources.bands == target.bands else 0


def _reinhard(tests: TestSet, direction: Direction) -> Apply | None:
    known = tests.known(direction)
    return fit_reinhard(known.chunks()) if known and _of_8_bits(tests, direction) == 3 else None


def _histograms(tests: TestSet, direction: Direction) -> Apply | None:
    known = tests.known(direction)
    return fit_histograms(known.chunks()) if known and _of_8_bits(tests, direction) else None


def _mean(tests: TestSet, direction: Direction) -> Apply | None:
    known = tests.known(direction)
    return fit_mean(known.samples) if known else None


def _oracle(tests: TestSet, direction: Direction) -> Apply | None:
    if not tests.paired or _of_8_bits(tests, direction) != 3:
        return None
    sources, target = tests.sources(direction), tests.reference(direction)
    return fit_colour_table(zip(sources.chunks(), target.chunks(), strict=True))


BASELINES: tuple[Baseline, ...] = (
    Baseline("identity", "untouched", _identity),
    Baseline("Reinhard colour transfer", "baseline", _reinhard),
    Baseline("histogram matching", "baseline", _histograms),
    Baseline("mean image of the target domain", "baseline", _mean),
    Baseline(
        "oracle colour table, fitted on pairs", "oracle", _oracle, "uses pairs, 32 levels a band"
    ),
)

# ---- colours ------------------------------------------------------------------------------


def _cells(images: Uint8) -> NDArray[np.intp]:
    """The cell of each pixel in a table of 32 levels a band."""
    levels = images.astype(np.intp) >> (8 - _TABLE_BITS)
    cells: NDArray[np.intp] = levels @ np.array([1 << 2 * _TABLE_BITS, 1 << _TABLE_BITS, 1])
    return cells


def _to_lab(image: Uint8) -> Floats:
    """RGB to l-alpha-beta; black counts as the darkest level, as it has no logarithm."""
    lab: Floats = np.log10(np.maximum(image, 1) / 255 @ _LMS.T) @ _LAB.T
    return lab


def _from_lab(lab: Floats) -> Uint8:
    lms = 10 ** (lab @ np.linalg.inv(_LAB).T)
    return _to_bytes(255 * lms @ np.linalg.inv(_LMS).T)


def _histogram(band: Uint8) -> NDArray[np.intp]:
    """(256,): number of pixels of each level."""
    return np.bincount(band.ravel(), minlength=256)


def _cumulative(counts: NDArray[np.intp]) -> Floats:
    """(256,): share of pixels at or below each level."""
    shares: Floats = np.cumsum(counts) / counts.sum()
    return shares


def _to_bytes(values: Floats) -> Uint8:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
