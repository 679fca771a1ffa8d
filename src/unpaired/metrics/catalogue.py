"""All metrics: one value each. Adding one takes an entry here (and its formula, beside its kind).

`metrics_for` chooses those that an evaluation can have.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from unpaired.features.seam import FeatureNetwork, PairDistance
from unpaired.metrics.distributions import fid, kid
from unpaired.metrics.image_set import ImageSet, Samples, to_rgb
from unpaired.metrics.metric import Compute, Metric, Value
from unpaired.metrics.paired import (
    band_bias,
    band_rmse,
    class_accuracy,
    ergas,
    psnr,
    spectral_angle,
    squared_error,
    ssim,
    within,
)
from unpaired.metrics.source import HARDLY, blobs, change, colour_change, content_kept, to_levels
from unpaired.metrics.weightless import colour_distance, patch_distance, spectrum_distance

__all__ = ["CYCLES", "ClassMaps", "metrics_for"]

ClassMaps = tuple[NDArray[np.uint8], NDArray[np.bool_], Sequence[str]]
"""Classes and pixels purely of one class, (n, side, side) each; names of the classes."""

Floats = NDArray[np.float64]


def metrics_for(
    *,
    bands: Sequence[int],
    count: int,
    paired: bool,
    network: FeatureNetwork | None,
    lpips: PairDistance | None,
    classes: ClassMaps | None = None,
    native: bool = False,
) -> list[Metric]:
    """The metrics of an evaluation; of each kind the leading one first.

    Args:
        bands: bands of the target domain of each direction; metrics of kind "source" apply where
            those of the source domain allow it, too.
        count: test images of the domain that has fewer.
        paired: whether the true translations are known.
        network, lpips: pretrained networks, where there are weights.
        classes: class maps of the test images, where they are known.
        native: whether images are rasters in values of their own.
    """
    found = [PSNR, SSIM, RMSE, *ACCURACIES] if paired else []
    if paired and lpips:
        found.append(_lpips(lpips))
    if paired and classes:
        found.append(_macro_accuracy(classes))
    if paired:
        of_values = [SAM, ERGAS]
        of_values += [m for band in range(1, max(bands) + 1) for m in _of_band(band)]
        if native:  # three bands are no photograph then
            of_values = [replace(m, applies=_at_least(m)) for m in of_values]
        found += of_values
    if network:
        found += [_kid(network), _fid(network, count)]
    found += [COLOURS, PATCHES, SPECTRUM, CHANGE, COLOUR_CHANGE, CONTENT, BLOBS]
    return [metric for metric in found if any(map(metric.applies, bands))]


# ---- how values are pooled ----------------------------------------------------------------


def _mean(values: Floats) -> float:
    return float(np.mean(values))


def _root_mean(values: Floats) -> float:
    return float(np.sqrt(np.mean(values)))


def _defined_mean(values: Floats) -> float:
    """The mean of the finite values; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(np.mean(finite)) if len(finite) else float("nan")


def _per_image(
    compare: Callable[[Samples, Samples], Floats],
    pool: Callable[[Floats], float] = _mean,
    view: Callable[[Samples], Samples] = to_rgb,
) -> Compute:
    """A metric whose value is pooled from one value an image.

    Args:
        compare: two batches of images, (n, side, side, bands), to (n,) values.
        pool: (n,) values to one.
        view: how images are shown to `compare`; RGB of 8 bits by default.
    """

    def compute(generated: ImageSet, reference: ImageSet) -> Value:
        pairs = zip(generated.chunks(), reference.chunks(), strict=True)
        values = np.concatenate([compare(view(x), view(y)) for x, y in pairs])
        return Value(pool(values), per_image=values)

    return compute


def _beside_source(compare: Callable[[Floats, Floats], Floats]) -> Compute:
    """A metric of kind "source": the mean of one value an image, where it is defined."""
    return _per_image(compare, _defined_mean, to_levels)


