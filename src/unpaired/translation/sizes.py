"""The sizes of an image on its way through a network: its own, the working size, the padded one."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unpaired.config import MOST_PIXELS, DomainFacts, require_within
from unpaired.console import log
from unpaired.engines.architecture import SMALLEST_SIDE, STRIDE
from unpaired.images.image import Image, over_white, with_bands
from unpaired.images.raster.gaps import filled
from unpaired.images.raster.geo import Geo
from unpaired.images.scaling import Scaling
from unpaired.translation.detail import Change, Detail
from unpaired.translation.strips import each_strip, enlarged, shrunk

__all__ = ["Sizes", "finished", "from_network", "geo_of", "mark_gaps", "say", "to_network"]


@dataclass(frozen=True)
class Sizes:
    """(height, width) in pixels of an image: its own, the one translated at, and that one padded.

    >>> Sizes.of((30, 50), 25)
    Sizes(original=(30, 50), working=(15, 25), padded=(16, 28), keep=False)

    With `keep` the change that the network made is enlarged, not its result (see `detail`).
    """

    original: tuple[int, int]
    working: tuple[int, int]
    padded: tuple[int, int]
    keep: bool = False

    @classmethod
    def of(cls, size: tuple[int, int], working_size: int | None, *, keep: bool = False) -> Self:
        """The sizes of an image of `size` whose longer side is translated at `working_size`.

        None is its own size. The networks need padding to multiples of 4, at least 8. Only what is
        translated smaller than it is has detail to `keep`.

        Raises:
            ConfigError: a working size under 8 or over 65,536.
        """
        working = size
        if working_size is not None:
            require_within("--working-size", working_size, SMALLEST_SIDE, MOST_PIXELS)
            scale = working_size / max(size)
            working = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
        height, width = (max(-(-side // STRIDE) * STRIDE, SMALLEST_SIDE) for side in working)
        return cls(size, working, (height, width), keep and max(working) < max(size))


def say(
    sizes: Sizes, working_size: int | None, detail: Detail | None, said: set[str], *, equal: bool
) -> None:
    """Says what a user should know of the sizes at which an image is translated.

    `said` has the lines said before, which are not said again; `equal`: domains of equal bands.
    """
    (height, width), side = sizes.original, max(sizes.working)
    if working_size is None and sizes.keep:
        line = (
            f"{width} x {height} pixels do not fit in memory: translated as with --working-size "
            f"{side} --detail keep, which carries the change to the full size"
        )
    elif detail is None and equal and side < max(sizes.original):
        line = (
            f"results are enlarged from {side} pixels and blurred: with --detail keep, grain and "
            "edges of the original stay"
        )
    else:
        return
    if line not in said:
        said.add(line)
        log.log(logging.WARNING if sizes.keep else logging.INFO, line)


def to_network(image: Image, sizes: Sizes, bands: int, scaling: Scaling) -> NDArray[np.float32]:
    """Converts an image to (height, width, `bands`) in [-1, 1], at the padded size.

    Transparency is composited over white; pixels that are not valid are filled from those near
    them, or 0 where the image is resized. The padding mirrors the image to the right and below
    without repeating its edge; a side too short for its padding is mirrored again and again, and a
    side of one pixel is repeated.
    """
    rows_of = partial(_signed, image, bands, scaling)
    if sizes.working != sizes.original:
        signed = shrunk(rows_of, sizes.original, sizes.working)
    else:
        signed = rows_of(slice(0, sizes.original[0]))
        if image.valid is not None:
            signed = filled(signed, image.valid)
    if sizes.padded == sizes.working:
        return signed
    (height, width), (below, right) = sizes.working, sizes.padded
    return np.pad(signed, [(0, below - height), (0, right - width), (0, 0)], mode="reflect")


def _signed(image: Image, bands: int, scaling: Scaling, rows: slice) -> NDArray[np.float32]:
    """Rows of an image in [-1, 1], over white and in so many bands."""
    alpha = None if image.alpha is None else image.alpha[rows]
    pixels = with_bands(over_white(Image(image.pixels[rows], alpha)), bands)
    return scaling.to_signed(pixels, None if image.valid is None else image.valid[rows])


def from_network(
    signed: NDArray[np.float32],
    small: NDArray[np.float32],
    source: Image,
    sizes: Sizes,
    domains: tuple[DomainFacts, DomainFacts],
) -> Image:
    """Converts a network's result `signed` to an image of the second of two `domains`.

    `small` is what the network saw of `source`, an image of the first. The result has the size,
    transparency, place and mask of its source. Where the source has no data, the result has none:
    NaN where both are NaN, else the domain's value for it, which no other pixel keeps.
    """
    before, facts = domains
    height, width = sizes.working
    signed, small = signed[:height, :width], small[:height, :width]
    rows_of: Callable[[slice], NDArray[np.float32]]
    if sizes.keep:
        change, own = Change.of(small, signed), Scaling.of(before)

        def changed(part: slice) -> NDArray[np.float32]:
            strip = _signed(source, before.bands, own, part)
            return change.apply(strip, part.start, sizes.original)

        rows_of = changed
    elif max(sizes.working) < max(sizes.original):
        rows_of = enlarged(signed, sizes.original)
    else:
        if sizes.working != sizes.original:
            signed = shrunk(signed.__getitem__, sizes.working, sizes.original)
        rows_of = signed.__getitem__
    scaling = Scaling.of(facts)
    pixels = np.empty((*sizes.original, facts.bands), scaling.dtype)

    def finish(part: slice) -> None:
        pixels[part] = scaling.from_signed(rows_of(part))

    each_strip(sizes.original, finish)
    return finished(source, pixels, facts)


def finished(source: Image, pixels: NDArray[Any], facts: DomainFacts) -> Image:
    """The translation of `source` with its transparency, place and mask; changes `pixels`."""
    if source.geo is None:
        return Image(pixels, source.alpha, valid=source.valid)
    geo = geo_of(source.geo, facts, pixels.dtype, gaps=source.valid is not None)
    if geo.nodata is not None:
        mark_gaps(pixels, source, geo.nodata)
    return Image(pixels, source.alpha, valid=source.valid, geo=geo)


def mark_gaps(pixels: NDArray[Any], source: Image, nodata: float) -> None:
    """Gives `pixels` no data where `source` has none, and nowhere else, in place.

    It is NaN where both are floats and the source has NaN, else `nodata`.
    """
    _set_apart(pixels, nodata)
    if source.valid is None:
        return
    pixels[~source.valid] = nodata
    if pixels.dtype.kind == "f" and source.pixels.dtype.kind == "f":
        pixels[np.isnan(source.pixels).any(axis=2)] = np.nan


def geo_of(source: Geo, facts: DomainFacts, dtype: np.dtype[Any], *, gaps: bool) -> Geo:
    """What the translation of a raster says besides its pixels; `gaps`: some may have no data.

    Place and tags are those of the source; names and units of the bands, and the value of pixels
    without data, those of the domain. Where the domain has none, it is that of the source if the
    samples can have it, or NaN; else a source with gaps gives a mask.
    """
    nodata = facts.nodata_value
    if nodata is not None and not _holds(dtype, nodata):
        nodata = None
    if nodata is None and not source.masked:
        fits = source.nodata is not None and _holds(dtype, source.nodata)
        nodata = source.nodata if fits else None
        if nodata is None and gaps and dtype.kind == "f":
            nodata = float("nan")
    same = facts.names == source.names or (not facts.names and facts.bands == len(source.names))
    colours = source.colours if same else ()
    if not same and facts.bands in (1, 3):
        colours = ("gray",) if facts.bands == 1 else ("red", "green", "blue")
    return replace(
        source,
        names=facts.names,
        units=facts.band_units,
        nodata=nodata,
        masked=nodata is None and (source.masked or gaps),
        colours=colours,
    )


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether samples of this type can have that value."""
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return value == round(value) and limits.min <= value <= limits.max if value == value else False


def _set_apart(pixels: NDArray[Any], nodata: float) -> None:
    """Moves samples that happen to have the value of no data to the next one, in place."""
    if nodata != nodata:
        return
    alike = pixels == pixels.dtype.type(nodata)
    if not alike.any():
        return
    if pixels.dtype.kind == "f":
        pixels[alike] = np.nextafter(pixels.dtype.type(nodata), pixels.dtype.type(np.inf))
    else:
        limits = np.iinfo(pixels.dtype)
        pixels[alike] = int(nodata) + (1 if nodata < limits.max else -1)
