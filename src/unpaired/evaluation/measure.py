"""The figures of one set of made images: against real ones of its domain, and against the truth.

Every set, of the model, of floors and of baselines, is measured by the same yardstick.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unpaired.evaluation.testset import CHUNK, Samples, Squares, to_rgb
from unpaired.features.extract import extract
from unpaired.features.seam import FeatureNetwork, PairDistance
from unpaired.metrics.distributions import band_bias, band_rmse, ergas, fid, kid, spectral_angle
from unpaired.metrics.metric import Metric, Value
from unpaired.metrics.paired import psnr, ssim, within
from unpaired.metrics.weightless import (
    colour_distance,
    describe,
    patch_distance,
    spectrum_distance,
)

__all__ = ["Yardstick", "figures_of", "least_like"]

SMALLEST = 16  # pixels a side, of the distances without weights

# Against real images of the target domain; the first that is there leads.
KID = Metric(
    "kid",
    "KID × 1000",
    "distance of the features of made images from those of real ones, over all pairs of "
    "images; unbiased, so about 0 where there is none, and below 0 at times; with its 95 % "
    "interval",
    "set",
    "lower",
    1,
    scale=1000,
)
COLOURS = Metric(
    "colours",
    "colours",
    "distance of the colours of all pixels from those of real images (sliced Wasserstein, "
    "CIELAB; levels, if not three bands)",
    "set",
    "lower",
    2,
)
PATCHES = Metric(
    "patches",
    "patches",
    "distance of textures: patches of 7 × 7 at several scales, brought to one contrast (sliced "
    "Wasserstein)",
    "set",
    "lower",
    3,
)
SPECTRUM = Metric(
    "spectrum", "spectrum", "difference of the mean power spectra, dB", "set", "lower", 2
)

# Against the true translation.
PSNR = Metric(
    "psnr",
    "PSNR",
    "peak signal-to-noise ratio in dB, mean over the images",
    "paired",
    "higher",
    2,
    full=30,
    unit="dB",
    noise=2.0,
)
SSIM = Metric(
    "ssim",
    "SSIM",
    "structural similarity in windows of 7 × 7, mean over the images",
    "paired",
    "higher",
    3,
    full=1,
)
RMSE = Metric("rmse", "RMSE", "root mean square error, levels of 255", "paired", "lower", 1)
LEVELS = {
    Metric(
        f"acc{levels}",
        f"acc{levels}",
        f"share of pixels with every channel within {levels} levels of the truth",
        "paired",
        "higher",
        3,
        full=1,
    ): levels
    for levels in (5, 10, 16)
}
COLOUR_PAIRS = (PSNR, SSIM, RMSE, *LEVELS)
LPIPS = Metric(
    "lpips",
    "LPIPS",
    "learned distance to the truth, mean over the images",
    "paired",
    "lower",
    3,
)
SAM = Metric(
    "sam", "SAM", "mean angle between made and true spectra, degrees", "paired", "lower", 2
)
ERGAS = Metric(
    "ergas",
    "ERGAS",
    "relative error over the bands, per cent, mean over the images where it is defined; for "
    "quantities with a true zero",
    "paired",
    "lower",
    1,
)


def fid_at(count: int) -> Metric:
    """FID depends on the number of images, so that stands in its name."""
    return Metric(
        "fid",
        f"FID (n = {count})",
        f"Fréchet distance of the features; it falls as n grows: compare it at n = {count} alone",
        "set",
        "lower",
        1,
    )


def figures_of(
    *,
    bands: Sequence[int],
    count: int,
    paired: bool,
    network: FeatureNetwork | None,
    lpips: PairDistance | None,
) -> list[Metric]:
    """The figures of an evaluation, the leading ones first.

    Args:
        bands: of the target domain of each direction; see `_by_colour` and `_by_band`.
        count: test images of the domain that has fewer.
        paired: whether the true translations are known.
        network, lpips: what there are weights for.
    """
    found: list[Metric] = []
    if paired and any(map(_by_colour, bands)):
        found += [*COLOUR_PAIRS, *([LPIPS] if lpips else [])]
    if paired and any(map(_by_band, bands)):
        most = max(filter(_by_band, bands))
        found += [*([SAM] if most > 1 else []), ERGAS, *_figures_of_bands(most)]
    if network:
        found += [KID, fid_at(count)]
    return [*found, COLOURS, PATCHES, SPECTRUM]


def _by_colour(bands: int) -> bool:
    """Whether there are figures of colour and grey images."""
    return bands in (1, 3)


def _by_band(bands: int) -> bool:
    """Whether each band has figures of its own. (A single one has no spectral angle.)"""
    return bands != 3


def _figures_of_bands(bands: int) -> list[Metric]:
    kinds = {
        "rmse": ("RMSE", "root mean square error of the band, in its own units"),
        "bias": (
            "|bias|",
            "distance of the band's mean from the true mean, in its own units",
        ),
    }
    return [
        Metric(f"{key}{band}", f"{name} of band {band}", meaning, "paired", "lower", 1)
        for band in range(1, bands + 1)
        for key, (name, meaning) in kinds.items()
    ]


class Yardstick:
    """Real images of a domain, described once, and what is made held against them."""

    def __init__(
        self,
        target: Squares,
        *,
        paired: bool,
        network: FeatureNetwork | None,
        lpips: PairDistance | None,
        progress: Callable[[int], object],
    ) -> None:
        """`progress` is told how many images more are done."""
        self.target, self.paired = target, paired
        self.network, self.lpips = network, lpips
        self.progress = progress
        self.side = max(target.samples.shape[1], SMALLEST)
        self.description = describe(self._views(target.chunks()), side=self.side)
        self.features = self._features(target.chunks())
        # Of what was measured last: its features, and PSNR of each image.
        self.made: NDArray[np.float32] | None = None
        self.psnrs: list[float] = []

    def measure(self, made: Squares, *, against_truth: bool) -> dict[str, Value]:
        """All figures of a set of images, by key.

        `against_truth`: image i of `made` is a translation whose truth is image i of the
        target; of floors it is not.
        """
        return self._of_set(made) | (self._of_pairs(made) if against_truth and self.paired else {})

    def _of_set(self, made: Squares) -> dict[str, Value]:
        description = describe(self._views(made.chunks()), side=self.side)
        values = {
            "colours": Value(colour_distance(description, self.description)),
            "patches": Value(patch_distance(description, self.description)),
            "spectrum": Value(spectrum_distance(description, self.description)),
        }
        self.made = self._features(made.chunks())
        if self.made is not None and self.features is not None:
            interval = kid(self.made, self.features)
            values["kid"] = Value(interval.value, interval.low, interval.high)
            values["fid"] = Value(fid(self.made, self.features))
        return values

    def _of_pairs(self, made: Squares) -> dict[str, Value]:
        bands = self.target.samples.shape[-1]
        values = self._of_colours(made) if _by_colour(bands) else {}
        return values | (self._of_bands(made) if _by_band(bands) else {})

    def _of_colours(self, made: Squares) -> dict[str, Value]:
        """As 8 bits; LPIPS sees a grey image as RGB."""
        sums: dict[str, list[float]] = {figure.key: [] for figure in (*COLOUR_PAIRS, LPIPS)}
        for x, y in zip(made.chunks(), self.target.chunks(), strict=True):
            x, y = to_rgb(x), to_rgb(y)
            sums["psnr"] += psnr(x, y).tolist()
            sums["ssim"] += ssim(x, y).tolist()
            sums["rmse"] += ((x.astype(np.float64) - y) ** 2).mean(axis=(1, 2, 3)).tolist()
            for figure, levels in LEVELS.items():
                sums[figure.key] += within(x, y, levels).mean(axis=(1, 2)).tolist()
            if self.lpips:
                sums["lpips"] += self.lpips.distance(x, y).tolist()
        self.psnrs = sums["psnr"]
        means = {key: float(np.mean(values)) for key, values in sums.items() if values}
        means["rmse"] = means["rmse"] ** 0.5
        return {key: Value(mean) for key, mean in means.items()}

    def _of_bands(self, made: Squares) -> dict[str, Value]:
        """Means over the images; errors of bands are taken over all pixels together."""
        angles, relatives, squares, biases = [], [], [], []
        for x, y in zip(made.chunks(), self.target.chunks(), strict=True):
            for one, other in zip(x, y, strict=True):
                angles.append(spectral_angle(one, other))
                relatives.append(ergas(one, other))
                squares.append(band_rmse(one, other) ** 2)
                biases.append(band_bias(one, other))
        values = {"ergas": Value(_defined_mean(relatives))}
        if len(squares[0]) > 1:
            values["sam"] = Value(_defined_mean(angles))
        errors, shifts = np.sqrt(np.mean(squares, axis=0)), np.abs(np.mean(biases, axis=0))
        for band, (error, shift) in enumerate(zip(errors, shifts, strict=True), start=1):
            values[f"rmse{band}"] = Value(float(error))
            values[f"bias{band}"] = Value(float(shift))
        return values

    def _features(self, chunks: Iterable[Samples]) -> NDArray[np.float32] | None:
        if self.network is None:
            return None
        return extract(self.network, self._counted(map(to_rgb, chunks)))

    def _views(self, chunks: Iterable[Samples]) -> Iterator[NDArray[np.uint8]]:
        """What the distances without weights look at: 8 bits, the bands as they are."""
        for chunk in chunks:
            yield np.asarray(chunk if chunk.dtype == np.uint8 else chunk >> 8, np.uint8)
            if self.network is None:
                self.progress(len(chunk))

    def _counted(self, chunks: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        for chunk in chunks:
            for image in chunk:
                yield image
                self.progress(1)


def _defined_mean(values: Sequence[float]) -> float:
    """The mean of the finite ones; NaN where there is none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def least_like(
    made: NDArray[np.float32], real: NDArray[np.float32], count: int
) -> NDArray[np.intp]:
    """The made images that are least like real ones, worst first.

    By the witness function of KID's kernel (Gretton et al., "A Kernel Two-Sample Test", 2012,
    section 2.3): the mean kernel with real images less that with the other made ones. Features
    are (n, width).
    """
    own = _kernel_sums(made, made)
    for start in range(0, len(made), CHUNK):  # without the image itself
        rows = np.asarray(made[start : start + CHUNK], np.float64)
        own[start : start + CHUNK] -= ((rows**2).mean(axis=1) + 1) ** 3
    witness = _kernel_sums(made, real) / len(real) - own / max(len(made) - 1, 1)
    return np.argsort(witness, kind="stable")[:count]


def _kernel_sums(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    """(len(x),): KID's kernel of each row of `x`, summed over `y`, a block at a time."""
    sums = np.zeros(len(x))
    for start in range(0, len(x), CHUNK):
        rows = np.asarray(x[start : start + CHUNK], np.float64)
        for first in range(0, len(y), CHUNK):
            others = np.asarray(y[first : first + CHUNK], np.float64)
            sums[start : start + CHUNK] += ((rows @ others.T / x.shape[1] + 1) ** 3).sum(axis=1)
    return sums