def _of_values(
    compare: Callable[[Samples, Samples, NDArray[np.bool_]], float], pool: Callable[[Floats], float]
) -> Compute:
    """A metric of the values of rasters, over pixels that have data in both.

    Args:
        compare: two images (side, side, bands) and their valid pixels, to a value.
        pool: (n,) values to one.
    """

    def compute(generated: ImageSet, reference: ImageSet) -> Value:
        values = []
        sets = (images.natives(reference.scaling) for images in (generated, reference))
        for (x, valid_x), (y, valid_y) in zip(*sets, strict=True):
            for a, b, valid in zip(x, y, valid_x & valid_y, strict=True):
                values.append(compare(a, b, valid) if valid.any() else float("nan"))
        return Value(pool(np.array(values)), per_image=np.array(values))

    return compute


def _root_defined_mean(values: Floats) -> float:
    return float(np.sqrt(_defined_mean(values)))


# ---- against the true translation ---------------------------------------------------------


def _is_photograph(bands: int) -> bool:
    return bands in (1, 3)


def _has_band_metrics(bands: int) -> bool:
    return bands != 3


def _at_least(metric: Metric) -> Callable[[int], bool]:
    """Applies a metric of rasters to three bands, too."""
    return lambda bands: metric.applies(bands if bands != 3 else 4)


# fmt: off
PSNR = Metric(
    "psnr", "PSNR", "peak signal-to-noise ratio in dB, mean over the images",
    "paired", "higher", 2, full=30, unit="dB", noise=2.0,
    compute=_per_image(psnr), applies=_is_photograph,
)
SSIM = Metric(
    "ssim", "SSIM", "structural similarity in windows of 7 × 7, mean over the images",
    "paired", "higher", 3, full=1, compute=_per_image(ssim), applies=_is_photograph,
)
RMSE = Metric(
    "rmse", "RMSE", "root mean square error, levels of 255", "paired", "lower", 1,
    compute=_per_image(squared_error, _root_mean), applies=_is_photograph,
)


def _accuracy(levels: int) -> Metric:
    return Metric(
        f"acc{levels}", f"acc{levels}",
        f"share of pixels with every band within {levels} levels of the truth",
        "paired", "higher", 3, full=1, applies=_is_photograph,
        compute=_per_image(lambda x, y: within(x, y, levels).mean(axis=(1, 2))),
    )


ACCURACIES = tuple(map(_accuracy, (5, 10, 16)))


def _macro_accuracy(classes: ClassMaps) -> Metric:
    """The mean over the classes, so that a large sky cannot hide a lost lake."""
    labels, pure, names = classes

    def compute(generated: ImageSet, reference: ImageSet) -> Value:
        pairs = zip(generated.chunks(), reference.chunks(), strict=True)
        correct = np.concatenate([within(to_rgb(x), to_rgb(y), 16) for x, y in pairs])
        shares = class_accuracy(correct, labels, pure, names)
        return Value(_defined_mean(np.array(list(shares.values()))), parts=shares)

    return Metric(
        "macro16", "macro16", "mean over classes of acc16 on the pixels of one class only",
        "paired", "higher", 3, full=1, compute=compute, applies=_is_photograph,
    )


def _lpips(network: PairDistance) -> Metric:
    """LPIPS; it sees a grey image as RGB."""
    return Metric(
        "lpips", "LPIPS", "learned distance to the truth, mean over the images",
        "paired", "lower", 3, compute=_per_image(network.distance), applies=_is_photograph,
    )


SAM = Metric(
    "sam", "SAM", "mean angle between generated and true spectra, degrees", "paired", "lower", 2,
    compute=_of_values(spectral_angle, _defined_mean),
    applies=lambda bands: _has_band_metrics(bands) and bands > 1,
)
ERGAS = Metric(
    "ergas", "ERGAS", "relative error over the bands, per cent, mean over the images where it is "
    "defined; for quantities with a true zero", "paired", "lower", 1,
    compute=_of_values(ergas, _defined_mean), applies=_has_band_metrics,
)


def _of_band(band: int) -> tuple[Metric, Metric]:
    """Error and bias of one band (from 1), over all pixels of all images together."""
    one = slice(band - 1, band)

    def error(x: Samples, y: Samples, valid: NDArray[np.bool_]) -> float:
        return float(band_rmse(x[..., one], y[..., one], valid)[0]) ** 2

    def bias(x: Samples, y: Samples, valid: NDArray[np.bool_]) -> float:
        return float(band_bias(x[..., one], y[..., one], valid)[0])

    def applies(bands: int) -> bool:
        return _has_band_metrics(bands) and bands >= band

    return (
        Metric(
            f"rmse{band}", f"RMSE of band {band}",
            "root mean square error of the band, in its own units", "paired", "lower", 1,
            compute=_of_values(error, _root_defined_mean), applies=applies,
        ),
        Metric(
            f"bias{band}", f"bias of band {band}",
            "mean of the band less the true mean, in its own units: below 0 where it is too low",
            "paired", None, 1, applies=applies, compute=_of_values(bias, _defined_mean),
        ),
    )


