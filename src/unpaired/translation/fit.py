"""How a file fits the domain it is translated from: its bands, its part, and what differs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unpaired.config import DomainFacts
from unpaired.errors import ImageError, shown
from unpaired.images.formats import Reading, needs_scene, read_header
from unpaired.images.header import ImageHeader
from unpaired.images.image import Image
from unpaired.images.raster.geo import Window, window_of
from unpaired.images.raster.scene import OpenRaster, find_bands, open_scene

__all__ = ["Area", "Fit", "fit", "require_samples"]

_RESOLUTION = 1.1  # ratio of two pixels' sides, from which they are said to differ


@dataclass(frozen=True)
class Area:
    """The part of every input that is translated: a window in pixels, or a box in its CRS."""

    window: Window | None = None
    box: tuple[float, float, float, float] | None = None  # left, bottom, right, top

    def of(self, scene: OpenRaster) -> Window:
        """The part of a scene.

        Raises:
            ImageError: it has no such part, or no place on Earth.
        """
        if self.box is not None:
            return window_of(scene.geo, scene.size, self.box)
        return (self.window or scene.whole).cut(scene.size)


@dataclass(frozen=True)
class Fit:
    """How a file is read for a domain, and lines on what is other than in the training."""

    header: ImageHeader  # of the part that is translated
    reading: Reading
    window: Window | None = None
    warnings: tuple[str, ...] = ()


def fit(path: str | Path, facts: DomainFacts, reading: Reading, area: Area | None = None) -> Fit:
    """Finds how the file at `path` is read as an image of a domain.

    Bands are found by their names where the model knows them, else by the selection of the
    training, else in their order.

    Raises:
        ImageError: unreadable; samples or bands that cannot be those of the domain; no such area.
    """
    header = read_header(path, replace(reading, bands=()), bands=facts.bands or None)
    if not (header.is_raster and needs_scene(header)):
        if area is not None:
            raise ImageError(f"{path}: --window and --bbox are for GeoTIFF and VRT files")
        if reading.bands:
            header = replace(header, bands=len(reading.bands))
        return Fit(header, reading)
    try:
        with open_scene(path, alpha=reading.alpha) as scene:
            window = area.of(scene) if area else None
            held, dtype = scene.geo.names, scene.dtype
            chosen, warnings = _bands(held, facts, reading.bands)
            warnings += _differences(dtype, scene.geo.resolution, facts)
    except ImageError as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    header = replace(header, bands=len(chosen) if chosen else len(held), alpha=False)
    if window:
        header = replace(header, height=window.height, width=window.width)
    return Fit(header, replace(reading, bands=chosen), window, tuple(warnings))


def _bands(
    held: Sequence[str], facts: DomainFacts, selected: tuple[str, ...]
) -> tuple[tuple[str, ...], list[str]]:
    """The bands to read, empty for all of them, and what is to be said of that."""
    names = facts.names
    if names and all(names) and set(names) <= set(held):
        return names, []
    if selected and len(held) != facts.bands:
        find_bands(held, selected)  # raises where there are no such bands
        return selected, []
    if names and len(held) == facts.bands and any(held):
        these, those = shown(", ".join(held)), shown(", ".join(names))
        return (), [f"bands are {these}, in the training {those}: taken in their order"]
    return (), []


def _differences(dtype: str, resolution: float, facts: DomainFacts) -> list[str]:
    """What a raster has other than the training; raises where it cannot be of the domain."""
    if dtype != facts.samples:
        plain = dtype in ("uint8", "uint16")
        if "uint8" in (dtype, facts.samples) if facts.dtype else not plain:
            raise ImageError(
                f"holds {dtype} samples, {facts.name} has {facts.samples}: convert it to the "
                "values that the model was trained on"
            )
        if facts.dtype:
            return [
                f"{dtype} samples, in the training {facts.samples}: taken as the same quantity",
                *_coarser(resolution, facts),
            ]
    return _coarser(resolution, facts)


def _coarser(resolution: float, facts: DomainFacts) -> list[str]:
    both = resolution, facts.resolution
    if min(both) > 0 and max(both) > _RESOLUTION * min(both):
        return [
            f"pixels of {resolution:.3g} m, in the training {facts.resolution:.3g} m: objects have "
            "another size than the model knows; resample it first (gdalwarp -tr)"
        ]
    return []


def require_samples(image: Image, facts: DomainFacts) -> None:
    """Checks that an array is of a type that a domain can have.

    Raises:
        ImageError: it is not.
    """
    if not (image.plain or facts.dtype):
        raise ImageError(
            f"an array of type {image.pixels.dtype} is not an image of {facts.name}, which has "
            f"{facts.samples}: give that"
        )
