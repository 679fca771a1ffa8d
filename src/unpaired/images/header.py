"""The headers of image files: size, bands, bits and frames, before any pixel is decoded.

Sizes are known before memory is taken for pixels, and so is what Pillow would drop silently: the
lower bits of 16-bit colour, bands beyond colour and transparency, and all frames but the first.

A parser takes the open file and returns its `ImageHeader`. It raises ImageError for an image that
is not accepted, and ValueError, LookupError, OSError, ArithmeticError or struct.error for damaged
bytes; messages do not name the file. The parser of TIFF is in `tiff`, that of PNM in `pnm`.
"""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal

from unpaired.errors import ImageError, TooLarge, reason_of

__all__ = [
    "MOST_BANDS",
    "ImageHeader",
    "decoding",
    "parse_avif",
    "parse_gif",
    "parse_jpeg2000",
    "parse_png",
    "parse_webp",
]

MOST_BANDS = 1024
_MOST_CHUNKS = 100_000  # of a file; more are not walked through


@dataclass(frozen=True)
class ImageHeader:
    """The properties of an image that its file states.

    `width` and `height` are as stored: an EXIF orientation may still swap them.
    """

    width: int
    height: int
    bands: int  # colour bands as `read_image` returns them; transparency is not counted
    bits: int  # per sample, as stored: 1, 2, 4, 8 or 16; of rasters 32, too
    alpha: bool = False  # a band of transparency follows the colours
    exact_in_pillow: bool = True  # False: Pillow would drop bits or bands
    orientation: int = 1  # of a TIFF, as in EXIF; of other formats it is known after decoding
    white_is_zero: bool = False  # the samples are inverted; Pillow turns those that it reads
    marked: bool = False  # the band of transparency is one by a tag: its values decide
    premultiplied: bool = False  # the colours are multiplied by the transparency
    frames: int = 1  # pages of a TIFF, images of an animation
    stacked: bool = False  # the bands are pages, one each
    codec: str = ""  # the compression, if Pillow may lack it and rasterio may have it
    georeferenced: bool = False  # a GeoTIFF: it has a place on Earth, or tags of GDAL
    kind: Literal["uint", "int", "float"] = "uint"  # of the samples

    @property
    def depth(self) -> int:
        """Bits per sample in memory: anything up to 8 is widened to 8."""
        return max(self.bits, 8)

    @property
    def dtype(self) -> str:
        """The type of the samples in memory, by numpy's name."""
        return f"{self.kind}{self.depth}"

    @property
    def is_raster(self) -> bool:
        """Whether it is read as a raster: georeferenced, or of samples no photograph has."""
        upright = self.orientation == 1 and not self.stacked and self.frames == 1
        return (self.georeferenced and upright) or self.dtype not in ("uint8", "uint16")


