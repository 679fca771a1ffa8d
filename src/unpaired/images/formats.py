"""The table of image formats, and reading and writing by it.

A new format is one entry of `FORMATS`; where Pillow cannot tell bits and bands, it names a parser
of its own in `header`.

Formats are recognised by content, not by suffix. Nothing is lost: 16-bit samples stay 16-bit,
transparency is kept apart, the EXIF orientation is applied; what Pillow would cut to 8 bits or to
three bands is read through rasterio (the extra `geo`) or rejected, and so are files of several
frames. Of the images in one JPEG the first is the photograph, the rest are its previews. Colour
profiles are ignored.

Rasters (`ImageHeader.is_raster`: GeoTIFF, VRT, signed and float samples) are read with their place,
mask and tags where rasterio is installed, whole or by windows, and written as GeoTIFFs.

PNG, WebP, AVIF and GIF define transparency. In TIFF and JPEG 2000 a tag marks a band as such, and
programs mark near infrared so, too: there it is transparency only if it is a mask (`is_mask`).
"""

import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import numpy as np
import PIL.features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from unpaired.config import DEFAULT_MAX_PIXELS, Recipe
from unpaired.directions import Domain
from unpaired.errors import ImageError, SeveralFrames, TooLarge, reason_of
from unpaired.images.foreign import rejection
from unpaired.images.header import (
    ImageHeader,
    decoding,
    parse_avif,
    parse_gif,
    parse_jpeg2000,
    parse_png,
    parse_webp,
)
from unpaired.images.image import Image, is_mask
from unpaired.images.pillow import Decoder, decode, fits_pillow, to_pil
from unpaired.images.pnm import parse_pnm, read_pnm
from unpaired.images.raster.codec import has_rasterio, read_raster, write_raster
from unpaired.images.raster.geo import Window
from unpaired.images.raster.scene import find_bands, open_scene
from unpaired.images.raster.vrt import parse_vrt
from unpaired.images.raster.write import write_geotiff
from unpaired.images.tiff import parse_tiff
from unpaired.storage import atomic_path, open_regular

__all__ = [
    "SUFFIXES",
    "ImageFormat",
    "Reading",
    "format_of",
    "read_header",
    "read_image",
    "write_image",
]

_START = 256  # bytes of a file that tell its format


@dataclass(frozen=True)
class ImageFormat:
    """One image format: how files of it are recognised, read and written."""

    name: str  # as Pillow's `save` takes it, in any case and without spaces
    suffixes: tuple[str, ...]  # in lower case
    magic: bytes  # a regular expression for the first bytes
    decoder: Decoder  # Pillow's class
    parse: Callable[[BinaryIO], ImageHeader] | None = None  # None: 8 bits, as the decoder says
    read: Callable[[BinaryIO, ImageHeader], Image] | None = None  # None: by the decoder
    driver: str | None = None  # of rasterio, for 16 bits and many bands; None: 8 bits only
    feature: str = ""  # of Pillow, without which it is not read
    written: bool = True  # False: results are written as PNG
    many_bands: bool = False  # other band counts than 1 and 3 can be written
    alpha: bool = True  # False: transparency is dropped when writing
    longest: int = 2**31 - 1  # pixels a side
    lossy: bool = False  # `quality` applies
    weight: float = 1  # for the limit of pixels: memory of the decoder, relative to that of PNG
    options: Mapping[str, Any] = field(default_factory=dict)  # of Pillow's `save`


