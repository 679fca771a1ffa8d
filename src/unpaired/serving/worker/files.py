"""Reading the image of an order and writing its translation, with errors that clients may see."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from unpaired.console import log
from unpaired.directions import Direction, source_of
from unpaired.errors import ImageError, MissingExtra, TooLarge, UnpairedError, shown
from unpaired.images.formats import (
    SUFFIXES,
    Reading,
    format_of,
    read_header,
    read_image,
    write_image,
)
from unpaired.images.header import ImageHeader
from unpaired.images.image import Image
from unpaired.serving.messages import Order, Settings
from unpaired.serving.worker.metadata import removed
from unpaired.translation.model import Model

__all__ = ["Failed", "Opened", "failure", "look", "read", "write"]


class Failed(Exception):
    """An image that cannot be translated: an HTTP status, one line, and the limit it passed."""

    def __init__(self, status: int, error: str, limit: str = "") -> None:
        super().__init__(error)
        self.status, self.error, self.limit = status, error, limit


@dataclass(frozen=True)
class Opened:
    """What the header of an order's file says, and how the file is read and its result written."""

    header: ImageHeader
    reading: Reading
    suffix: str  # of the result
    warning: str = ""


def failure(error: BaseException, order: Order) -> Failed:
    """What a client is told of an error: one line without paths."""
    if isinstance(error, Failed):
        return error
    if isinstance(error, MemoryError):
        return Failed(413, "needs more memory than the server has: make the image smaller")
    if not isinstance(error, UnpairedError):
        log.error("an image failed", exc_info=error)
        return Failed(500, "the server failed on this image: see its log")
    text = str(error)
    for path in (order.source, order.target):
        text = re.sub(rf"{re.escape(path)}(\.\w+)?(: )?", "", text)
    text = re.sub(r": if you trust the file, raise it with --max-pixels", ": make it smaller", text)
    text = re.sub(r": --working-size \d+$", ": make the image smaller", text)
    if isinstance(error, TooLarge):
        return Failed(413, text, "pixels")
    if isinstance(error, ImageError | MissingExtra):
        return Failed(422, text)
    log.error("an image failed: %s", error)
    return Failed(500, "the server could not store or compute this image: see its log")


def look(model: Model, direction: Direction, order: Order, settings: Settings) -> Opened:
    """Reads the header of an order's file, and nothing of its pixels.

    Raises:
        Failed: no format that is read, or over a limit.
        UnpairedError: as `Model.check_file`.
    """
    path = Path(order.source)
    with open(path, "rb") as file:
        format = format_of(file.read(256))
    if format is None or format.driver == "VRT":  # a VRT names other files
        raise Failed(415, "not an image of a format that is read here")
    reading = replace(model.reading(direction), frames="first")
    bands = model.config.recipe.domains[source_of(direction)].bands
    header = read_header(path, replace(reading, bands=()), bands=bands or None)
    size = f"{header.width} x {header.height} pixels"
    if header.width * header.height > settings.max_pixels:
        raise Failed(
            413, f"{size} are over the limit of {settings.max_pixels}: make it smaller", "pixels"
        )
    if max(header.width, header.height) > settings.max_side:
        raise Failed(
            413, f"{size}: a side may have {settings.max_side} pixels: make it smaller", "side"
        )
    found = model.check_file(path, direction, None, reading)
    warnings = [*found.warnings, removed(path)]
    if found.header.frames > 1:
        warnings.insert(0, f"{found.header.frames:,} frames: the first was translated")
    suffix = f".{order.format}" if order.format else format.suffixes[0]
    if not SUFFIXES[suffix].written:
        suffix = ".png"
    warning = shown("; ".join(line for line in warnings if line))
    return Opened(found.header, found.reading, suffix, warning)


def read(model: Model, direction: Direction, order: Order, opened: Opened, most: int) -> Image:
    """Decodes the image of an order, of at most `most` pixels. Raises as `read_image`."""
    bands = model.config.recipe.domains[source_of(direction)].bands
    return read_image(order.source, opened.reading, max_pixels=most, bands=bands)


def write(order: Order, opened: Opened, image: Image) -> str:
    """Writes a translation to the order's target; the suffix of its format, which is returned.

    Where no format was asked for and the image's own cannot hold the result, it is a TIFF.

    Raises:
        ImageError: the format that was asked for cannot hold the result.
        RunError: the disk is full.
    """
    try:
        write_image(order.target + opened.suffix, image, sync=False)
    except ImageError:
        if order.format or opened.suffix == ".tif":
            raise
        write_image(f"{order.target}.tif", image, sync=False)
        return ".tif"
    return opened.suffix
