"""Distances between two sets of images that need no weights: patches, colours, power spectrum.

`describe` reads a set once and keeps a summary of bounded size; the distances compare two of them.
They are never called FID or KID. All are at least 0, lower is better, and 0 for one set with itself
in any order: what is drawn from an image depends on its content and the seed, not on its position.

Two samples of one distribution have distances above 0 too, larger ones the fewer images they have:
a value means something only beside that of real images against equally many other real images.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import DataError
from unpaired.features.extract import each_image
from unpaired.images.resize import resize

__all__ = [
    "SMALLEST_SIDE",
    "Description",
    "colour_distance",
    "describe",
    "patch_distance",
    "patch_distances",
    "spectrum_distance",
    "to_cielab",
]

Floats = NDArray[np.float64]
Uint8Images = NDArray[np.uint8]
Rows = NDArray[np.float32]

_PATCH = 7
SMALLEST_SIDE = 16  # pixels a side, of images and of the last level of the pyramid
_PATCHES_EACH, _PATCHES = 64, 8192  # of an image and of a set, in each level
_PIXELS_EACH, _PIXELS = 256, 16384
_DIRECTIONS = 128
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_ROUNDING = 1 / 12  # variance of the rounding to levels: the floor of every spectrum


@dataclass(frozen=True, eq=False)
class Description:
    """A summary of a set of images."""

    side: int
    """Pixels a side at which patches and spectrum were taken."""
    count: int
    """Images in the set."""
    patches: tuple[Rows, ...]
    """7x7 patches of each level of the Laplacian pyramid, finest first: (k, 49, bands)."""
    colours: Rows
    """Colours of single pixels, (k, bands): CIELAB where there are three bands, else levels."""
    spectrum: Floats
    """Power by spatial frequency, dB, mean over the images: (radii,), radius 1 first."""


def describe(
    images: Iterable[Uint8Images],
    *,
    side: int,
    seed: int = 0,
) -> Description:
    """Reads a set of images once, in memory independent of their number.

    Of each image 64 patches in each level and 256 pixels are drawn; of those of the whole set
    8192 patches a level and 16384 pixels are kept, a random sample. Colours are taken from the
    images as they are; for patches and spectrum they are resized, antialiased, to `side` x `side`.

    Args:
        images: uint8, (height, width, bands) or (n, height, width, bands), of one number
            of bands.
        side: at least 16; the size at which the images are made.
        seed: of the random samples; compare descriptions of the same seed only.

    Raises:
        DataError: there are no images, one is not uint8, their bands differ, or `side` is small.
    """
    if side < SMALLEST_SIDE:
        raise DataError(f"images are compared at {SMALLEST_SIDE} pixels a side or more, not {side}")
    levels = 1 + int(np.log2(side / SMALLEST_SIDE))
    patches = [_Reservoir(_PATCHES) for _ in range(levels)]
    colours = _Reservoir(_PIXELS)
    rings = _Rings(side)
    count, bands = 0, 0
    for image in each_image(images):
        bands = bands or image.shape[-1]
        if image.shape[-1] != bands:
            raise DataError(f"a set has images of {bands} and of {image.shape[-1]} bands")
        rng = np.random.default_rng((seed, zlib.crc32(image.tobytes())))
        pixels = image.reshape(-1, bands)[rng.integers(0, image[..., 0].size, _PIXELS_EACH)]
        colours.add(_colours(pixels), rng)
        small = resize(image, (side, side), (0, 255))
        for sample, level in zip(patches, laplacian_pyramid(small, levels), strict=True):
            sample.add(_draw_patches(level, rng), rng)
        rings.add(small)
        count += 1
    if not count:
        raise DataError("there are no images to compare")
    kept = tuple(sample.rows() for sample in patches)
    return Description(side, count, kept, colours.rows(), rings.decibels())


def patch_distance(x: Description, y: Description) -> float:
    """Multi-scale sliced Wasserstein distance: the mean of `patch_distances` over the levels."""
    return float(np.mean(patch_distances(x, y)))


def patch_distances(x: Description, y: Description) -> tuple[float, ...]:
    """Sliced Wasserstein distance of the patches of each level, finest first.

    Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs", 2018, section 5: 7x7 patches of a
    Laplacian pyramid, each set and band brought to mean 0 and deviation 1, so that it is texture
    that is compared and not colour or contrast; then the mean over random directions of the
    Wasserstein-1 distance of the projections, in deviations of a band. Not times 1000.

    Raises:
        DataError: the descriptions are of different sizes or bands.
    """
    _check_alike(x, y)
    return tuple(
        _sliced_wasserstein(_normalised(a), _normalised(b))
        for a, b in zip(x.patches, y.patches, strict=True)
    )


def colour_distance(x: Description, y: Description) -> float:
    """Sliced Wasserstein distance of the colours of all pixels, regardless of position.

    In CIELAB (D65, from sRGB) for three bands, else in levels. A shift of all colours by d gives
    about d / 2, the mean of |d . u| over directions u. Raises as `patch_distances`.
    """
    _check_alike(x, y)
    return _sliced_wasserstein(x.colours, y.colours)


def spectrum_distance(x: Description, y: Description) -> float:
    """Root mean square difference of the mean log power spectra over spatial frequencies, in dB.

    The spectrum of an image is that of the mean of its bands, less its mean, under a Hann window;
    the power is averaged over rings of one pixel, out to the corner (a checkerboard is at the
    corner), and the rounding to 8 bits is its floor. Raises as `patch_distances`.
    """
    _check_alike(x, y)
    return float(np.sqrt(np.mean((x.spectrum - y.spectrum) ** 2)))


def to_cielab(rgb: NDArray[Any]) -> Floats:
    """sRGB in levels of 255, (..., 3), to CIELAB under D65 (CIE 15): L 0 to 100, a, b around 0."""
    levels = rgb / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    relative = linear @ (_XYZ / _WHITE[:, np.newaxis]).T
    cube = np.where(
        relative > (6 / 29) ** 3, np.cbrt(relative), relative * (29 / 6) ** 2 / 3 + 4 / 29
    )
    x, y, z = np.moveaxis(cube, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


# IEC 61966-2-1: linear sRGB to XYZ; and the white of D65, 2 degrees.
_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def laplacian_pyramid(image: NDArray[np.float32], levels: int) -> list[NDArray[np.float32]]:
    """Bands of detail, finest first, and what is left as the last: (height, width, bands) each.

    Burt, Adelson, "The Laplacian pyramid as a compact image code", 1983: 1 4 6 4 1, mirrored
    borders; each level has half the pixels a side of the one before, rounded up.
    """
    result = []
    for _ in range(levels - 1):
        smaller = _blur(image)[::2, ::2]
        spread = np.zeros_like(image)
        spread[::2, ::2] = 4 * smaller
        result.append(image - _blur(spread))
        image = smaller
    return [*result, image]


# ---- summaries of a set ----------------------------------------------------------------


@dataclass
class _Reservoir:
    """A reservoir sample: at most `room` of all rows added, each with the same chance."""

    room: int
    keys: list[Floats] = field(default_factory=list)
    kept: list[Rows] = field(default_factory=list)
    held: int = 0

    def add(self, rows: NDArray[np.floating[Any]], rng: np.random.Generator) -> None:
        self.keys.append(rng.random(len(rows)))
        self.kept.append(rows.astype(np.float32))
        self.held += len(rows)
        if self.held >= 2 * self.room:
            self._thin()

    def rows(self) -> Rows:
        """The rows with the smallest random keys, by key."""
        self._thin()
        return self.kept[0]

    def _thin(self) -> None:
        keys = np.concatenate(self.keys)
        chosen = np.argsort(keys, kind="stable")[: self.room]
        self.keys, self.kept = [keys[chosen]], [np.concatenate(self.kept)[chosen]]
        self.held = len(chosen)


class _Rings:
    """The running mean of the log power spectra of images of one size."""

    def __init__(self, side: int) -> None:
        frequency = np.fft.fftfreq(side, 1 / side)
        radius = np.rint(np.hypot(frequency[:, np.newaxis], frequency)).astype(np.intp)
        self.rings = radius.ravel()
        self.sizes = np.bincount(self.rings)
        hann = np.hanning(side + 2)[1:-1]
        self.window = np.outer(hann, hann)
        self.floor = _ROUNDING * (self.window**2).sum()
        self.total = np.zeros(len(self.sizes))
        self.count = 0

    def add(self, image: NDArray[np.float32]) -> None:
        grey = image.mean(axis=-1, dtype=np.float64)
        power = np.abs(np.fft.fft2((grey - grey.mean()) * self.window)) ** 2
        rings = np.bincount(self.rings, weights=power.ravel()) / self.sizes
        self.total += 10 * np.log10(rings + self.floor)
        self.count += 1

    def decibels(self) -> Floats:
        spectrum: Floats = (self.total / self.count)[1:]
        return spectrum


def _draw_patches(level: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """(64, 49, bands), from anywhere wholly inside the level."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (_PATCH, _PATCH), axis=(0, 1))
    rows, columns = (rng.integers(0, size, _PATCHES_EACH) for size in windows.shape[:2])
    drawn = windows[rows, columns]  # (64, bands, 7, 7)
    return drawn.reshape(*drawn.shape[:2], -1).swapaxes(1, 2)


