"""Rasters as a source and a sink of streaming: windows of a scene in, windows of a GeoTIFF out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unpaired.config import DomainFacts
from unpaired.engines.tiles import Region
from unpaired.images.image import Image, over_white, with_bands
from unpaired.images.raster.geo import Window
from unpaired.images.raster.scene import OpenRaster
from unpaired.images.raster.write import geotiff_sink
from unpaired.images.scaling import Scaling
from unpaired.storage import atomic_path
from unpaired.translation.sizes import geo_of, mark_gaps
from unpaired.translation.streaming.windows import ReadResult

__all__ = ["GeoSink", "SceneSource"]

_ROWS, _COLUMNS = 512, 2048  # written at once: blocks of the file


@dataclass(frozen=True)
class SceneSource:
    """An open raster, or the window `part` of it, in the values of the domain `facts`."""

    scene: OpenRaster
    part: Window
    facts: DomainFacts
    fingerprint: str

    @property
    def size(self) -> tuple[int, int]:
        """See Source.size."""
        return self.part.size

    @property
    def masked(self) -> bool:
        """See Source.masked."""
        geo = self.scene.geo
        floating = np.dtype(self.scene.dtype).kind == "f"
        return geo.masked or geo.nodata is not None or self.scene.alpha is not None or floating

    def image(self, region: Region) -> Image:
        """A window of it as it is stored."""
        (top, _), (left, _) = region
        return self.scene.read(Window(top, left, *region.shape).within(self.part))

    def read(self, region: Region) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """See Source.read."""
        image = self.image(region)
        pixels = with_bands(over_white(image), self.facts.bands)
        return Scaling.of(self.facts).to_signed(pixels, image.valid), image.valid


@dataclass(frozen=True)
class GeoSink:
    """A GeoTIFF of the domain `facts`, with place, tags, mask and transparency of its source."""

    source: SceneSource
    facts: DomainFacts
    target: Path
    scratch: Path

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
        del valid  # written as the source has it, at last
        return Scaling.of(self.facts).from_signed(signed)

    def save(self, read: ReadResult) -> None:
        """See Sink.save."""
        scene, size = self.source.scene, self.source.size
        kind = np.dtype(self.facts.samples)
        geo = geo_of(scene.geo.part(self.source.part), self.facts, kind, gaps=self.source.masked)
        bands = self.facts.bands + (scene.alpha is not None)
        working = self.scratch / ".geotiff.tif"
        with (
            atomic_path(self.target, scratch=self.scratch) as temporary,
            geotiff_sink(temporary, working, size, bands, kind.name, geo) as sink,
        ):
            for region in _blocks(size):
                given, pixels = self.source.image(region), read(region)
                if geo.nodata is not None:
                    mark_gaps(pixels, given, geo.nodata)
                part = Image(pixels, given.alpha, valid=given.valid)
                (top, _), (left, _) = region
                sink.write(Window(top, left, *region.shape), part)


def _blocks(size: tuple[int, int]) -> Iterator[Region]:
    """Parts of an image of `size` that are written at once: the memory is that of one."""
    height, width = size
    for top in range(0, height, _ROWS):
        for left in range(0, width, _COLUMNS):
            yield Region((top, min(top + _ROWS, height)), (left, min(left + _COLUMNS, width)))
