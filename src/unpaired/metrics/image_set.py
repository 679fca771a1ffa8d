"""A set of images of one size, in memory or on disk, with what metrics derive from it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.features.extract import extract
from unpaired.features.seam import FeatureNetwork
from unpaired.images.image import to_signed
from unpaired.images.scaling import Scaling
from unpaired.metrics.source import contrast, to_levels
from unpaired.metrics.weightless import SMALLEST_SIDE, Description, describe

__all__ = ["ImageSet", "Samples", "to_rgb"]

Samples = NDArray[Any]
"""uint8 or uint16."""

CHUNK, CHUNK_PIXELS = 64, 2**22  # images in memory at once, and their pixels


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images (n, side, side, bands), uint8 or uint16, and their names.

    Of rasters, `scaling` says which values the ends of the samples are, `native` are the values of
    real ones as they are in their files, and `valid` marks the pixels that have data; None is all.

    Features and description are computed when they are first asked for, and kept.
    """

    samples: Samples
    names: tuple[str, ...]
    scaling: Scaling | None = None
    native: NDArray[Any] | None = None
    valid: NDArray[np.bool_] | None = None
    _features: dict[FeatureNetwork, NDArray[np.float32]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def side(self) -> int:
        """Pixels a side."""
        return int(self.samples.shape[1])

    @property
    def bands(self) -> int:
        """Bands of an image."""
        return int(self.samples.shape[3])

    def chunks(self, pixels: int = CHUNK_PIXELS) -> Iterator[Samples]:
        """The images in their order, at most 64 and at most so many pixels at a time."""
        step = max(1, min(CHUNK, pixels // self.side**2))
        for start in range(0, len(self), step):
            yield np.asarray(self.samples[start : start + step])

    def natives(self, scaling: Scaling | None) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
        """The images in values of their domain, and their valid pixels, a few at a time.

        `scaling` is that of the domain; None: the samples are the values.
        """
        start = 0
        for samples in self.chunks():
            part = slice(start, start + len(samples))
            start += len(samples)
            values = samples if self.native is None else np.asarray(self.native[part])
            if scaling and self.native is None:
                values = scaling.from_signed(to_signed(samples))
            valid = np.ones(samples.shape[:3], np.bool_) if self.valid is None else self.valid[part]
            yield values, np.asarray(valid)

    def first(self, count: int) -> "ImageSet":
        """The first images, at most all."""
        if count >= len(self):
            return self
        parts = (None if x is None else x[:count] for x in (self.native, self.valid))
        return ImageSet(self.samples[:count], self.names[:count], self.scaling, *parts)

    def features(self, network: FeatureNetwork) -> NDArray[np.float32]:
        """(n, `network.width`): the features of each image, shown to the network as RGB."""
        if network not in self._features:
            self._features[network] = extract(network, map(to_rgb, self.chunks()))
        return self._features[network]

    @cached_property
    def contrast(self) -> float:
        """The contrast of the set in levels of 255 (see `source.contrast`)."""
        return contrast(map(to_levels, self.chunks()))

    @cached_property
    def description(self) -> Description:
        """What the metrics without weights compare: 8 bits, the bands as they are."""
        return describe(map(_to_8_bits, self.chunks()), side=max(self.side, SMALLEST_SIDE))


def to_rgb(samples: Samples) -> NDArray[np.uint8]:
    """(..., bands) of 8 or 16 bits as (..., 3) of 8: the first three bands, or grey.

    Of two bands the first is shown.
    """
    small = _to_8_bits(samples)
    bands = small.shape[-1]
    return small[..., :3] if bands >= 3 else np.repeat(small[..., :1], 3, axis=-1)


def _to_8_bits(samples: Samples) -> NDArray[np.uint8]:
    return np.asarray(samples if samples.dtype == np.uint8 else samples >> 8, np.uint8)
