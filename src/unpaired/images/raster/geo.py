"""What a georeferenced file says besides its pixels: place, bands, tags, nodata."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil, cos, floor, radians, sqrt
from typing import Self

from unpaired.errors import ImageError

__all__ = ["Geo", "Window", "resolution_of", "window_of"]

Transform = tuple[float, float, float, float, float, float]
_METRES = 111_320.0  # of a degree of latitude


@dataclass(frozen=True)
class Window:
    """A part of a raster, in pixels: its upper left corner and its size.

    >>> Window(0, 10, 4, 4).within(Window(2, 100, 8, 8))
    Window(top=2, left=110, height=4, width=4)
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def within(self, outer: "Window") -> "Window":
        """The same part of the part `outer`, as a part of the whole."""
        return replace(self, top=outer.top + self.top, left=outer.left + self.left)

    def cut(self, size: tuple[int, int]) -> "Window":
        """The part of it that is inside of a raster of `size` (height, width).

        Raises:
            ImageError: there is none.
        """
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + self.height, size[0]), min(self.left + self.width, size[1])
        if top >= bottom or left >= right:
            raise ImageError(f"the area lies outside of its {size[1]} x {size[0]} pixels")
        return Window(top, left, bottom - top, right - left)


@dataclass(frozen=True)
class Geo:
    """Place on Earth, bands and tags of a raster, as its file states them.

    `transform` are the six numbers of GDAL's affine transform in the order of `affine.Affine`: x of
    the column, x of the row, x of the origin, then those of y; None where there is none.
    """

    crs: str = ""
    """As WKT; that of the control points is in `gcps_crs`."""
    transform: Transform | None = None
    gcps: tuple[Mapping[str, float | str], ...] = ()
    gcps_crs: str = ""
    rpcs: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    spaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Tags of further namespaces."""
    names: tuple[str, ...] = ()
    """Of the bands; "" of one without."""
    units: tuple[str, ...] = ()
    nodata: float | None = None
    masked: bool = False
    """Whether the file has a mask beside its bands."""
    colours: tuple[str, ...] = ()
    """Colour interpretations of the bands, as GDAL names them in lower case."""
    resolution: float = 0.0
    """Side of a pixel in metres, of degrees at their latitude; 0: not known."""

    @property
    def placed(self) -> bool:
        """Whether it has a place on Earth."""
        return bool(self.crs or self.transform or self.gcps or self.rpcs)

    def part(self, window: Window) -> Self:
        """The same of a part of the raster."""
        moved = self.transform
        if moved is not None:
            a, b, c, d, e, f = moved
            left, top = window.left, window.top
            moved = (a, b, c + a * left + b * top, d, e, f + d * left + e * top)
        gcps = tuple(
            {**g, "row": float(g["row"]) - window.top, "col": float(g["col"]) - window.left}
            for g in self.gcps
        )
        rpcs = dict(self.rpcs)
        for name, offset in (("LINE_OFF", window.top), ("SAMP_OFF", window.left)):
            if name in rpcs:
                rpcs[name] = repr(float(rpcs[name]) - offset)
        return replace(self, transform=moved, gcps=gcps, rpcs=rpcs)


def resolution_of(transform: Transform, metres: float | None, middle: tuple[float, float]) -> float:
    """Side of a pixel in metres: the root of its area.

    Args:
        transform: see `Geo`.
        metres: of a unit of the CRS; None: its units are degrees.
        middle: (height, width) of the raster halved, whose latitude counts for degrees.
    """
    a, b, _, d, e, f = transform
    side = sqrt(abs(a * e - b * d))
    if metres is not None:
        return side * metres
    latitude = f + d * middle[1] + e * middle[0]
    return side * _METRES * sqrt(max(cos(radians(min(abs(latitude), 90.0))), 0.0))


def window_of(geo: Geo, size: tuple[int, int], box: tuple[float, float, float, float]) -> Window:
    """The pixels that a box (left, bottom, right, top) in units of the CRS touches.

    Raises:
        ImageError: no transform, or nothing of the raster is in the box.
    """
    if geo.transform is None:
        raise ImageError("has no transform from pixels to its CRS: give --window instead of --bbox")
    a, b, c, d, e, f = geo.transform
    determinant = a * e - b * d
    if not determinant:
        raise ImageError("has a transform that cannot be inverted: give --window")
    corners = [(x - c, y - f) for x in (box[0], box[2]) for y in (box[1], box[3])]
    columns = [(e * x - b * y) / determinant for x, y in corners]
    rows = [(a * y - d * x) / determinant for x, y in corners]
    # A box given by the edges of pixels touches none beyond, whatever the last digit.
    slack = 1e-6
    left, top = floor(min(columns) + slack), floor(min(rows) + slack)
    right, bottom = ceil(max(columns) - slack), ceil(max(rows) - slack)
    return Window(top, left, max(bottom - top, 0), max(right - left, 0)).cut(size)