@contextmanager
def decoding(trouble: str = "damaged or cut off") -> Iterator[None]:
    """Turns whatever a decoder raises at damaged bytes into ImageError.

    A decoder of untrusted bytes may raise anything, so every exception counts: only calls into
    third-party decoders belong inside, no code of ours. Pillow's warnings of damage are silenced
    from here on: what matters of it becomes an error.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = reason_of(error)
        of_system = isinstance(error, OSError) and error.errno
        raise ImageError(reason if of_system else f"{trouble} ({reason})") from error


def parse_png(file: BinaryIO) -> ImageHeader:
    """Parses a PNG header; PNG specification, 11.2.1: one IHDR chunk, which comes first.

    An animation has an acTL chunk with the number of its frames; the image of the IDAT chunks is
    one of them only if an fcTL chunk precedes it.
    """
    file.seek(8)
    frames, animated = 0, False
    header = b""
    for _ in range(_MOST_CHUNKS):
        length, kind = struct.unpack(">I4s", file.read(8))
        if not header and kind != b"IHDR":
            raise ValueError("no IHDR chunk")
        if kind == b"IDAT":
            break
        if kind == b"IHDR":
            if header:
                raise ValueError("two IHDR chunks")
            header = file.read(13)
            length -= 13
        elif kind == b"acTL":
            (frames,) = struct.unpack(">I", file.read(4))
            length -= 4
        animated = animated or kind == b"fcTL"
        file.seek(length + 4, os.SEEK_CUR)
    width, height, bits, colour = struct.unpack(">IIBB", header[:10])
    if bits not in (1, 2, 4, 8, 16):
        raise ValueError(f"{bits} bits a sample")
    alpha = colour in (4, 6)
    bands = 1 if colour in (0, 4) else 3
    exact = bits < 16 or colour == 0
    frames = max(frames + (frames > 0 and not animated), 1)
    return ImageHeader(width, height, bands, bits, alpha, exact, frames=frames)


def parse_webp(file: BinaryIO) -> ImageHeader:
    """Parses a WebP header; RFC 9649: the first chunk is lossy, lossless or extended."""
    start = file.read(30)
    chunk = start[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", start[26:30])
        return ImageHeader(width & 0x3FFF, height & 0x3FFF, 3, 8)
    if chunk == b"VP8L":
        (packed,) = struct.unpack("<I", start[21:25])
        size = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        return ImageHeader(*size, 3, 8, alpha=bool(packed >> 28 & 1))
    if chunk == b"VP8X":
        width = int.from_bytes(start[24:27], "little") + 1
        height = int.from_bytes(start[27:30], "little") + 1
        frames = 0
        if start[20] & 0x02:  # an animation: a chunk a frame
            file.seek(12)
            for _ in range(_MOST_CHUNKS):
                head = file.read(8)
                if len(head) < 8:
                    break
                frames += head.startswith(b"ANMF")
                (length,) = struct.unpack("<I", head[4:])
                file.seek(length + length % 2, os.SEEK_CUR)
        alpha = bool(start[20] & 0x10)
        return ImageHeader(width, height, 3, 8, alpha=alpha, frames=max(frames, 1))
    raise ValueError("no image chunk")


def parse_gif(file: BinaryIO) -> ImageHeader:
    """Parses a GIF; GIF89a specification. Grey if the first image's colours are 0, 1, 2, ...

    The size is that of the screen, enlarged where the first image exceeds it.
    """
    file.seek(6)
    width, height, flags = struct.unpack("<HHB", file.read(5))
    file.seek(13)
    colours = _colours(file, flags)
    frames = 0
    for _ in range(_MOST_CHUNKS):
        kind = file.read(1)
        if kind == b",":
            frames += 1
            left, top, across, down, flags = struct.unpack("<HHHHB", file.read(9))
            local = _colours(file, flags)
            if frames == 1:
                width, height = max(width, left + across), max(height, top + down)
                colours = local or colours
            file.seek(1, os.SEEK_CUR)
        elif kind == b"!":
            file.seek(1, os.SEEK_CUR)
        elif kind in (b";", b""):
            break
        else:
            continue  # as decoders do: some files hold bytes between their blocks
        while size := file.read(1) or b"\0":
            if size == b"\0":
                break
            file.seek(size[0], os.SEEK_CUR)
    if not frames:
        raise ValueError("no image")
    ramp = bytes(level for level in range(len(colours) // 3) for _ in range(3))
    return ImageHeader(width, height, 1 if colours == ramp else 3, 8, frames=frames)


def _colours(file: BinaryIO, flags: int) -> bytes:
    """The colour table that follows in a GIF, if `flags` say that there is one."""
    return file.read(3 << (flags & 7) + 1) if flags & 0x80 else b""


def parse_jpeg2000(file: BinaryIO) -> ImageHeader:
    """Parses a JPEG 2000 file or code stream; ITU-T T.800, A.5.1 and Annex I.

    Of 2 and 4 components the last is transparency if the file has a box that says so.
    """
    opacity, mapped, stream = False, False, 0
    file.seek(0)
    if file.read(4) != b"\xff\x4f\xff\x51":
        for kind, start, stop in _boxes(file, 0, _size(file)):
            if kind == b"jp2h":
                for inner, at, end in _boxes(file, start, stop):
                    mapped = mapped or inner in (b"pclr", b"cmap")
                    if inner == b"cdef" and end - at < 4096:
                        file.seek(at + 2)
                        rows = file.read(end - at - 2)
                        kinds = {kind for _, kind, _ in struct.iter_unpack(">HHH", rows)}
                        opacity = bool(kinds & {1, 2})
            if kind == b"jp2c":
                stream = start
                break
    file.seek(stream)
    start, _, _, right, down, left, top = struct.unpack(">4sHHIIII", file.read(24))
    file.seek(16, os.SEEK_CUR)
    (bands,) = struct.unpack(">H", file.read(2))
    if start != b"\xff\x4f\xff\x51" or not bands:
        raise ValueError("no code stream")
    if bands > MOST_BANDS:
        raise TooLarge(f"has {bands:,} bands, over the limit of {MOST_BANDS:,}")
    kinds = set(file.read(3 * bands)[::3])  # of the components: bits less 1, and the sign
    bits = max(kinds) + 1
    if len(kinds) > 1 or not 8 <= bits <= 16:
        held = sorted({f"{'' if kind & 128 else 'u'}int{(kind & 127) + 1}" for kind in kinds})
        raise ImageError(
            f"holds {' and '.join(held[:4])} samples; images of 8- and 16-bit unsigned samples are"
            " accepted"
        )
    if mapped:
        if bits > 8 or bands > 1:
            raise ImageError("a JPEG 2000 file with a palette of 16 bits: save it as RGB")
        return ImageHeader(right - left, down - top, 3, 8, codec="JPEG 2000")
    alpha = opacity and bands in (2, 4)
    return ImageHeader(
        right - left,
        down - top,
        bands - alpha,
        8 if bits == 8 else 16,
        alpha,
        exact_in_pillow=bits == 8 and bands <= 4,
        marked=alpha,
        codec="JPEG 2000",
    )


def parse_avif(file: BinaryIO) -> ImageHeader:
    """Parses an AVIF file; AV1 Image File Format 1.1 and ISO/IEC 23008-12.

    The largest of the sizes is that of the image: others are of its tiles and its thumbnail.
    """
    width, height, bits, alpha, frames = 0, 0, 8, False, 1
    for kind, start, stop in _boxes(file, 0, _size(file), enter=_AVIF_FOLDERS):
        file.seek(start)
        content = file.read(min(stop - start, 256))
        if kind == b"ispe":
            size = struct.unpack(">II", content[4:12])
            width, height = max((width, height), size, key=lambda both: both[0] * both[1])
        elif kind == b"av1C":
            bits = max(bits, 8 + 2 * bool(content[2] & 0x40) + 2 * bool(content[2] & 0x20))
        elif kind == b"auxC":
            alpha = alpha or b"alpha" in content or b"auxid:1" in content
        elif kind == b"stsz":
            frames = max(frames, struct.unpack(">I", content[8:12])[0])
    if bits > 8:
        raise ImageError(
            f"holds {bits}-bit samples, which would be cut to 8 bits: AVIF is read in 8 bits,"
            " so convert it to a 16-bit PNG or TIFF"
        )
    return ImageHeader(width, height, 3, 8, alpha, frames=frames)


_AVIF_FOLDERS = {b"meta": 4, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}
_AVIF_FOLDERS |= {b"iprp": 0, b"ipco": 0}
"""Boxes that hold boxes, and the number of bytes before these."""


def _boxes(
    file: BinaryIO, start: int, stop: int, enter: dict[bytes, int] | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of an ISO base media file between two places: kind, start and end of the content.

    Those named in `enter` are entered instead.
    """
    waiting = [(start, stop)]
    for _ in range(_MOST_CHUNKS):
        while waiting and waiting[-1][0] + 8 > waiting[-1][1]:
            waiting.pop()
        if not waiting:
            return
        at, end = waiting.pop()
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        first = at + 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            first += 8
        last = min(at + length, end) if length else end
        if last < first:
            raise ValueError("a box of no length")
        waiting.append((last, end))
        if enter and kind in enter:
            waiting.append((first + enter[kind], last))
        else:
            yield kind, first, last


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
