"""The table of image formats, and reading and writing by it.

A new format is one entry of `FORMATS`; where Pillow cannot tell bits and bands, it names a parser
of its own in `header`.

Formats are recognised by content, not by suffix; of several frames the first is read. Nothing is
lost: 16-bit samples stay 16-bit, transparency is kept apart, the EXIF orientation is
applied; what Pillow would cut to 8 bits or to three bands is read through rasterio (the extra
`geo`) or rejected. Colour profiles are ignored.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.errors import ImageError, TooLarge, reason_of
from unpaired.images.header import ImageHeader, decoding, parse_png, parse_tiff, parse_webp
from unpaired.images.image import Image
from unpaired.images.pillow import Decoder, decode, fits_pillow, to_pil
from unpaired.images.raster import read_raster, write_raster
from unpaired.storage import atomic_path

__all__ = ["SUFFIXES", "ImageFormat", "format_of", "read_header", "read_image", "write_image"]


@dataclass(frozen=True)
class ImageFormat:
    """One image format: how files of it are recognised, read and written."""

    name: str  # as Pillow's `save` takes it, in any case
    suffixes: tuple[str, ...]  # in lower case
    magic: bytes  # a regular expression for the first 16 bytes
    decoder: Decoder  # Pillow's class
    parse: Callable[[BinaryIO], ImageHeader] | None = None  # None: 8 bits, as the decoder says
    driver: str | None = None  # of rasterio, for 16 bits and many bands; None: 8 bits only
    many_bands: bool = False  # other band counts than 1 and 3 can be written
    alpha: bool = True  # False: transparency is dropped when writing
    longest: int = 2**31 - 1  # pixels a side
    lossy: bool = False  # `quality` applies
    options: Mapping[str, Any] = field(default_factory=dict)  # of Pillow's `save`


# fmt: off
FORMATS = (
    ImageFormat("JPEG", (".jpg", ".jpeg"), rb"\xff\xd8\xff", JpegImageFile, alpha=False,
                longest=65500, lossy=True, options={"subsampling": 0}),
    ImageFormat("PNG", (".png",), rb"\x89PNG\r\n\x1a\n", PngImageFile, parse_png, driver="PNG"),
    ImageFormat("WebP", (".webp",), rb"(?s)RIFF....WEBP", WebPImageFile, parse_webp,
                longest=16383, options={"lossless": True, "exact": True}),
    ImageFormat("BMP", (".bmp",), rb"BM", BmpImageFile, alpha=False),
    ImageFormat("TIFF", (".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]", TiffImageFile, parse_tiff,
                driver="GTiff", many_bands=True, options={"compression": "tiff_adobe_deflate"}),
)
# fmt: on

SUFFIXES = {suffix: format for format in FORMATS for suffix in format.suffixes}
"""The suffixes of image files, in lower case, and the format that each is written in."""


def format_of(start: bytes) -> ImageFormat | None:
    """Finds the format of a file by its first 16 bytes; None if it is none that is read."""
    return next((format for format in FORMATS if re.match(format.magic, start)), None)


def read_header(path: str | Path) -> ImageHeader:
    """Reads the header of the image at `path`, whatever its suffix says.

    Raises:
        ImageError: not an image of a format that is read, a damaged header, or samples that are
            neither 8- nor 16-bit unsigned.
    """
    with _opened(path) as file:
        return _parse(file)[1]


def read_image(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image:
    """Reads the image at `path`, upright.

    The size is checked against `max_pixels` before anything is decoded.

    Raises:
        TooLarge: more than `max_pixels` pixels, or more than fits in memory.
        ImageError: not an image, damaged, or of samples that are not 8- or 16-bit unsigned.
        MissingExtra: 16-bit colour or many bands, and rasterio is not installed.
    """
    with _opened(path) as file:
        format, header = _parse(file)
        if header.height * header.width > max_pixels:
            raise TooLarge(
                f"{header.width} x {header.height} pixels are over the limit of {max_pixels}:"
                " if you trust the file, raise it with --max-pixels"
            )
        if header.exact_in_pillow or format.driver is None:
            return decode(file, header, format.decoder)
        return read_raster(path, header, format.driver)


def write_image(path: str | Path, image: Image, *, quality: int = 95) -> None:
    """Writes `image` to `path`, atomically, in the format that the suffix names.

    JPEG is written at `quality` with full colour resolution, all others without loss. JPEG and BMP
    drop the transparency. 16-bit colour and other band counts go through rasterio.

    Raises:
        ImageError: an unknown suffix, or a format that cannot hold the image.
        MissingExtra: rasterio is needed and not installed.
        RunError: the file cannot be written (no permission, full disk).
    """
    path = Path(path)
    format = SUFFIXES.get(path.suffix.lower())
    if format is None:
        raise ImageError(f"{path}: images are written as {', '.join(SUFFIXES)}")
    deep, many = image.depth == 16, image.bands not in (1, 3)
    if (deep and format.driver is None) or (many and not format.many_bands):
        raise ImageError(
            f"{path}: {format.name} cannot hold {image.bands} bands of {image.depth} bits:"
            " write .tif"
        )
    if max(image.size) > format.longest:
        raise ImageError(
            f"{path}: {format.name} holds at most {format.longest} pixels a side: write .tif"
        )
    if not format.alpha:
        image = Image(image.pixels)
    quality_option = {"quality": quality} if format.lossy else {}
    with atomic_path(path) as temporary:
        if format.driver is None or fits_pillow(image):
            to_pil(image).save(temporary, format.name, **quality_option, **format.options)
        else:
            write_raster(temporary, image, format.driver)


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """Opens the file at `path`; errors of its image get the path in front."""
    try:
        with open(path, "rb") as file:
            yield file
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise ImageError(f"{path}: {reason_of(error)}") from error
    except MemoryError as error:
        raise TooLarge(f"{path}: needs more memory than is free") from error


def _parse(file: BinaryIO) -> tuple[ImageFormat, ImageHeader]:
    start = file.read(16)
    format = format_of(start)
    if format is None:
        *names, last = (format.name for format in FORMATS)
        accepted = f"{', '.join(names)} and {last}"
        raise ImageError(f"not an image ({accepted} are read)" if start else "the file is empty")
    file.seek(0)
    damaged = f"damaged {format.name} header"
    if format.parse is None:
        with decoding(damaged):
            image = format.decoder(file)
        bands = 1 if image.mode in ("1", "L", "LA") else 3
        header = ImageHeader(*image.size, bands, 8, alpha=image.mode in ("LA", "RGBA"))
    else:
        try:
            header = format.parse(file)
        except (ArithmeticError, LookupError, OSError, ValueError, struct.error) as error:
            raise ImageError(f"{damaged} ({reason_of(error)})") from error
    if header.width < 1 or header.height < 1:
        raise ImageError(f"{damaged} (no pixels)")
    return format, header
