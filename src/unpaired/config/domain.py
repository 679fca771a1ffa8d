"""The facts of one domain: its name, bands and samples, and of rasters their values and units."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from unpaired.errors import ConfigError, quoted

__all__ = ["CURVES", "Curve", "DomainFacts", "Ends", "joined_names", "parse_scaling"]

Curve = Literal["linear", "db", "log"]
"""How values are bent before they are scaled: not at all, 10 log10(x), or sign(x) log(1 + |x|)."""
CURVES: tuple[Curve, ...] = ("linear", "db", "log")
Ends = tuple[tuple[float, float], ...]
"""The values of each band that are scaled to -1 and to 1."""

_MARK = "|"  # between the names of bands, in one text


@dataclass(frozen=True)
class DomainFacts:
    """What a recipe says of one domain; 0 and "" until the data settles it.

    The fields after `depth` are those of rasters, and empty for images of 8 and 16 bits whose
    whole range is scaled.
    """

    name: str
    bands: int
    depth: int
    """Bits per sample: 8, 16 or 32."""
    dtype: str = ""
    """Type of the samples, by numpy's name; "": unsigned, of `depth` bits."""
    scaling: str = "auto"
    """See `parse_scaling`."""
    band_names: str = ""
    """Separated by |."""
    units: str = ""
    """Of the bands, separated by |."""
    nodata: str = ""
    """The value of pixels without data, as a number; "": there is none."""
    resolution: float = 0.0
    """Side of a pixel on the ground in metres; 0: not known."""

    @property
    def samples(self) -> str:
        """Type of the samples, by numpy's name."""
        return self.dtype or ("uint16" if self.depth == 16 else "uint8")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bands; "" of one without; empty where no band has one."""
        return tuple(self.band_names.split(_MARK)) if self.band_names else ()

    @property
    def band_units(self) -> tuple[str, ...]:
        """Units of the bands, likewise."""
        return tuple(self.units.split(_MARK)) if self.units else ()

    @property
    def nodata_value(self) -> float | None:
        """The value of pixels without data; None: there is none."""
        return float(self.nodata) if self.nodata else None


def joined_names(names: tuple[str, ...]) -> str:
    """Names of bands, or units, as one text; "" where none has one.

    >>> joined_names(("VV", "VH")), joined_names(("", ""))
    ('VV|VH', '')
    """
    clean = [re.sub(r"[\x00-\x1f\x7f-\x9f|\u2028\u2029\ud800-\udfff]", "/", name) for name in names]
    return _MARK.join(clean) if any(clean) else ""


def parse_scaling(text: str, flag: str = "--scaling") -> tuple[Curve | None, Ends]:
    """Reads how values become [-1, 1]: "auto", "full", or a curve and the two ends of each band.

    A curve alone (linear, db, log) leaves the ends to percentiles of the training images; ends
    alone are linear, and one pair serves all bands. "full" is the whole range of the samples' bits.

    >>> parse_scaling("full"), parse_scaling("db"), parse_scaling("0:3000 0:5000")
    ((None, ()), ('db', ()), ('linear', ((0.0, 3000.0), (0.0, 5000.0))))

    Raises:
        ConfigError: anything else; ends that are equal, or that the curve does not take.
    """
    words = text.split()
    if words in (["auto"], ["full"], []):
        return None, ()
    named = [known for known in CURVES if known == words[0]]
    curve: Curve = named[0] if named else "linear"
    words = words[len(named) :]
    ends = []
    for word in words:
        parts = word.split(":")
        try:
            low, high = map(float, parts)
        except ValueError:
            low = high = math.nan
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(
                f"{flag} is {quoted(text)}: give auto, full, linear, db or log, or the two ends of "
                "each band, such as 0:3000"
            )
        if curve == "db" and low <= 0:
            raise ConfigError(f"{flag} is {quoted(text)}: decibels need ends above 0")
        ends.append((low, high))
    return curve, tuple(ends)
