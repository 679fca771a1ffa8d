"""The header of a GDAL VRT: an XML file that puts a raster together from parts of other files."""

import re
from typing import BinaryIO

from unpaired.errors import ImageError, TooLarge
from unpaired.images.header import MOST_BANDS, ImageHeader

__all__ = ["parse_vrt"]

_LONGEST = 2**24  # bytes
_TYPES = {
    "Byte": ("uint", 8), "UInt16": ("uint", 16), "Int16": ("int", 16), "Int32": ("int", 32),
    "Float32": ("float", 32),
}  # fmt: skip


def parse_vrt(file: BinaryIO) -> ImageHeader:
    """Parses a VRT file: GDAL's VRT driver, "Virtual Format". Its sources are not looked at.

    Raises:
        ImageError: bands of types that are not read, or sources that are not local files.
    """
    text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise TooLarge(f"a VRT of over {_LONGEST:,} bytes")
    size = re.search(rb"<VRTDataset\s[^>]*>", text)
    numbers = {
        side: re.search(rb"\braster" + side + rb'Size\s*=\s*"(\d{1,9})"', size[0]) if size else None
        for side in (b"X", b"Y")
    }
    width, height = (int(found[1]) if found else 0 for found in numbers.values())
    if re.search(
        rb"/vsi|[a-zA-Z]{2,}://",
        re.sub(rb"<SRS.*?</SRS>|<Metadata.*?</Metadata>", b"", text, flags=re.DOTALL),
    ):
        raise ImageError("a VRT with sources that are no local files: download them first")
    bands = re.findall(rb"<VRTRasterBand\b[^>]*>", text)
    kinds = set()
    for tag in bands:
        kind = re.search(rb'\bdataType\s*=\s*"(\w+)"', tag)
        kinds.add(kind[1].decode() if kind else "Byte")
    if len(bands) > MOST_BANDS:
        raise TooLarge(f"has {len(bands):,} bands, over the limit of {MOST_BANDS:,}")
    if len(kinds) != 1 or not kinds <= _TYPES.keys():
        raise ImageError(
            f"a VRT of {' and '.join(sorted(kinds)[:4]) or 'no'} bands; rasters of one of"
            f" {', '.join(_TYPES)} are read"
        )
    sample, bits = _TYPES[kinds.pop()]
    alpha = len(bands) > 1 and b"<ColorInterp>Alpha</ColorInterp>" in text
    return ImageHeader(
        width, height, len(bands) - alpha, bits, alpha, exact_in_pillow=False, georeferenced=True,
        kind=sample,  # type: ignore[arg-type]
        marked=alpha,
    )  # fmt: skip
