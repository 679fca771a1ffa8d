"""Images from Pillow and to Pillow, whose modes hold 8-bit grey and RGB and 16-bit grey."""

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageFile
from numpy.typing import NDArray

from unpaired.errors import ImageError
from unpaired.images.header import ImageHeader, decoding
from unpaired.images.image import Image, upright

__all__ = ["Decoder", "decode", "fits_pillow", "from_pil", "to_pil"]

Decoder = Callable[[BinaryIO], PIL.ImageFile.ImageFile]

# Modes that are converted first; CMYK by Pillow's plain formula.
_CONVERTED = {"1": "L", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}
_CONVERTED |= dict.fromkeys(("CMYK", "YCbCr", "RGBX", "HSV"), "RGB")


def decode(file: BinaryIO, header: ImageHeader, decoder: Decoder) -> Image:
    """Decodes a file by one of Pillow's decoders, with none of Pillow's guesses.

    Raises:
        ImageError: damaged, or another image than its header describes.
    """
    _prepare_pillow()
    with _pillow_limit_lifted(header.height * header.width):
        with decoding():
            file.seek(0)
            image = decoder(file)
        _require_size(image, header)
        if header.stacked:
            return _read_pages(image, header)
        if image.mode == "L" and header.bits < 8 and "transparency" in image.info:
            # Pillow widens samples of 2 and 4 bits to 8, but not this one.
            image.info["transparency"] *= 255 // (2**header.bits - 1)
        return from_pil(image)


def _read_pages(image: PIL.ImageFile.ImageFile, header: ImageHeader) -> Image:
    """Reads a file whose pages are the bands of one image."""
    bands = []
    for page in range(header.bands):
        with decoding():
            image.seek(page)
        _require_size(image, header)
        bands.append(from_pil(image).pixels)
    if any(band.shape[2] != 1 or band.dtype != bands[0].dtype for band in bands):
        raise ImageError("damaged or cut off (its pages differ)")
    return Image(np.concatenate(bands, axis=2))


def _require_size(image: PIL.Image.Image, header: ImageHeader) -> None:
    """Before anything is decoded: a file may state a small size first and a large one then."""
    if sorted(image.size) != sorted((header.height, header.width)):  # a TIFF may be turned
        raise ImageError("damaged or cut off (its headers disagree on its size)")


@cache
def _prepare_pillow() -> None:
    """Has Pillow's libtiff print nothing to the terminal; its errors are exceptions, too.

    Also has Pillow take memory in blocks that go back to the system at once, also from threads.
    """
    core = PIL.Image.core  # type: ignore[attr-defined]
    core.set_block_size(2**25)
    with contextlib.suppress(OSError, AttributeError):  # libtiff may be linked in without names
        library = ctypes.CDLL(core.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            getattr(library, name)(None)


def from_pil(image: PIL.Image.Image) -> Image:
    """Converts a Pillow image, upright as its EXIF orientation says.

    A 16-bit colour file opened with Pillow has lost its lower bits already: use `read_image`.

    >>> from_pil(PIL.Image.new("LA", (3, 2))).pixels.shape
    (2, 3, 1)

    Raises:
        ImageError: a mode without an exact counterpart (float, LAB, 32-bit beyond 16 bits), or a
            damaged file that Pillow had opened but not yet decoded.
    """
    with decoding():
        image.load()
    orientation = _exif_orientation(image)
    transparency = image.info.get("transparency")
    mode = _CONVERTED.get(image.mode)
    if image.mode == "P":
        mode, transparency = ("RGBA" if image.has_transparency_data else "RGB"), None
    mode = mode or image.mode
    with decoding():
        pixels, alpha = _samples(image, mode)
    if mode == "I" and pixels.min() >= 0 and pixels.max() <= 65535:
        pixels = pixels.astype(np.uint16)
    elif mode.startswith("I;16"):
        pixels = pixels.astype(np.uint16, copy=False)
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        raise ImageError(
            f"a Pillow image of mode {mode} has no exact counterpart in 8- or 16-bit"
            " unsigned samples: convert it first"
        )
    if alpha is None and transparency is not None:  # the one colour that means "clear"
        alpha = np.where((pixels == transparency).all(axis=2), 0, 255).astype(np.uint8)
    return upright(pixels, alpha, orientation)


def _samples(image: PIL.Image.Image, mode: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The colours and the transparency in that mode.

    Copied strip by strip: at once they would stand in memory three times.
    """
    height, width = image.height, image.width
    pixels: NDArray[Any] = np.empty(0)
    alpha: NDArray[Any] | None = None
    rows = max(2**22 // width, 1)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        part = np.asarray(strip if mode == image.mode else strip.convert(mode))
        part = part.reshape(*part.shape[:2], -1)
        bands = part.shape[2] - (mode in ("LA", "RGBA"))
        if not top:
            pixels = np.empty((height, width, bands), part.dtype)
            alpha = None if bands == part.shape[2] else np.empty((height, width), part.dtype)
        pixels[top : top + rows] = part[:, :, :bands]
        if alpha is not None:
            alpha[top : top + rows] = part[:, :, bands]
    return pixels, alpha


def to_pil(image: Image) -> PIL.Image.Image:
    """Converts to a Pillow image of mode L, LA, RGB, RGBA or I;16.

    Raises:
        ImageError: Pillow has no mode for the image (16-bit colour, other band counts).
    """
    if not fits_pillow(image):
        raise ImageError(
            f"Pillow has no mode for {image.bands} bands of {image.depth} bits"
            f"{'' if image.alpha is None else ' with transparency'}: use the array"
        )
    samples = image.samples
    return PIL.Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)


def fits_pillow(image: Image) -> bool:
    """Tests for 8-bit grey or RGB, either with transparency or not, or opaque 16-bit grey."""
    if image.depth == 16:
        return image.bands == 1 and image.alpha is None
    return image.bands in (1, 3)


def _exif_orientation(image: PIL.Image.Image) -> int:
    """1 to 8; damaged EXIF is no reason to reject an image."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


_lock = threading.Lock()
_lifts = 0
_limit: int | None = None


@contextmanager
def _pillow_limit_lifted(pixels: int) -> Iterator[None]:
    """Lifts Pillow's global limit while images beyond it, but within ours, are decoded.

    The first thread to enter lifts the limit and the last to leave restores it, so other users of
    Pillow in the process are without it for that time only, and only if the user raised ours.
    """
    global _lifts, _limit
    with _lock:
        if not _lifts:
            _limit = PIL.Image.MAX_IMAGE_PIXELS
        lift = _limit is not None and pixels > _limit
        if lift:
            PIL.Image.MAX_IMAGE_PIXELS = None
            _lifts += 1
    try:
        yield
    finally:
        if lift:
            with _lock:
                _lifts -= 1
                if _lifts == 0:
                    PIL.Image.MAX_IMAGE_PIXELS = _limit
