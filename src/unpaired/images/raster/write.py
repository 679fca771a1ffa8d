"""GeoTIFFs as they are written: tiled, compressed, with overviews (COG), whole or window by window.

A COG cannot be written in place, so there is a working file first: in memory for a whole image
(`write_geotiff`), on disk for one that comes window by window (`geotiff_sink`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unpaired.images.image import Image
from unpaired.images.raster.codec import QUIET, import_rasterio, without_georeferencing
from unpaired.images.raster.geo import Geo, Window

__all__ = ["GeoTiffSink", "geotiff_sink", "write_geotiff"]

TILE = 512  # pixels a side
_ROWS = 1024  # written at once
_ENV = {"GDAL_TIFF_INTERNAL_MASK": True, "GDAL_CACHEMAX": 2**26, **QUIET}


@dataclass(frozen=True, eq=False)
class GeoTiffSink:
    """A GeoTIFF that is being written, window by window, by one thread; see `geotiff_sink`."""

    dataset: Any
    masked: bool  # it has a mask beside its bands

    def write(self, window: Window, part: Image) -> None:
        """Writes `part`, which has the size of `window`, into that window.

        Pixels that are not valid have the value `geo.nodata` already, or go into the mask.
        """
        height, width = part.size
        at = ((window.top, window.top + height), (window.left, window.left + width))
        self.dataset.write(np.moveaxis(part.samples, 2, 0), window=at)
        if self.masked:
            valid = np.True_ if part.valid is None else part.valid
            self.dataset.write_mask(np.broadcast_to(valid, part.size) * np.uint8(255), window=at)


@contextmanager
def geotiff_sink(
    path: Path, working: Path, size: tuple[int, int], bands: int, dtype: str, geo: Geo
) -> Iterator[GeoTiffSink]:
    """Opens a GeoTIFF of `size` (height, width) for writing; it is at `path` when the block ends.

    Until then its windows are in the tiled BigTIFF `working`, uncompressed, which is removed. Where
    the block raises, nothing is written at `path` and `working` stays.

    Raises:
        MissingExtra: rasterio is not installed.
        OSError: rasterio cannot write a file.
    """
    rasterio = import_rasterio("writing a GeoTIFF")
    profile = _profile(rasterio, (*size, bands), dtype, geo) | {"bigtiff": "YES"}
    with without_georeferencing(rasterio), rasterio.Env(**_ENV):
        dataset = rasterio.open(working.absolute(), "w", **profile)
    with rasterio.Env(**_ENV), dataset:
        _describe(rasterio, dataset, geo)
        yield GeoTiffSink(dataset, geo.masked)
    _to_cog(rasterio, str(working.absolute()), path)
    working.unlink()


def write_geotiff(path: Path, image: Image) -> None:
    """Writes an image with its `geo` as a cloud-optimised GeoTIFF; transparency is the last band.

    Pixels that are not valid have the value `geo.nodata` already, or go into a mask.

    Raises:
        MissingExtra: rasterio is not installed.
        OSError: rasterio cannot write the file.
    """
    rasterio = import_rasterio("writing a GeoTIFF")
    geo = image.geo or Geo()
    height, width = image.size
    bands = image.bands + (image.alpha is not None)
    with rasterio.io.MemoryFile() as memory:
        with without_georeferencing(rasterio), rasterio.Env(**_ENV):
            shape = height, width, bands
            dataset = memory.open(**_profile(rasterio, shape, image.pixels.dtype.name, geo))
        with rasterio.Env(**_ENV), dataset:
            _describe(rasterio, dataset, geo)
            sink = GeoTiffSink(dataset, geo.masked)
            for top in range(0, height, _ROWS):
                part = _rows(image, slice(top, top + _ROWS))
                sink.write(Window(top, 0, *part.size), part)
        _to_cog(rasterio, memory.name, path)


def _rows(image: Image, rows: slice) -> Image:
    alpha = None if image.alpha is None else image.alpha[rows]
    valid = None if image.valid is None else image.valid[rows]
    return Image(image.pixels[rows], alpha, valid=valid)


def _profile(rasterio: Any, shape: tuple[int, int, int], dtype: str, geo: Geo) -> dict[str, Any]:
    """What the working file is created with."""
    height, width, bands = shape
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": height, "width": width, "count": bands, "dtype": dtype,
        "tiled": True, "blockxsize": TILE, "blockysize": TILE, "bigtiff": "IF_SAFER",
    }  # fmt: skip
    transform = None if geo.transform is None else rasterio.Affine(*geo.transform)
    placed = {"crs": geo.crs or None, "transform": transform, "nodata": geo.nodata}
    return profile | {name: value for name, value in placed.items() if value is not None}


def _describe(rasterio: Any, dataset: Any, geo: Geo) -> None:
    """Gives a new file its place, names, units and tags."""
    if geo.gcps:
        point = rasterio.control.GroundControlPoint
        crs = rasterio.crs.CRS.from_wkt(geo.gcps_crs) if geo.gcps_crs else None
        dataset.gcps = ([point(**each) for each in geo.gcps], crs)
    if geo.rpcs:
        dataset.rpcs = rasterio.rpc.RPC.from_gdal(dict(geo.rpcs))
    dataset.update_tags(**geo.tags)
    for space, tags in geo.spaces.items():
        dataset.update_tags(ns=space, **tags)
    for band, name in enumerate(geo.names, 1):
        if name:
            dataset.set_band_description(band, name)
    for band, unit in enumerate(geo.units, 1):
        if unit:
            dataset.set_band_unit(band, unit)
    kinds = rasterio.enums.ColorInterp
    colours = [kinds[name] for name in geo.colours]
    if colours and len(colours) + 1 == dataset.count:
        colours.append(kinds.alpha)
    if len(colours) == dataset.count:
        dataset.colorinterp = colours


def _to_cog(rasterio: Any, working: str, path: Path) -> None:
    with without_georeferencing(rasterio), rasterio.Env(**_ENV):
        rasterio.shutil.copy(
            working,
            path.absolute(),
            driver="COG",
            compress="DEFLATE",
            predictor="YES",
            blocksize=TILE,
            overview_resampling="AVERAGE",
            bigtiff="IF_SAFER",
        )
