"""The headers of TIFF files, and what their pages are: images, or the bands of one image."""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from unpaired.errors import ImageError, TooLarge
from unpaired.images.header import MOST_BANDS, ImageHeader

__all__ = ["parse_tiff"]

_MOST_PAGES = 10_000  # more are not counted
_MOST_READ = 2**24  # bytes of directories; pages beyond them are not counted

# Tags: subfile types, width, height, bits, compression, photometric kind, orientation, samples,
# extra samples, kinds of samples; then the description and the places of strips and tiles.
_NUMBERS = (254, 255, 256, 257, 258, 259, 262, 274, 277, 338, 339)
_DESCRIPTION, _STRIPS, _TILES = 270, 273, 324
# Of GeoTIFF (OGC 19-008r4, Annex) the scale, tie points, transformation and keys; GDAL's own two.
_PLACES = {33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113}
_KINDS = {1: "B", 3: "H", 4: "I", 16: "Q"}
# Compressions that Pillow decodes: none, CCITT, LZW, JPEG, deflate, PackBits. It may lack others.
_COMMON = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)
_SAMPLES = {("uint", 1), ("uint", 2), ("uint", 4), ("uint", 8), ("uint", 16)}
_SAMPLES |= {("int", 16), ("int", 32), ("float", 32)}
_CODECS = {34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL"}


@dataclass(frozen=True)
class _Page:
    """A directory: its whole numbers by tag, the place of its first strip or tile, and its text."""

    tags: dict[int, tuple[int, ...]]
    first: int | None
    text: str
    georeferenced: bool = False

    @property
    def secondary(self) -> bool:
        """Whether it is a smaller copy or a mask of another page, or no image at all."""
        (kind,), (old_kind,) = self.tags.get(254, (0,)), self.tags.get(255, (0,))
        image = {256, 257} <= self.tags.keys() and self.first is not None
        return not image or bool(kind & 0b101) or old_kind == 2


def parse_tiff(file: BinaryIO) -> ImageHeader:
    """Parses a TIFF or BigTIFF file; TIFF 6.0, section 8, has the tags.

    Pages that ImageJ, OME or tifffile say are the channels of one image are its bands. Those that
    are marked as a smaller copy or as a mask are not counted. Any other page is a frame.
    """
    directories = _directories(file)
    first = next(directories)
    header = _parse_page(first)
    pages = [first, *(page for page in directories if not page.secondary)]
    frames = max(len(pages), _images_in_one_page(first, header, os.fstat(file.fileno()).st_size))
    alike = all(page.tags == first.tags for page in pages)
    single = header.bands == 1 and not header.alpha and header.exact_in_pillow and not header.codec
    if single and alike and frames == len(pages) == _channels(first.text) > 1:
        return replace(header, bands=_bounded(frames), stacked=True)
    return replace(header, frames=frames)


def _parse_page(page: _Page) -> ImageHeader:
    tags = page.tags
    (width,), (height,) = tags[256], tags[257]
    bits, kinds, extras = tags.get(258, (1,)), tags.get(339, (1,)), tags.get(338, ())
    (photometric,), (samples,) = tags.get(262, (1,)), tags.get(277, (1,))
    (orientation,), (compression,) = tags.get(274, (1,)), tags.get(259, (1,))
    _bounded(samples)
    names = {1: "uint", 2: "int", 3: "float", 5: "complex int", 6: "complex"}
    sample = names.get(kinds[0], "unknown")
    if (
        len(set(kinds)) != 1
        or len(set(bits)) != 1
        or (sample, bits[0]) not in _SAMPLES
        or (photometric > 2 and sample != "uint")
    ):
        held = sorted({f"{names.get(kind, 'unknown')}{bit}" for kind in set(kinds) for bit in bits})
        raise ImageError(
            f"holds {' and '.join(held[:4])} samples; images of 8- and 16-bit unsigned samples, and"
            " rasters of int16, int32 and float32, are accepted"
        )
    stored = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}.get(photometric)
    if stored is None:
        raise ImageError(
            f"a TIFF of photometric kind {photometric}; grey, RGB, palette, CMYK and YCbCr are"
            " accepted"
        )
    # RGB with an unexplained fourth sample: Pillow and libtiff take it for transparency.
    alpha = extras[-1:] in ((1,), (2,)) or (photometric == 2 and samples == 4 and not extras)
    alpha = alpha and sample == "uint"
    premultiplied = alpha and extras[-1:] == (1,)
    exact = samples == stored + alpha and (bits[0] <= 8 or (samples == 1 and photometric == 1))
    exact = exact and sample == "uint"
    if not exact and (photometric > 2 or bits[0] < 8):
        raise ImageError(
            f"a TIFF of {samples} samples of {bits[0]} bits, of photometric kind {photometric} and"
            f" extra samples {extras[:4]}, cannot be read without loss: save it as RGB"
        )
    bands = samples - alpha
    if exact:  # Pillow turns palettes, CMYK and YCbCr into RGB
        bands = 1 if photometric in (0, 1) else 3
    codec = ""
    if compression not in _COMMON and photometric <= 2 and bits[0] >= 8:
        codec = _CODECS.get(compression, f"compression {compression}")
    return ImageHeader(
        width,
        height,
        bands,
        bits[0],
        alpha,
        exact,
        orientation,
        white_is_zero=photometric == 0,
        marked=alpha,
        premultiplied=premultiplied,
        codec=codec,
        georeferenced=page.georeferenced,
        kind=sample,  # type: ignore[arg-type]
    )


