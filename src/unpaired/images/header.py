"""The headers of image files: size, bands and bits, from the first bytes alone.

Nothing is decoded here: sizes are known before memory is taken for pixels, and so is what Pillow
would drop silently: the lower bits of 16-bit colour, and bands beyond colour and transparency.

A parser takes the open file and returns its `ImageHeader`. It raises ImageError for an image that
is not accepted, and ValueError, LookupError, OSError, ArithmeticError or struct.error for damaged
bytes; messages do not name the file.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Literal

from unpaired.errors import ImageError, reason_of

__all__ = ["ImageHeader", "decoding", "parse_png", "parse_tiff", "parse_webp"]


@dataclass(frozen=True)
class ImageHeader:
    """The properties of an image that its file states.

    `width` and `height` are as stored: an EXIF orientation may still swap them.
    """

    width: int
    height: int
    bands: int  # colour bands as `read_image` returns them; transparency is not counted
    bits: int  # per sample, as stored: 1, 2, 4, 8 or 16
    alpha: bool = False  # a band of transparency follows the colours
    exact_in_pillow: bool = True  # False: Pillow would drop bits or bands
    orientation: int = 1  # of a TIFF, as in EXIF; of other formats it is known after decoding
    white_is_zero: bool = False  # the samples are inverted, and Pillow does not read them

    @property
    def depth(self) -> Literal[8, 16]:
        """Bits per sample in memory: anything up to 8 is widened to 8."""
        return 16 if self.bits == 16 else 8


@contextmanager
def decoding(trouble: str = "damaged or cut off") -> Iterator[None]:
    """Turns whatever a decoder raises at damaged bytes into ImageError.

    A decoder of untrusted bytes may raise anything, so every exception counts: only calls into
    third-party decoders belong inside, no code of ours.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = reason_of(error)
        of_system = isinstance(error, OSError) and error.errno
        raise ImageError(reason if of_system else f"{trouble} ({reason})") from error


def parse_png(file: BinaryIO) -> ImageHeader:
    """Parses a PNG header; PNG specification, 11.2.1: the IHDR chunk comes first."""
    start = file.read(26)
    if start[12:16] != b"IHDR":
        raise ValueError("no IHDR chunk")
    width, height, bits, colour = struct.unpack(">IIBB", start[16:26])
    if bits not in (1, 2, 4, 8, 16):
        raise ValueError(f"{bits} bits a sample")
    alpha = colour in (4, 6)
    bands = 1 if colour in (0, 4) else 3
    return ImageHeader(width, height, bands, bits, alpha, bits < 16 or colour == 0)


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
        return ImageHeader(width, height, 3, 8, alpha=bool(start[20] & 0x10))
    raise ValueError("no image chunk")


def parse_tiff(file: BinaryIO) -> ImageHeader:
    """Parses the first directory of a TIFF or BigTIFF file; TIFF 6.0, section 8, has the tags."""
    tags = _tiff_tags(file)
    (width,), (height,) = tags[256], tags[257]
    bits, kinds, extras = tags.get(258, (1,)), tags.get(339, (1,)), tags.get(338, ())
    (photometric,), (samples,) = tags.get(262, (1,)), tags.get(277, (1,))
    (orientation,) = tags.get(274, (1,))
    if set(kinds) != {1} or len(set(bits)) != 1 or bits[0] not in (1, 2, 4, 8, 16):
        names = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}
        held = sorted({f"{names.get(kind, 'unknown')}{bit}" for kind in set(kinds) for bit in bits})
        raise ImageError(
            f"holds {' and '.join(held[:4])} samples; images of 8- and 16-bit unsigned samples are"
            " accepted"
        )
    stored = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}.get(photometric)
    if stored is None:
        raise ImageError(
            f"a TIFF of photometric kind {photometric}; grey, RGB, palette, CMYK and YCbCr are"
            " accepted"
        )
    # RGB with an unspecified fourth sample: transparency, by the convention of libtiff and Pillow.
    alpha = extras[-1:] in ((1,), (2,)) or (photometric == 2 and samples == 4 and not extras)
    exact = samples == stored + alpha and (bits[0] <= 8 or (samples == 1 and photometric == 1))
    if not exact and (photometric > 2 or bits[0] < 8 or (alpha and extras[-1:] == (1,))):
        raise ImageError(
            f"a TIFF of {samples} samples of {bits[0]} bits, of photometric kind {photometric} and"
            f" extra samples {extras}, cannot be read without loss: save it as RGB"
        )
    bands, inverted = samples - alpha, photometric == 0
    if exact:  # Pillow inverts, and turns palettes, CMYK and YCbCr into RGB
        bands, inverted = 1 if photometric in (0, 1) else 3, False
    return ImageHeader(width, height, bands, bits[0], alpha, exact, orientation, inverted)


def _tiff_tags(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """Reads the tags that `parse_tiff` needs from the first directory, by number."""
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