# ---- all generated images against all real ones; the first that is available leads ----------


def _kid(network: FeatureNetwork) -> Metric:
    def compute(generated: ImageSet, reference: ImageSet) -> Value:
        found = kid(generated.features(network), reference.features(network))
        return Value(found.value, found.low, found.high)

    return Metric(
        "kid", "KID × 1000", "distance between the features of generated and of real images, over "
        "all pairs of images; unbiased, so about 0 where there is none, and below 0 at times; with "
        "its 95 % interval", "set", "lower", 1, scale=1000, compute=compute,
    )


def _fid(network: FeatureNetwork, count: int) -> Metric:
    """FID; it depends on the number of images, so that is part of its name."""
    return Metric(
        "fid", f"FID (n = {count})", "Fréchet distance of the features; it falls as n grows: "
        f"compare it at n = {count} only", "set", "lower", 1,
        compute=lambda x, y: Value(fid(x.features(network), y.features(network))),
    )


COLOURS = Metric(
    "colours", "colours", "distance of the colours of all pixels from those of real images (sliced "
    "Wasserstein, CIELAB; levels, if not three bands)", "set", "lower", 2,
    compute=lambda x, y: Value(colour_distance(x.description, y.description)),
)
PATCHES = Metric(
    "patches", "patches", "distance of textures: patches of 7 × 7 at several scales, normalised to "
    "one contrast (sliced Wasserstein)", "set", "lower", 3,
    compute=lambda x, y: Value(patch_distance(x.description, y.description)),
)
SPECTRUM = Metric(
    "spectrum", "spectrum", "difference of the mean power spectra, dB", "set", "lower", 2,
    compute=lambda x, y: Value(spectrum_distance(x.description, y.description)),
)

# ---- each generated image against its source ----------------------------------------------


def _change(generated: ImageSet, sources: ImageSet) -> Value:
    value = _beside_source(change)(generated, sources)
    return replace(value, small=HARDLY * sources.contrast)


CHANGE = Metric(
    "change", "change", "mean absolute difference, in levels of 255, between a generated image and "
    "its source; neither much nor little is better", "source", None, 2,
    unit="levels of 255", compute=_change,
)
COLOUR_CHANGE = Metric(
    "change_lab", "colour change", "mean colour difference between a generated image and its "
    "source (CIELAB, delta E 1976; about 2.3 is just visible)", "source", None, 2,
    compute=_beside_source(colour_change), applies=lambda bands: bands == 3,
)
CONTENT = Metric(
    "content", "content kept", "correlation of the edges (luminance gradients) of a generated "
    "image with those of its source: 1 where all are kept, about 0 where they are others, below 0 "
    "where light and dark are exchanged", "source", "higher", 3, full=1,
    compute=_beside_source(content_kept),
)

BLOBS = Metric(
    "blobs", "images with blobs", "share of generated images, in %, with a place that changed far "
    "more than the rest of the image: dark or coloured spots, most of them at borders",
    "source", "lower", 1, full=100, unit="%", scale=100, compute=_beside_source(blobs),
)

# ---- measured on the networks of a model, by evaluation.diagnose ----------------------------

CYCLES = (
    Metric(
        "cycle", "cycle error", "mean absolute difference, in levels of 255, between an image and "
        "its cycle: translated and translated back", "cycle", "lower", 2,
    ),
    Metric(
        "noisy_cycle", "with noise", "cycle error where the translation is rounded to 8 bits and "
        "has noise of 5 levels; far larger where the generator hides the source in it",
        "cycle", "lower", 2,
    ),
    Metric(
        "identity", "identity error", "mean absolute difference, in levels of 255, between an "
        "image of the target domain and what the generator makes of it", "cycle", "lower", 2,
    ),
)
