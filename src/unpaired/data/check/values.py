"""The rasters of a domain together: samples, bands, place, values, and the scaling that fits."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.config.domain import joined_names, parse_scaling
from unpaired.console import counted
from unpaired.data.check.range import percent
from unpaired.data.check.raster import RasterLook
from unpaired.errors import ConfigError, DataError, shown
from unpaired.images.scaling import Scaling, bend

__all__ = ["RasterFacts", "fitted", "resolutions_differ", "together"]

ENDS = (0.1, 99.9)  # percentiles that are scaled to -1 and 1
_MOST = 2_000_000  # values of a band that percentiles are computed from
_COARSER = 1.1  # ratio of two resolutions that are said to differ


@dataclass(frozen=True, eq=False)
class RasterFacts:
    """What the rasters of a domain have in common, and where they differ."""

    dtype: str
    bands: int
    names: tuple[str, ...]
    units: tuple[str, ...]
    nodata: float | None
    resolution: float  # the median of those that are known, in metres; 0: none is
    resolutions: tuple[float, ...]  # the least and the largest
    systems: tuple[str, ...]  # coordinate reference systems, the most frequent first
    invalid: float  # share of pixels without data
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    slow: int  # files stored so that a crop reads far more than itself
    placed: bool
    values: NDArray[np.floating[Any]] = field(repr=False)

    def told(self) -> list[str]:
        """Lines for people: place, then the values of each band."""
        nodata = "none" if self.nodata is None else f"{self.nodata:g}"
        lines = [
            f"{self.dtype}, CRS {' and '.join(self.systems[:3]) or 'none'}, pixels of "
            f"{self._resolution()}, nodata {nodata}, {percent(self.invalid)} of the pixels without "
            "data"
        ]
        if len(self.values):
            low, middle, high = np.percentile(self.values, (ENDS[0], 50, ENDS[1]), axis=0)
            for band in range(min(self.bands, 16)):
                name = self.names[band] if self.names and self.names[band] else ""
                unit = self.units[band] if self.units and self.units[band] else ""
                called = f" ({shown(name)})" if name else ""
                measured = f" {shown(unit)}" if unit else ""
                lines.append(
                    f"  band {band + 1}{called}: "
                    f"{self.lowest[band]:g} to {self.highest[band]:g}{measured}, "
                    f"{ENDS[0]} % {low[band]:g}, median {middle[band]:g}, "
                    f"{ENDS[1]} % {high[band]:g}"
                )
            if self.bands > 16:
                lines.append(f"  and {self.bands - 16} more bands")
        return lines

    def _resolution(self) -> str:
        if not self.resolutions:
            return "unknown size"
        low, high = self.resolutions
        return f"{low:.3g} m" if high <= low * 1.01 else f"{low:.3g} to {high:.3g} m"

    def warnings(self, name: str) -> list[str]:
        """Lines on what makes training worse or slow; `name` is that of the domain."""
        lines = []
        if self.resolutions and self.resolutions[1] > _COARSER * self.resolutions[0]:
            lines.append(
                f"{name}: pixels of {self._resolution()}: resample all to one (gdalwarp -tr): "
                "networks know objects by their size in pixels"
            )
        if self.slow:
            lines.append(
                f"{name}: {counted(self.slow, 'scene')} stored in rows or as one block, so that a "
                "crop reads far more than itself: make them COGs (gdal_translate -of COG)"
            )
        return lines

    def settled(self, scaling: Scaling) -> dict[str, str | float]:
        """The fields of a recipe that the rasters settle, without the letter of the domain."""
        return {
            "dtype": self.dtype,
            "scaling": scaling.text,
            "band_names": joined_names(self.names),
            "units": joined_names(self.units),
            "nodata": "" if self.nodata is None else repr(float(self.nodata)),
            "resolution": float(f"{self.resolution:.6g}"),
        }


def together(looks: Sequence[RasterLook]) -> RasterFacts | None:
    """The facts of the rasters of a domain; None where there are none."""
    if not looks:
        return None
    dtype = Counter(look.dtype for look in looks).most_common(1)[0][0]
    bands = Counter(look.values.shape[1] for look in looks).most_common(1)[0][0]
    alike = [look for look in looks if look.dtype == dtype and look.values.shape[1] == bands]
    names = Counter(look.geo.names for look in alike).most_common(1)[0][0]
    units = Counter(look.geo.units for look in alike).most_common(1)[0][0]
    known = Counter(repr(look.geo.nodata) for look in alike if look.geo.nodata is not None)
    sides = sorted(look.geo.resolution for look in alike if look.geo.resolution)
    values = np.concatenate([look.values for look in alike])
    values = values[:: max(len(values) // _MOST, 1)]
    filled = [look for look in alike if look.lowest]
    pixels = [look.size[0] * look.size[1] for look in alike]
    systems = Counter(_system(look) for look in alike if look.geo.crs or look.geo.gcps_crs)
    return RasterFacts(
        dtype=dtype,
        bands=bands,
        names=names,
        units=units,
        nodata=float(known.most_common(1)[0][0]) if known else None,
        resolution=sides[len(sides) // 2] if sides else 0.0,
        resolutions=(sides[0], sides[-1]) if sides else (),
        systems=tuple(system for system, _ in systems.most_common()),
        invalid=sum(n * look.invalid for n, look in zip(pixels, alike, strict=True)) / sum(pixels),
        lowest=tuple(np.min([look.lowest for look in filled], axis=0)) if filled else (),
        highest=tuple(np.max([look.highest for look in filled], axis=0)) if filled else (),
        slow=sum(look.slow for look in alike),
        placed=any(look.geo.placed for look in alike),
        values=values,
    )


def fitted(facts: RasterFacts, asked: str, name: str) -> tuple[Scaling, list[str]]:
    """The scaling of a domain as it was asked for, and lines that say what it is.

    "auto" is the whole range for uint8, and for other samples the percentiles 0.1 and 99.9 of each
    band, linearly. Curves alone are of these percentiles, too. Decibels are of values above 0:
    others are scaled as the low end.

    Raises:
        ConfigError: samples without a whole range, or ends for other bands.
        DataError: no valid pixel, or no positive one for decibels.
    """
    curve, ends = parse_scaling(asked)
    if ends:
        if len(ends) not in (1, facts.bands):
            raise ConfigError(
                f"{name}: a scaling of {len(ends)} bands for rasters of {facts.bands}: give a pair "
                "of values for each band, or one for all"
            )
        scaling = Scaling(facts.dtype, curve or "linear", ends * (facts.bands // len(ends)))
        return scaling, [f"{name}: scaled as asked, {_told(scaling, facts)}"]
    whole = asked.strip() == "full" or (curve is None and facts.dtype == "uint8")
    if whole:
        if facts.dtype not in ("uint8", "uint16"):
            raise ConfigError(f"{name}: {facts.dtype} samples have no whole range to scale")
        return Scaling(facts.dtype), []
    if not len(facts.values):
        raise DataError(f"{name}: no pixel of its rasters has data")
    lines = []
    found = []
    for band in range(facts.bands):
        values = facts.values[:, band]
        if curve == "db":
            positive = values[values > 0]
            if not len(positive):
                raise DataError(
                    f"{name}: band {band + 1} has no value above 0, so none in decibels: if the "
                    "values are in decibels already, give linear"
                )
            if len(positive) < len(values):
                share = percent(1 - len(positive) / len(values))
                lines.append(
                    f"{name}: {share} of the values of band {band + 1} are 0 or negative; in "
                    "decibels they count as the low end"
                )
            values = positive
        low, high = (float(f"{end:.7g}") for end in np.percentile(values, ENDS))
        if high <= low:
            high = low + max(abs(low) * 1e-3, 1.0)
        found.append((low, high))
    scaling = Scaling(facts.dtype, curve or "linear", tuple(found))
    head = f"{name}: percentiles {ENDS[0]} and {ENDS[1]} are scaled to -1 and 1"
    return scaling, [*lines, f"{head}, {_told(scaling, facts)}"]


def resolutions_differ(a: RasterFacts | None, b: RasterFacts | None, names: Sequence[str]) -> str:
    """A line where both domains have a known resolution and it is not the same; else ""."""
    sides = [facts.resolution if facts else 0.0 for facts in (a, b)]
    if min(sides) <= 0 or max(sides) <= _COARSER * min(sides):
        return ""
    return (
        f"pixels of {names[0]} are {sides[0]:.3g} m, of {names[1]} {sides[1]:.3g} m: objects "
        "differ in size, which networks would have to translate, too: resample one (gdalwarp -tr)"
    )


def _told(scaling: Scaling, facts: RasterFacts) -> str:
    """The ends of the bands for people."""
    unit = {"linear": "", "db": " in decibels", "log": " by their logarithm"}[scaling.curve]
    listed = []
    for band, (low, high) in enumerate(scaling.ends[:16]):
        name = facts.names[band] if facts.names else ""
        if scaling.curve == "db":
            start, stop = (float(bend(np.array(end), "db")) for end in (low, high))
            listed.append(f"{shown(name) or band + 1} {start:.1f} to {stop:.1f} dB")
        else:
            listed.append(f"{shown(name) or band + 1} {low:g} to {high:g}")
    more = f" and {len(scaling.ends) - 16} more" if len(scaling.ends) > 16 else ""
    return f"values{unit}: {', '.join(listed)}{more}"


def _system(look: RasterLook) -> str:
    """A short name of a coordinate reference system."""
    text = look.geo.crs or look.geo.gcps_crs
    name = text.split('"')[1] if '"' in text else text[:40]
    return shown(name) + ("" if look.geo.crs else " (control points)")