# fmt: off
FORMATS = (
    ImageFormat("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), rb"\xff\xd8\xff", JpegImageFile,
                alpha=False, longest=65500, lossy=True, options={"subsampling": 0}),
    ImageFormat("PNG", (".png",), rb"\x89PNG\r\n\x1a\n", PngImageFile, parse_png, driver="PNG"),
    ImageFormat("WebP", (".webp",), rb"(?s)RIFF....WEBP", WebPImageFile, parse_webp,
                longest=16383, weight=2, options={"lossless": True, "exact": True}),
    ImageFormat("BMP", (".bmp",), rb"BM", BmpImageFile, alpha=False),
    ImageFormat("TIFF", (".tif", ".tiff"), rb"II[*+]\0|MM\0[*+]", TiffImageFile, parse_tiff,
                driver="GTiff", many_bands=True, options={"compression": "tiff_adobe_deflate"}),
    ImageFormat("AVIF", (".avif",), rb"(?s)....ftyp(avi[fs]|m[is]f1....(....){,8}avi[fs])",
                AvifImageFile, parse_avif, feature="avif", longest=65536, lossy=True,
                weight=1.5, options={"subsampling": "4:4:4"}),
    ImageFormat("JPEG 2000", (".jp2", ".jpx", ".jpf"), rb"\0\0\0\x0cjP  \r\n\x87\n",
                Jpeg2KImageFile, parse_jpeg2000, weight=2.5, driver="JP2OpenJPEG"),
    ImageFormat("JPEG 2000 code stream", (".j2k", ".j2c"), rb"\xff\x4f\xff\x51",
                Jpeg2KImageFile, parse_jpeg2000, weight=2.5, driver="JP2OpenJPEG", written=False),
    ImageFormat("GIF", (".gif",), rb"GIF8[79]a", GifImageFile, parse_gif, written=False),
    ImageFormat("VRT", (".vrt",), rb"\s*<VRTDataset", TiffImageFile, parse_vrt, driver="VRT",
                written=False),
    ImageFormat("PNM", (".ppm", ".pgm", ".pbm", ".pnm"), rb"P[1-6][\s#]", PpmImageFile, parse_pnm,
                read_pnm, written=False),
)
# fmt: on

SUFFIXES = {suffix: format for format in FORMATS for suffix in format.suffixes}
"""The suffixes of image files, in lower case, and the format of each."""


@dataclass(frozen=True)
class Reading:
    """How image files are read, where they leave it open.

    Attributes:
        alpha: what the last band is where it may be transparency. "auto": as the format defines;
            of TIFF and JPEG 2000, which only mark it, transparency if it is a mask, else a band.
            "mask": transparency wherever it is marked. "band": always a band.
        frames: "reject" rejects a file of several frames (pages, animations), "first" takes the
            first. Pages that are the channels of one image are its bands.
        bands: the bands that are read, by number from 1 or by name, in their order; empty: all.
    """

    alpha: Literal["auto", "mask", "band"] = "auto"
    frames: Literal["reject", "first"] = "reject"
    bands: tuple[str, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe, domain: Domain) -> Self:
        """As the images of a domain are read in a training."""
        return cls(recipe.alpha, recipe.frames, recipe.select(domain))


def format_of(start: bytes) -> ImageFormat | None:
    """Finds the format of a file by its first 256 bytes; None if it is none that is read."""
    return next((format for format in FORMATS if re.match(format.magic, start)), None)


def read_header(
    path: str | Path, reading: Reading = Reading(), *, bands: int | None = None
) -> ImageHeader:
    """Reads the header of the image at `path`, whatever its suffix says.

    `reading` and `bands` are as for `read_image`. Where the values of a band decide whether it is
    transparency, it counts as such.

    Raises:
        ImageError: not an image of a format that is read, a damaged header, or samples that are
            neither 8- nor 16-bit unsigned.
        SeveralFrames: several frames, and `reading` rejects them.
    """
    with _opened(path) as file:
        header = _settled(_parse(file)[1], reading, bands)
        return replace(header, bands=len(reading.bands)) if reading.bands else header


