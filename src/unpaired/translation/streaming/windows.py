"""What streaming reads from and writes to, window by window, and sources of images in memory.

A scene in a file of its own format needs no more than these two protocols.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unpaired.config import DomainFacts
from unpaired.engines.tiles import Region, Span
from unpaired.images.image import Image, over_white, with_bands
from unpaired.images.raster.gaps import GAP_BLOCK, filled
from unpaired.images.scaling import Scaling

__all__ = ["ArraySource", "ImageSink", "ImageSource", "ReadResult", "Sink", "Source", "read_padded"]

ReadResult = Callable[[Region], NDArray[Any]]
"""Reads a window (height, width, bands) of the finished result, in the sink's type."""


class Source(Protocol):
    """An image or a scene that is read in windows, one at a time, from any thread."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""

    @property
    def masked(self) -> bool:
        """Whether pixels may be without data."""

    @property
    def fingerprint(self) -> str:
        """What tells it from others: a killed translation resumes only if it is the same."""

    def read(self, region: Region) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Reads (height, width, bands) in [-1, 1], with the bands that the network takes.

        The second array is False where a pixel has no data; None: all have. Values there are of no
        importance but finite.
        """


class Sink(Protocol):
    """Where the result goes: how its samples are stored, and the file that is written at last."""

    @property
    def bands(self) -> int:
        """The number of bands of the result as it is stored."""

    @property
    def dtype(self) -> DTypeLike:
        """The type of its samples."""

    def encode(self, signed: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> NDArray[Any]:
        """Converts (height, width, bands) in [-1, 1] to samples; `valid` as of `Source.read`."""

    def save(self, read: ReadResult) -> None:
        """Writes the whole result, of the size of the source, and renames it into place."""


@dataclass(frozen=True)
class ArraySource:
    """An array (height, width, bands) in [-1, 1], and which of its pixels have data."""

    signed: NDArray[np.float32]
    valid: NDArray[np.bool_] | None = None
    fingerprint: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """See Source.size."""
        height, width = self.signed.shape[:2]
        return height, width

    @property
    def masked(self) -> bool:
        """See Source.masked."""
        return self.valid is not None

    def read(self, region: Region) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """See Source.read."""
        part = slice(*region.rows), slice(*region.columns)
        return self.signed[part], None if self.valid is None else self.valid[part]


@dataclass(frozen=True)
class ImageSource:
    """An image in memory, in the values of the domain `facts`.

    Transparency is composited over white, as everywhere.
    """

    image: Image
    facts: DomainFacts
    fingerprint: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """See Source.size."""
        return self.image.size

    @property
    def masked(self) -> bool:
        """See Source.masked."""
        return self.image.valid is not None

    def read(self, region: Region) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """See Source.read."""
        part = slice(*region.rows), slice(*region.columns)
        alpha, valid = self.image.alpha, self.image.valid
        window = Image(self.image.pixels[part], None if alpha is None else alpha[part])
        there = None if valid is None else valid[part]
        pixels = with_bands(over_white(window), self.facts.bands)
        return Scaling.of(self.facts).to_signed(pixels, there), there


@dataclass(frozen=True)
class ImageSink:
    """The samples of the domain `facts`, whole in memory when all are there, given to `finish`."""

    facts: DomainFacts
    size: tuple[int, int]
    finish: Callable[[NDArray[Any]], None]

    @property
    def bands(self) -> int:
        """See Sink.bands."""
        return self.facts.bands

    @property
    def dtype(self) -> DTypeLike:
        """See Sink.dtype."""
        return np.dtype(self.facts.samples)

    def encode(self, signed: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> NDArray[Any]:
        """See Sink.encode."""
        del valid  # the image keeps it
        return Scaling.of(self.facts).from_signed(signed)

    def save(self, read: ReadResult) -> None:
        """See Sink.save."""
        height, width = self.size
        self.finish(read(Region((0, height), (0, width))))


def read_padded(
    source: Source, region: Region
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Reads a window of the scene mirrored outwards to the right and below, and filled.

    Mirrored as `sizes.to_network` does it, whatever the window, without repeating the edge. Pixels
    without data get the mean of those that have some in the smallest of the aligned squares of 4,
    16 and 64 pixels around them, else 0: the same values whatever the window.
    """
    height, width = source.size
    rows, columns = _mirrored(region.rows, height), _mirrored(region.columns, width)
    inner = Region(_span(rows), _span(columns))
    if source.masked:
        inner = Region(_blocks(inner.rows, height), _blocks(inner.columns, width))
    signed, valid = source.read(inner)
    if valid is not None:
        if valid.all():
            valid = None
        else:
            signed = filled(signed, valid)
    rows, columns = rows - inner.rows[0], columns - inner.columns[0]
    if inner == region:
        return signed, valid
    picked = np.ix_(rows, columns)
    return signed[picked], None if valid is None else valid[picked]


def _mirrored(span: Span, extent: int) -> NDArray[np.intp]:
    """The rows or columns of an image that stand at those of its mirrored version."""
    index = np.arange(*span)
    if extent == 1:
        return np.zeros_like(index)
    period = 2 * (extent - 1)
    index %= period
    return np.where(index < extent, index, period - index)


def _span(index: NDArray[np.intp]) -> Span:
    return int(index.min()), int(index.max()) + 1


def _blocks(span: Span, extent: int) -> Span:
    """The span in whole blocks, as far as the image goes."""
    return span[0] // GAP_BLOCK * GAP_BLOCK, min(-(-span[1] // GAP_BLOCK) * GAP_BLOCK, extent)
