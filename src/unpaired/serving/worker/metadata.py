"""What an image file holds beside its pixels, which results do not have: EXIF, GPS, profiles."""

from pathlib import Path

from unpaired.errors import ImageError
from unpaired.images.formats import format_of
from unpaired.images.header import decoding

__all__ = ["POLICY", "removed"]

POLICY = (
    "Results hold pixels only: EXIF with GPS, XMP, comments and colour profiles are removed. The "
    "orientation that EXIF tells is applied; the place of a GeoTIFF is kept."
)
_GPS = 0x8825  # the tag of EXIF that holds where a photograph was taken
_KINDS = {"exif": "EXIF", "xmp": "XMP", "icc_profile": "a colour profile", "comment": "a comment"}


def removed(path: Path) -> str:
    """One line that names the metadata of an image file which its translation lacks, or "".

    Only the header is read, by the decoder of the file's own format.
    """
    with open(path, "rb") as file:
        start = file.read(256)
        format = format_of(start)
        if format is None or format.driver == "VRT":
            return ""
        file.seek(0)
        try:
            with decoding():
                image = format.decoder(file)
                found = [name for key, name in _KINDS.items() if image.info.get(key)]
                gps = "exif" in image.info and bool(image.getexif().get_ifd(_GPS))
        except ImageError:
            return ""
    if gps:
        found[found.index("EXIF")] = "EXIF with GPS"
    return f"removed from the result: {', '.join(found)}" if found else ""