def _bounded(bands: int) -> int:
    if bands > MOST_BANDS:
        raise TooLarge(f"has {bands:,} bands, over the limit of {MOST_BANDS:,}")
    return bands


def _channels(text: str) -> int:
    """The number of pages that are channels of one image, by the description; 0: it says none."""
    if text.startswith("ImageJ="):
        counts = dict(re.findall(r"^(\w+)=(\d{1,6})\s*$", text, re.MULTILINE))
        alone = all(int(counts.get(name, 1)) == 1 for name in ("slices", "frames"))
        return int(counts.get("channels", 0)) if alone else 0
    if "<OME" in text:
        sizes = dict(re.findall(r"""\bSize([CZT])\s*=\s*["'](\d{1,6})["']""", text))
        return int(sizes.get("C", 0)) if sizes.get("Z") == sizes.get("T") == "1" else 0
    shaped = re.match(r"""\{"shape": \[(\d{1,6}), \d+, \d+\].*"axes": "CYX\"""", text)
    return int(shaped[1]) if shaped else 0


def _images_in_one_page(page: _Page, header: ImageHeader, size: int) -> int:
    """The images of a large stack of ImageJ: all follow the first, which alone has a directory."""
    found = re.search(r"^images=(\d{1,9})\s*$", page.text, re.MULTILINE)
    if not page.text.startswith("ImageJ=") or not found or page.first is None:
        return 1
    each = header.width * header.height * (header.bands + header.alpha) * header.bits // 8
    fits = page.tags.get(259, (1,)) == (1,) and page.first + int(found[1]) * each <= size
    return int(found[1]) if fits else 1


def _directories(file: BinaryIO) -> Iterator[_Page]:
    """The chain of directories. Damage beyond the first ends it: decoders read none of that."""
    file.seek(0)
    start = file.read(16)
    order = "<" if start.startswith(b"II") else ">"
    big = start[2:4] in (b"+\0", b"\0+")
    (place,) = struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)
    seen: set[int] = set()
    read = 0
    while place and place not in seen and len(seen) < _MOST_PAGES and read < _MOST_READ:
        seen.add(place)
        try:
            page, place, length = _read_directory(file, place, order, big)
        except (LookupError, OSError, OverflowError, ValueError, struct.error):
            if len(seen) == 1:
                raise
            return
        yield page
        read += length
    if not seen:
        raise ValueError("no directory")


def _read_directory(file: BinaryIO, place: int, order: str, big: bool) -> tuple[_Page, int, int]:
    """The page at `place`, the place of the next one, and the length of its directory."""
    word, size = ("Q", 20) if big else ("I", 12)  # the type of offsets and counts; of an entry
    file.seek(place)
    count_size = 8 if big else 2
    (entries,) = struct.unpack(order + ("Q" if big else "H"), file.read(count_size))
    rows = file.read(min(entries, 4096) * size)
    (following,) = struct.unpack_from(order + word, file.read(8).ljust(8, b"\0"))
    tags: dict[int, tuple[int, ...]] = {}
    first, text, placed = None, "", False

    def content(row: bytes, length: int, most: int) -> bytes:
        """The first bytes, `most` at most, of an entry of `length` bytes."""
        value = row[-struct.calcsize(word) :]
        if length > len(value):
            file.seek(*struct.unpack(order + word, value))
            value = file.read(min(length, most))
        return value

    for at in range(0, len(rows) - size + 1, size):
        row = rows[at : at + size]
        tag, kind, count = struct.unpack_from(order + "HH" + word, row)
        placed = placed or tag in _PLACES
        if tag == _DESCRIPTION and kind in (1, 2) and not text:
            text = content(row, count, 2**16)[:count].decode("utf-8", "replace")
        if kind not in _KINDS or not count:
            continue
        each = struct.calcsize(_KINDS[kind])
        if tag in (_STRIPS, _TILES):
            (first,) = struct.unpack_from(order + _KINDS[kind], content(row, count * each, each))
        elif tag in _NUMBERS and count < 65536:
            layout = f"{order}{count}{_KINDS[kind]}"
            numbers = struct.unpack_from(layout, content(row, count * each, count * each))
            if tags.setdefault(tag, numbers) != numbers:
                raise ValueError(f"tag {tag} twice")
    return _Page(tags, first, text, placed), following, len(rows)