def _colours(pixels: Uint8Images) -> NDArray[np.floating[Any]]:
    return to_cielab(pixels) if pixels.shape[-1] == 3 else pixels.astype(np.float32)


def _blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    rows, result = np.zeros_like(padded[:height]), np.zeros_like(image)
    for k, weight in enumerate(_BINOMIAL):
        rows += np.float32(weight) * padded[k : k + height]
    for k, weight in enumerate(_BINOMIAL):
        result += np.float32(weight) * rows[:, k : k + width]
    return result


# ---- distances between two clouds of points -----------------------------------------------


def _normalised(patches: Rows) -> Rows:
    """(k, 49, bands) to (k, 49 * bands), each band of mean 0 and deviation 1 over the set."""
    mean = patches.mean(axis=(0, 1), dtype=np.float64)
    deviation = patches.std(axis=(0, 1), dtype=np.float64)
    normal: Floats = (patches - mean) / np.maximum(deviation, 1e-6)
    return normal.reshape(len(patches), -1).astype(np.float32)


def _sliced_wasserstein(x: Rows, y: Rows) -> float:
    """Mean Wasserstein-1 distance of the projections of (n, d) and (m, d) on fixed directions.

    The directions are drawn once for each d, from a seed. n and m may differ: the distribution
    functions are compared where either has a step.
    """
    directions = np.random.default_rng(x.shape[1]).standard_normal((x.shape[1], _DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    n, m = len(x), len(y)
    # In steps of 1 / (n m) the places of both grids are whole numbers.
    steps = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    at_x, at_y, weights = steps[:-1] // m, steps[:-1] // n, np.diff(steps) / (n * m)
    total = 0.0
    for some in np.array_split(directions.T.astype(np.float32), _DIRECTIONS // 16):
        sorted_x, sorted_y = np.sort(some @ x.T), np.sort(some @ y.T)
        difference = np.abs(sorted_x[:, at_x] - sorted_y[:, at_y])
        total += float((difference @ weights).sum())
    return total / _DIRECTIONS


def _check_alike(x: Description, y: Description) -> None:
    if x.side != y.side or x.colours.shape[1] != y.colours.shape[1]:
        raise DataError(
            f"cannot compare images of {x.side} px and {x.colours.shape[1]} bands with images "
            f"of {y.side} px and {y.colours.shape[1]} bands"
        )
