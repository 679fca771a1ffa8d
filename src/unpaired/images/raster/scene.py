"""An open GeoTIFF or VRT: its facts, and windows of it read without reading the rest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import ImageError, TooLarge, quoted, shown
from unpaired.images.header import decoding
from unpaired.images.image import DTYPES, Image, is_mask
from unpaired.images.raster.codec import QUIET, import_rasterio, without_georeferencing
from unpaired.images.raster.geo import Geo, Window, resolution_of

__all__ = ["OpenRaster", "find_bands", "open_scene"]

_AT_ONCE = 2**22  # pixels read at once
_BLOCK = 2**26  # samples of one compressed block, at most: a window reads whole blocks
_INTERNAL = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "RPC", "COLOR_PROFILE", "xml:VRT"}
# Of files by others: no addresses are opened (a VRT may name some), nothing is printed.
_SAFE = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}", "GDAL_CACHEMAX": 2**26, **QUIET}


@dataclass(frozen=True, eq=False)
class OpenRaster:
    """A raster that is open for reading by one thread; see `open_scene`."""

    dataset: Any
    bands: tuple[int, ...]  # the bands that are read, from 1, in their order
    alpha: int | None  # the band of transparency, if there is one
    masked: bool  # it has a mask beside its bands
    geo: Geo  # of the bands that are read; empty if it was not asked for
    described: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return int(self.dataset.height), int(self.dataset.width)

    @property
    def whole(self) -> Window:
        """The window of all of it."""
        return Window(0, 0, *self.size)

    @property
    def dtype(self) -> str:
        """Type of the samples, one of DTYPES."""
        return str(self.dataset.dtypes[self.bands[0] - 1])

    @property
    def block(self) -> tuple[int, int]:
        """(height, width) of the blocks that it is stored in."""
        height, width = self.dataset.block_shapes[self.bands[0] - 1]
        return int(height), int(width)

    def read(self, window: Window | None = None) -> Image:
        """Reads a window of the scene, or all of it.

        Pixels are not valid where a band has no data (nodata, NaN, infinity), or where the mask or
        the transparency of the file says so.

        Raises:
            ImageError: damaged, or a window that is not inside.
        """
        part = window or self.whole
        height, width = self.size
        if part.top < 0 or part.left < 0 or min(part.size) < 1:
            raise ImageError(f"a window of {part} is empty or outside the image")
        if part.top + part.height > height or part.left + part.width > width:
            raise ImageError(f"a window of {part} is outside of {width} x {height} pixels")
        pixels = np.empty((*part.size, len(self.bands)), self.dtype)
        valid = np.ones(part.size, np.bool_)
        alpha = None if self.alpha is None else np.empty(part.size, np.uint8)
        for rows in self._strips(part):
            at = (
                (part.top + rows.start, part.top + rows.stop),
                (part.left, part.left + part.width),
            )
            with decoding():
                strip = self.dataset.read(list(self.bands), window=at)
            pixels[rows] = np.moveaxis(strip, 0, 2)
            valid[rows] = self._valid(strip)
            if self.masked:
                with decoding():
                    valid[rows] &= self.dataset.read_masks(self.bands[0], window=at) != 0
            if alpha is not None:
                with decoding():
                    band = self.dataset.read(self.alpha, window=at)
                alpha[rows] = band if band.dtype == np.uint8 else np.rint(band / 257)
                valid[rows] &= alpha[rows] != 0
        geo = self.geo.part(part) if self.described else None
        return Image(pixels, alpha, valid=None if valid.all() else valid, geo=geo)

    def _strips(self, part: Window) -> Iterator[slice]:
        """Rows of some million pixels at a time: at once they would take twice the memory."""
        if part.height * part.width <= _AT_ONCE:
            yield slice(0, part.height)
            return
        block = self.block[0]
        rows = max(_AT_ONCE // part.width // block, 1) * block
        first = -part.top % block or rows  # so that blocks are read once
        top = 0
        while top < part.height:
            stop = min(top + (first if not top else rows), part.height)
            yield slice(top, stop)
            top = stop

    def _valid(self, strip: NDArray[Any]) -> NDArray[np.bool_]:
        """Where no band (bands, height, width) lacks data."""
        valid = np.ones(strip.shape[1:], np.bool_)
        for band, values in zip(self.bands, strip, strict=True):
            nodata = self.dataset.nodatavals[band - 1]
            if values.dtype.kind == "f":
                valid &= np.isfinite(values)
            if nodata is not None and nodata == nodata:
                valid &= values != nodata
        return valid


@contextmanager
def open_scene(
    path: str | Path,
    bands: Sequence[str] = (),
    alpha: Literal["auto", "mask", "band"] = "auto",
    *,
    described: bool = True,
) -> Iterator[OpenRaster]:
    """Opens a GeoTIFF or a VRT of local files.

    Args:
        path: a regular file.
        bands: the bands to read, by number from 1 or by name, in their order; none: all.
        alpha: what a last band is that is marked as transparency; see `formats.Reading`.
        described: whether its place and tags are read, too.

    Raises:
        MissingExtra: rasterio is not installed.
        ImageError: not such a file, damaged, no such band, or samples of other types than DTYPES.
        TooLarge: compressed in blocks so large that no window of it can be read alone.
    """
    rasterio = import_rasterio(f"reading {path} as a raster")
    with without_georeferencing(rasterio), decoding(), rasterio.Env(**_SAFE):
        # Absolute, since rasterio takes names such as "s3:y.tif" for addresses.
        driver = "VRT" if Path(path).suffix.lower() == ".vrt" else "GTiff"
        dataset = rasterio.open(Path(path).absolute(), driver=driver)
    with rasterio.Env(**_SAFE), dataset:
        yield _scene(dataset, bands, alpha, described)


def _scene(
    dataset: Any,
    bands: Sequence[str],
    alpha: Literal["auto", "mask", "band"],
    described: bool,
) -> OpenRaster:
    colours = tuple(colour.name for colour in dataset.colorinterp)
    last = dataset.count
    marked = colours[-1] == "alpha" and last > 1 and dataset.dtypes[-1] in DTYPES[:2]
    masks = alpha == "mask" or (alpha == "auto" and marked and is_mask(_small(dataset, last)))
    transparency = last if marked and masks else None
    names = tuple(name or "" for name in dataset.descriptions)
    held = names[: last - 1] if transparency else names
    chosen = find_bands(held, bands) or tuple(range(1, len(held) + 1))
    kinds = {dataset.dtypes[band - 1] for band in chosen}
    if len(kinds) > 1 or not kinds <= set(DTYPES):
        raise ImageError(
            f"holds {' and '.join(sorted(kinds)[:4])} samples; rasters of one of"
            f" {', '.join(DTYPES)} are read"
        )
    for band in chosen:
        if (size := int(np.prod(dataset.block_shapes[band - 1]))) > _BLOCK:
            raise TooLarge(
                f"is compressed in blocks of {size:,} pixels, so no part of it can be read alone:"
                " make it a COG (gdal_translate -of COG)"
            )
    flags = {flag.name for flag in dataset.mask_flag_enums[chosen[0] - 1]}
    masked = "per_dataset" in flags and "alpha" not in flags
    geo = _geo(dataset, chosen, names, colours, masked) if described else Geo()
    return OpenRaster(dataset, chosen, transparency, masked, geo, described)


def find_bands(names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """The numbers, from 1, of the wanted bands among those of these names.

    >>> find_bands(("VV", "VH"), ("VH", "1"))
    (2, 1)

    Raises:
        ImageError: no such band.
    """
    found = []
    for name in wanted:
        if name in names:
            found.append(names.index(name) + 1)
        elif name.isdecimal() and 1 <= int(name) <= len(names):
            found.append(int(name))
        else:
            listed = shown(", ".join(names)) if any(names) else f"1 to {len(names)}"
            raise ImageError(f"has no band {quoted(name)}: its bands are {listed}")
    return tuple(found)


def _small(dataset: Any, band: int) -> NDArray[Any]:
    """A band, at most 512 pixels a side."""
    shape = tuple(min(side, 512) for side in dataset.shape)
    with decoding():
        small: NDArray[Any] = dataset.read(band, out_shape=shape)
    return small


def _geo(
    dataset: Any, bands: Sequence[int], names: Sequence[str], colours: Sequence[str], masked: bool
) -> Geo:
    gcps, gcps_crs = dataset.gcps
    crs = dataset.crs
    transform = None if dataset.transform.is_identity else tuple(dataset.transform)[:6]
    resolution = 0.0
    if transform and crs and (crs.is_geographic or crs.is_projected):
        metres = None if crs.is_geographic else float(crs.linear_units_factor[1])
        resolution = resolution_of(transform, metres, (dataset.height / 2, dataset.width / 2))
    spaces = [name for name in dataset.tag_namespaces() if name not in _INTERNAL]
    return Geo(
        crs=crs.to_wkt() if crs else "",
        transform=transform,
        gcps=tuple(point.asdict() for point in gcps),
        gcps_crs=gcps_crs.to_wkt() if gcps_crs else "",
        rpcs=dict(dataset.rpcs.to_gdal()) if dataset.rpcs else {},
        tags=dict(dataset.tags()),
        spaces={name: dict(dataset.tags(ns=name)) for name in spaces},
        names=tuple(names[band - 1] for band in bands),
        units=tuple(dataset.units[band - 1] or "" for band in bands),
        nodata=dataset.nodatavals[bands[0] - 1],
        masked=masked,
        colours=tuple(colours[band - 1] for band in bands),
        resolution=resolution,
    )