def read_image(
    path: str | Path,
    reading: Reading = Reading(),
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    bands: int | None = None,
    window: Window | None = None,
    described: bool = True,
) -> Image:
    """Reads the image at `path`, upright.

    The size is checked against `max_pixels` before anything is decoded, and what was decoded
    against the header. Pixels count as more than one where they take more than 8 bytes, or where
    decoding takes more memory than that of PNG: with the default limit it is below 1.5 GiB.

    Args:
        path: a regular file.
        reading: what transparency is, and whether files of several frames are accepted.
        max_pixels: larger images are rejected.
        bands: the bands that the image should have. Where `reading` leaves it to the values
            whether a band is transparency, this decides: it is not if the image has so many with
            it.
        window: the part to read. Of a raster no more than that is decoded, and the limit of pixels
            is for the part alone.
        described: whether the place and the tags of a raster are read (`geo`), too.

    Raises:
        TooLarge: more than `max_pixels` pixels, or more than fits in memory.
        SeveralFrames: several frames, and `reading` rejects them.
        ImageError: not an image, damaged, or of samples that are not 8- or 16-bit unsigned.
        MissingExtra: 16-bit colour, many bands or a rare compression, and rasterio is not
            installed.
    """
    with _opened(path) as file:
        format, stated = _parse(file)
        header = _settled(stated, reading, bands)
        if header.is_raster and (format.driver == "VRT" or needs_scene(header)):
            part = replace(header, height=window.height, width=window.width) if window else header
            _require_room(format, part, 0, max_pixels)
            with open_scene(path, reading.bands, reading.alpha, described=described) as scene:
                return scene.read(window)
        _require_room(format, header, os.fstat(file.fileno()).st_size, max_pixels)
        image = _decode(path, file, format, header)
        # A band that was marked as transparency, and is none, is one more than the header counts.
        bands = image.bands - (header.marked and image.alpha is None)
        given = bands, image.depth, *sorted(image.size)
        if given != (header.bands, header.depth, *sorted((header.height, header.width))):
            raise ImageError(
                f"damaged or cut off (decoded to {image.bands} bands of {image.depth} bits, other"
                " than its header says)"
            )
    if stated.marked:
        image = replace(image, marked="band" if image.alpha is None else "mask")
    if reading.bands:
        chosen = [band - 1 for band in find_bands([""] * image.bands, reading.bands)]
        image = replace(image, pixels=image.pixels[:, :, chosen])
    if window:
        rows, columns = (
            slice(s, s + n) for s, n in ((window.top, window.height), (window.left, window.width))
        )
        alpha = None if image.alpha is None else image.alpha[rows, columns]
        image = replace(image, pixels=image.pixels[rows, columns], alpha=alpha)
    return replace(image, frames=header.frames) if header.frames > 1 else image


def needs_scene(header: ImageHeader) -> bool:
    """Whether a raster is opened as one: always, but for what Pillow reads where that is all."""
    return not header.exact_in_pillow or has_rasterio()


def _settled(header: ImageHeader, reading: Reading, bands: int | None) -> ImageHeader:
    """The header with what can be known of its transparency before its pixels are decoded.

    Raises:
        SeveralFrames: several frames, and `reading` rejects them.
    """
    if header.frames > 1 and reading.frames == "reject":
        raise SeveralFrames(
            f"holds {header.frames:,} frames, of which one would be used: save each as a file, or"
            " give --frames first (to check, train or translate)"
        )
    if not header.alpha or reading.alpha == "mask":
        return replace(header, marked=False)
    if reading.alpha == "band" or (header.marked and bands == header.bands + 1):
        return replace(header, bands=header.bands + 1, alpha=False, marked=False)
    return header


def _require_room(
    format: ImageFormat, header: ImageHeader, file_size: int, max_pixels: int
) -> None:
    """The gate that every image passes before it is decoded.

    Raises:
        TooLarge: over `max_pixels`, or a file that holds far more bytes than its pixels.
    """
    pixels = header.height * header.width
    each = (header.bands + header.alpha) * header.depth // 8
    counted = round(pixels * max(each / 8, format.weight))
    if counted > max_pixels:
        size = f"{header.width} x {header.height} pixels"
        if pixels <= max_pixels:
            size += f" of {format.name}, {each} bytes each, count as {counted} by their memory and"
        raise TooLarge(
            f"{size} are over the limit of {max_pixels}: if you trust the file, raise it with"
            " --max-pixels"
        )
    # Some decoders read the whole file into memory.
    if file_size > 16 * max(pixels * max(each, 8), 2**24) * header.frames:
        raise TooLarge(f"a file of {file_size:,} bytes for {header.width} x {header.height} pixels")


