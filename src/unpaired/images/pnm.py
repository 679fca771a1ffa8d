"""Images of Netpbm (PBM, PGM, PPM), whose levels Pillow keeps in grey only."""

import re
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL.PpmImagePlugin import PpmImageFile

from unpaired.errors import ImageError
from unpaired.images.header import ImageHeader, decoding
from unpaired.images.image import Image
from unpaired.images.pillow import decode

__all__ = ["parse_pnm", "read_pnm"]

_NUMBER = rb"(?:[ \t\r\n\v\f]|#[^\n\r]*[\n\r])+(\d{1,10})"
_HEADER = re.compile(rb"P([1-6])" + 2 * _NUMBER)
_LEVELS = re.compile(_NUMBER)
_LONGEST = 2**16  # bytes of a header with its comments
_MOST_IMAGES = 1000  # more are not counted


@dataclass(frozen=True)
class _Raster:
    """One image of a file: its properties, and where its pixels begin and end."""

    kind: int  # the digit of its first bytes: 1 to 3 in digits, 4 to 6 in bytes
    width: int
    height: int
    levels: int  # the greatest
    start: int
    stop: int


def parse_pnm(file: BinaryIO) -> ImageHeader:
    """Parses a header; netpbm.sourceforge.net/doc/ppm.html. Binary files may hold many images."""
    first = following = _raster(file, 0)
    frames = 1
    while following.kind > 3 and frames < _MOST_IMAGES:
        file.seek(following.stop)
        if not re.match(rb"P[4-6]\s", file.read(3)):
            break
        frames += 1
        following = _raster(file, following.stop)
    bits = 1 if first.kind in (1, 4) else 8 if first.levels <= 255 else 16
    bands = 3 if first.kind in (3, 6) else 1
    return ImageHeader(first.width, first.height, bands, bits, frames=frames)


def read_pnm(file: BinaryIO, header: ImageHeader) -> Image:
    """Reads the first image, its levels stretched to the whole range of 8 or 16 bits.

    Raises:
        ImageError: damaged, or 16-bit colour in digits.
    """
    raster = _raster(file, 0)
    if raster.kind == 3 and header.depth == 16:
        raise ImageError("holds 16-bit colour in digits: save it as a binary PPM (P6)")
    if raster.kind not in (5, 6):
        return decode(file, header, PpmImageFile)
    kind = np.dtype(">u2" if header.depth == 16 else "u1")
    file.seek(raster.start)
    with decoding():
        stored = np.frombuffer(file.read(raster.stop - raster.start), kind)
        samples = stored.reshape(header.height, header.width, header.bands)
    if raster.levels != (full := 2**header.depth - 1):
        if samples.max() > raster.levels:
            raise ImageError(f"damaged or cut off (levels over {raster.levels})")
        scaled = samples.astype(np.uint32) * full + raster.levels // 2
        samples = scaled // raster.levels
    return Image(samples.astype(np.uint8 if header.depth == 8 else np.uint16))


def _raster(file: BinaryIO, place: int) -> _Raster:
    file.seek(place)
    text = file.read(_LONGEST)
    found = _HEADER.match(text)
    if not found:
        raise ValueError("no size")
    kind, width, height = map(int, found.groups())
    levels, end = 1, found.end()
    if kind not in (1, 4):
        deepest = _LEVELS.match(text, end)
        if not deepest or not 0 < int(deepest[1]) < 65536:
            raise ValueError("no number of levels from 1 to 65535")
        levels, end = int(deepest[1]), deepest.end()
    row = (width + 7) // 8 if kind == 4 else width * (3 if kind == 6 else 1) * (1 + (levels > 255))
    start = place + end + 1
    return _Raster(kind, width, height, levels, start, start + row * height)
