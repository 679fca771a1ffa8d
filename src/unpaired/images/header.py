"""What the first bytes of an image say: format, size, bands, bits. Nothing is decoded here.

Sizes are known before any memory is taken for pixels, and so is what Pillow would drop without
a word: the lower bits of 16-bit colour, and bands beyond colour and transparency.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import PIL.BmpImagePlugin
import PIL.JpegImagePlugin

from unpaired.errors import ImageError

__all__ = ["ACCEPTED", "Format", "Header", "format_of", "parse_header", "read_header"]

Format = Literal["JPEG", "PNG", "WEBP", "BMP", "TIFF"]

ACCEPTED = "JPEG, PNG, WebP, BMP and TIFF"
"""The formats that are read, in words for messages."""

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Header:
    """What a file says about its image.

    `width` and `height` are those stored: an EXIF orientation may still swap them.
    """

    format: Format
    width: int
    height: int
    bands: int  # of colour as `read_image` gives them; transparency is not counted
    bits: int  # a sample, as stored: 1, 2, 4, 8 or 16
    alpha: bool = False  # a band of transparency stands behind the colours
    exact_in_pillow: bool = True  # False: Pillow would drop bits or bands of it
    orientation: int = 1  # of a TIFF, as in EXIF; the other formats tell it when decoded
    white_is_zero: bool = False  # a TIFF with inverted samples

    @property
    def depth(self) -> Literal[8, 16]:
        """Bits a sample in memory: anything up to 8 is widened to 8."""
        return 16 if self.bits == 16 else 8


def read_header(path: str | Path) -> Header:
    """Reads the header of the image at `path`, whatever its suffix says.

    Raises:
        ImageError: no image of a format we read, a damaged header, or samples that are
            neither 8- nor 16-bit unsigned.
    """
    try:
        with open(path, "rb") as file:
            return parse_header(file, path)
    except OSError as error:
        raise ImageError(f"{path}: {reason_of(error)}") from error


def parse_header(file: BinaryIO, path: str | Path) -> Header:
    """Reads the header from an open file; `path` only names it in messages."""
    start = file.read(32)
    format = format_of(start)
    if format is None:
        raise ImageError(
            f"{path}: " + (f"not an image ({ACCEPTED} are read)" if start else "the file is empty")
        )
    file.seek(0)
    try:
        match format:
            case "JPEG":
                image = PIL.JpegImagePlugin.JpegImageFile(file)
                header = Header(format, *image.size, 1 if image.mode == "L" else 3, 8)
            case "BMP":
                bitmap = PIL.BmpImagePlugin.BmpImageFile(file)
                grey = bitmap.mode in ("1", "L")
                header = Header(
                    format, *bitmap.size, 1 if grey else 3, 8, alpha=bitmap.mode == "RGBA"
                )
            case "PNG":
                header = _png(start)
            case "WEBP":
                header = _webp(start)
            case "TIFF":
                header = _tiff(file, path)
    except ImageError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise ImageError(f"{path}: damaged {format} header ({reason_of(error)})") from error
    if header.width < 1 or header.height < 1:
        raise ImageError(f"{path}: damaged {format} header (no pixels)")
    return header


def format_of(start: bytes) -> Format | None:
    """The format that the first 16 bytes of a file speak of, None if none that is read."""
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WEBP"
    if start.startswith(b"BM"):
        return "BMP"
    if start.startswith(_TIFF_MAGIC):
        return "TIFF"
    return None


def reason_of(error: Exception) -> str:
    """One line out of an exception of the system or of a decoder."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "is a folder"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def _png(start: bytes) -> Header:
    """PNG specification, 11.2.1: the IHDR chunk comes first."""
    if start[12:16] != b"IHDR":
        raise ValueError("no IHDR chunk")
    width, height, bits, colour = struct.unpack(">IIBB", start[16:26])
    alpha = colour in (4, 6)
    bands = 1 if colour in (0, 4) else 3
    return Header("PNG", width, height, bands, bits, alpha, bits < 16 or colour == 0)


