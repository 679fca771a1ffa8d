"""Files that are no image that is read, although they often have the suffix of one."""

import re
from collections.abc import Sequence

__all__ = ["rejection"]

# Their first bytes, their names, and what to do.
_CONVERT = "convert it to PNG or JPEG"
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (rb"\0+$", "a file of zeros alone", "fetch it again"),
    (rb"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull` where it came from"),
    (rb"(?s)....ftyp(hei|hev|mif1|msf1)", "HEIC", _CONVERT),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body|script)", "an HTML page",
     "download the image itself"),
    (rb"(?is)(\xef\xbb\xbf)?\s*<([?!].*<)?svg", "SVG", "render it to PNG"),
    (rb"\s*<\?xml", "XML", "download the image itself"),
    (rb'\s*[{\[]\s*["{\[]', "JSON", "download the image itself"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", _CONVERT),
    (rb"%PDF", "PDF", "render it to PNG"),
    (rb"8BPS", "a Photoshop file", _CONVERT),
    (rb"v/1\x01", "OpenEXR", _CONVERT),
    (rb"\0\0[\1\2]\0", "an icon (ICO)", _CONVERT),
    (rb"P[7fF]\s", "PAM or PFM", _CONVERT),
    (rb"SIMPLE  =", "FITS", _CONVERT),
    (rb"(?s).{128}DICM", "DICOM", _CONVERT),
    (rb"\x93NUMPY", "a NumPy array", "save it as TIFF"),
    (rb"\x89HDF|CDF[\1\2\5]", "HDF5 or NetCDF", "save its bands as TIFF"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive", "unpack it"),
    (rb"(?s)....ftyp|RIFF....AVI |\x1aE\xdf\xa3", "a video", "save its frames as images"),
)  # fmt: skip


def rejection(start: bytes, formats: Sequence[str]) -> str:
    """Why a file that begins like this is no image; `formats` are those that are read.

    >>> rejection(b"%PDF-1.7", [])
    'is PDF, which is not read: render it to PNG'
    """
    if not start:
        return "the file is empty"
    for magic, name, advice in _OTHERS:
        if re.match(magic, start):
            return f"is {name}, which is not read: {advice}"
    *names, last = formats
    return f"not an image ({', '.join(names)} and {last} are read)"