def _decode(path: str | Path, file: BinaryIO, format: ImageFormat, header: ImageHeader) -> Image:
    """Decodes by Pillow, or by rasterio where Pillow would lose something or lacks the codec."""
    exact = header.exact_in_pillow and (header.alpha or not header.premultiplied)
    if exact or format.driver is None:
        try:
            image = (format.read or partial(decode, decoder=format.decoder))(file, header)
        except ImageError:
            if not header.codec or format.driver is None:
                raise
        else:
            alpha = image.alpha
            if alpha is None and header.alpha:
                raise ImageError("a band of transparency that cannot be read: save it as RGB")
            is_band = alpha is not None and header.marked and not is_mask(alpha)
            if alpha is not None and (is_band or image.bands < header.bands):
                image = Image(np.dstack([image.pixels, alpha]))
            if not (is_band and header.premultiplied):
                return image
            header = replace(header, bands=header.bands + 1, alpha=False, marked=False)
    assert format.driver is not None
    return read_raster(path, header, format.driver)


def write_image(
    path: str | Path,
    image: Image,
    *,
    quality: int = 95,
    scratch: Path | None = None,
    sync: bool = True,
) -> None:
    """Writes `image` to `path`, atomically, in the format that the suffix names.

    JPEG and AVIF are written at `quality` with full colour resolution, all others without loss.
    JPEG and BMP drop the transparency. 16-bit colour and other band counts go through rasterio.
    Until it is whole, the file is in the folder `scratch`, if given, else beside `path`. With
    `sync` it is on the disk at the end; files that need not outlive the machine do without.

    Raises:
        ImageError: an unknown suffix, or a format that cannot hold the image.
        MissingExtra: rasterio is needed and not installed.
        RunError: the file cannot be written (no permission, full disk).
    """
    path = Path(path)
    format = SUFFIXES.get(path.suffix.lower())
    if format is None or not format.written:
        written = (suffix for suffix, format in SUFFIXES.items() if format.written)
        raise ImageError(f"{path}: images are written as {', '.join(written)}")
    deep, many = image.depth != 8 or not image.plain, image.bands not in (1, 3)
    many = many or not image.plain  # TIFF alone has them
    if (deep and format.driver is None) or (many and not format.many_bands):
        raise ImageError(
            f"{path}: {format.name} cannot hold {image.bands} bands of {image.depth} bits"
            f"{'' if image.plain else f' ({image.pixels.dtype})'}: write .tif"
        )
    if max(image.size) > format.longest:
        raise ImageError(
            f"{path}: {format.name} holds at most {format.longest} pixels a side: write .tif"
        )
    if not format.alpha:
        image = Image(image.pixels)
    quality_option = {"quality": quality} if format.lossy else {}
    with atomic_path(path, scratch=scratch, sync=sync) as temporary:
        if format.driver == "GTiff" and (image.geo or not image.plain):
            write_geotiff(temporary, image)
        elif format.driver is None or fits_pillow(image):
            kind = format.name.replace(" ", "")
            to_pil(image).save(temporary, kind, **quality_option, **format.options)
        else:
            write_raster(temporary, image, format.driver)


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """Opens the file at `path`; errors of its image get the path in front."""
    try:
        with open_regular(Path(path)) as file:
            yield file
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise ImageError(f"{path}: {reason_of(error)}") from error
    except MemoryError as error:
        raise TooLarge(f"{path}: needs more memory than is free") from error


def _parse(file: BinaryIO) -> tuple[ImageFormat, ImageHeader]:
    start = file.read(_START)
    format = format_of(start)
    if format is None:
        raise ImageError(rejection(start, [format.name for format in FORMATS]))
    if format.feature and not PIL.features.check(format.feature):
        raise ImageError(f"is {format.name}, which this Pillow lacks: pip install --upgrade pillow")
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