def _webp(start: bytes) -> Header:
    """RFC 9649: the first chunk is a lossy, a lossless or an extended one."""
    chunk = start[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", start[26:30])
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF, 3, 8)
    if chunk == b"VP8L":
        (packed,) = struct.unpack("<I", start[21:25])
        size = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        return Header("WEBP", *size, 3, 8, alpha=bool(packed >> 28 & 1))
    if chunk == b"VP8X":
        width = int.from_bytes(start[24:27], "little") + 1
        height = int.from_bytes(start[27:30], "little") + 1
        return Header("WEBP", width, height, 3, 8, alpha=bool(start[20] & 0x10))
    raise ValueError("no chunk of pixels")


def _tiff(file: BinaryIO, path: str | Path) -> Header:
    """The first image of a TIFF or BigTIFF file; TIFF 6.0, section 8, has the tags."""
    tags = _tiff_tags(file)
    (width,), (height,) = tags[256], tags[257]
    bits, kinds, extras = tags.get(258, (1,)), tags.get(339, (1,)), tags.get(338, ())
    (photometric,), (samples,) = tags.get(262, (1,)), tags.get(277, (1,))
    (orientation,) = tags.get(274, (1,))
    if set(kinds) != {1} or len(set(bits)) != 1 or bits[0] not in (1, 2, 4, 8, 16):
        names = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}
        held = " and ".join(
            sorted({f"{names.get(kind, 'unknown')}{bit}" for kind in set(kinds) for bit in bits})
        )
        raise ImageError(
            f"{path}: holds {held} samples; images of 8- and 16-bit unsigned samples are accepted"
        )
    stored = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}.get(photometric)
    if stored is None:
        raise ImageError(
            f"{path}: a TIFF of photometric kind {photometric}; grey, RGB, palette, CMYK and"
            " YCbCr are accepted"
        )
    # Four samples of RGB without a word on the fourth: transparency, as libtiff and Pillow hold.
    alpha = extras[-1:] in ((1,), (2,)) or (photometric == 2 and samples == 4 and not extras)
    plain = samples == stored + alpha
    if plain and (bits[0] <= 8 or (samples == 1 and photometric == 1)):
        bands = 1 if photometric in (0, 1) else 3
        return Header("TIFF", width, height, bands, bits[0], alpha, True, orientation)
    if photometric > 2 or bits[0] < 8 or (alpha and extras[-1:] == (1,)):
        raise ImageError(
            f"{path}: a TIFF of {samples} samples of {bits[0]} bits, of photometric kind"
            f" {photometric} and extra samples {extras}, would lose something: save it as RGB"
        )
    return Header(
        "TIFF",
        width,
        height,
        samples - alpha,
        bits[0],
        alpha,
        exact_in_pillow=False,
        orientation=orientation,
        white_is_zero=photometric == 0,
    )


def _tiff_tags(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """The tags of the first directory that `_tiff` needs, by their number."""
    wanted = (256, 257, 258, 262, 274, 277, 338, 339)
    file.seek(0)
    start = file.read(16)
    order = "<" if start.startswith(b"II") else ">"
    big = start[2:4] in (b"+\0", b"\0+")
    word = "Q" if big else "I"  # the type of offsets and counts
    types = {1: "B", 3: "H", 4: "I", 16: "Q"}

    def unpack(layout: str) -> tuple[int, ...]:
        return struct.unpack(order + layout, file.read(struct.calcsize(order + layout)))

    file.seek(8 if big else 4)
    (directory,) = unpack(word)
    file.seek(directory)
    (entries,) = unpack("Q" if big else "H")
    first = file.tell()
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(min(entries, 4096)):
        file.seek(first + entry * (20 if big else 12))
        tag, kind, count = unpack("HH" + word)
        if tag in wanted and kind in types and 0 < count < 65536:
            layout = f"{count}{types[kind]}"
            if struct.calcsize(order + layout) > struct.calcsize(order + word):
                file.seek(*unpack(word))
            tags[tag] = unpack(layout)
    return tags
