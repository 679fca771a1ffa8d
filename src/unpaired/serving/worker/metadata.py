"""What an image file holds beside its pixels, which results do not have: EXIF, GPS, profiles."""

from pathlib import Path

from unpaired.errors import ImageError
from unpaired.images.formats import format_of
from unpaired.images.header import decoding

__all__ = ["POLICY", "removed"]

POLICY = (
    "Results hold pixels only: EXIF with GPS, XMP, comments and colour profiles are removed. The "
    "orientation that EXIF tells is applied; the place and the tags of a GeoTIFF are kept."
)
_GPS = 0x8825  # the tag of EXIF that holds where a photograph was taken
_EXIF = 0x8769  # that of the rest of EXIF
_TEXTS = {270, 271, 272, 306, 315, 33432}  # description, camera, time, author, rights
_KINDS = {"xmp": "XMP", "icc_profile": "a colour profile", "comment": "a comment"}


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
                tags = image.getexif()  # those of a TIFF are its own
                gps = bool(tags.get_ifd(_GPS))
                if gps or "exif" in image.info or tags.get_ifd(_EXIF) or _TEXTS & set(tags):
                    found.insert(0, "EXIF with GPS" if gps else "EXIF")
        except ImageError:
            return ""
    return f"removed from the result: {', '.join(found)}" if found else ""
