"""One image in memory, and how it comes from a file and goes to one.

Read are JPEG, PNG, WebP, BMP and TIFF, told by their content and not by their suffix; of several
frames the first. Nothing is lost on the way: 16-bit samples stay 16-bit, transparency is kept
apart, the EXIF orientation is applied; what Pillow would cut to 8 bits or to three bands is read
through rasterio (the extra `geo`) or refused. Colour profiles are ignored, and CMYK becomes RGB by
Pillow's plain formula.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import PIL.BmpImagePlugin
import PIL.Image
import PIL.ImageFile
import PIL.JpegImagePlugin
import PIL.PngImagePlugin
import PIL.TiffImagePlugin
import PIL.WebPImagePlugin

from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.errors import ImageError, MissingExtra, TooLarge
from unpaired.images.header import Format, Header, parse_header, read_header, reason_of
from unpaired.images.raster import read_samples, write_samples
from unpaired.storage import atomic_path

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "SUFFIXES",
    "Header",
    "Image",
    "from_pil",
    "from_signed",
    "over_white",
    "read_header",
    "read_image",
    "to_pil",
    "to_signed",
    "with_bands",
    "write_image",
]

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

SUFFIXES: dict[str, Format] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""The suffixes of images, in lower case, and the format that each is written in."""

_LONGEST: dict[Format, int] = {"JPEG": 65500, "WEBP": 16383}


@dataclass(frozen=True, eq=False)
class Image:
    """An image: `pixels` (height, width, bands) and, where it has one, its transparency.

    `pixels` are uint8 or uint16 over their whole range; `alpha` is (height, width) uint8 with 0
    clear and 255 opaque, None where the file has no transparency. Both may be read-only.
    """

    pixels: Pixels
    alpha: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.uint16) or not pixels.size:
            raise ImageError(
                f"an array of shape {pixels.shape} and type {pixels.dtype} is no image: give"
                " (height, width, bands) in uint8 or uint16"
            )
        if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != np.uint8):
            raise ImageError(
                f"transparency of shape {alpha.shape} and type {alpha.dtype} does not fit an image"
                f" of shape {pixels.shape}: give (height, width) in uint8"
            )

    @property
    def depth(self) -> Literal[8, 16]:
        """Bits a sample."""
        return 8 if self.pixels.dtype == np.uint8 else 16

    @property
    def bands(self) -> int:
        """Bands of colour; transparency is not counted."""
        return int(self.pixels.shape[2])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.pixels.shape[:2]
        return height, width


def read_image(path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image:
    """Reads the image at `path`, upright.

    The size is checked against `max_pixels` before anything is decoded.

    Raises:
        TooLarge: more than `max_pixels` pixels, or more than the memory holds.
        ImageError: not an image, damaged, or of samples that are not 8- or 16-bit unsigned.
        MissingExtra: 16-bit colour or many bands, and rasterio is not installed.
    """
    try:
        with open(path, "rb") as file:
            header = parse_header(file, path)
            height, width = header.height, header.width
            if height * width > max_pixels:
                raise TooLarge(
                    f"{path}: {width} x {height} pixels are over the limit of {max_pixels}:"
                    " if you trust the file, raise it with --max-pixels"
                )
            if not header.exact_in_pillow:
                return _from_samples(read_samples(path, header.format), header)
            with _pillow_limit_lifted(height * width):
                return from_pil(_open_in_pillow(file, header))
    except (ImageError, MissingExtra):
        raise
    except MemoryError as error:
        raise TooLarge(f"{path}: needs more memory than is free") from error
    except Exception as error:  # of the system, or whatever damaged bytes lead to in a decoder
        if isinstance(error, OSError) and error.errno:
            raise ImageError(f"{path}: {reason_of(error)}") from error
        raise ImageError(f"{path}: damaged or cut off ({reason_of(error)})") from error


def from_pil(image: PIL.Image.Image) -> Image:
    """The pixels of an image of Pillow, upright as its EXIF orientation says.

    A 16-bit colour file opened with Pillow has lost its lower bits already: use `read_image`.

    Raises:
        ImageError: a mode without an exact counterpart (float, LAB, 32-bit beyond 16 bits).
    """
    image.load()
    orientation = _exif_orientation(image)
    alpha: npt.NDArray[Any] | None = None
    transparency = image.info.get("transparency")
    match image.mode:
        case "1":
            image = image.convert("L")
        case "P":
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
            transparency = None
        case "CMYK" | "YCbCr" | "RGBX" | "HSV":
            image = image.convert("RGB")
        case "PA" | "RGBa":
            image = image.convert("RGBA")
        case "La":
            image = image.convert("LA")
    samples = np.asarray(image)
    if image.mode == "I" and samples.min() >= 0 and samples.max() <= 65535:
        samples = samples.astype(np.uint16)
    elif image.mode.startswith("I;16"):
        samples = samples.astype(np.uint16, copy=False)
    elif image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ImageError(
            f"an image of Pillow's mode {image.mode} has no exact counterpart in 8- or 16-bit"
            " unsigned samples: convert it first"
        )
    pixels = samples if samples.ndim == 3 else samples[:, :, np.newaxis]
    if image.mode in ("LA", "RGBA"):
        pixels, alpha = pixels[:, :, :-1], pixels[:, :, -1]
    elif transparency is not None:  # one colour of the file stands for "clear"
        alpha = np.where((pixels == transparency).all(axis=2), 0, 255).astype(np.uint8)
    return _upright(pixels, alpha, orientation)


def to_pil(image: Image) -> PIL.Image.Image:
    """The image as Pillow has it: mode L, LA, RGB, RGBA or I;16.

    Raises:
        ImageError: Pillow has no mode for it (16-bit colour, other band counts).
    """
    if not _fits_pillow(image):
        raise ImageError(
            f"Pillow has no mode for {image.bands} bands of {image.depth} bits"
            f"{'' if image.alpha is None else ' with transparency'}: use the array"
        )
    samples = _to_samples(image)
    return PIL.Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)


def write_image(path: str | Path, image: Image, *, quality: int = 95) -> None:
    """Writes `image` to `path`, whole or not at all, in the format that the suffix names.

    JPEG is written at `quality` with full colour resolution, all others without loss. JPEG and BMP
    drop the transparency. 16-bit colour and other band counts go through rasterio.

    Raises:
        ImageError: an unknown suffix, or a format that cannot hold the image.
        MissingExtra: rasterio is needed and not installed.
        RunError: the system refuses to write.
    """
    path = Path(path)
    format = SUFFIXES.get(path.suffix.lower())
    if format is None:
        raise ImageError(f"{path}: images are written as {', '.join(SUFFIXES)}")
    if format != "TIFF" and (image.bands not in (1, 3) or (image.depth == 16 and format != "PNG")):
        raise ImageError(
            f"{path}: {format} cannot hold {image.bands} bands of {image.depth} bits: write .tif"
        )
    if max(image.size) > _LONGEST.get(format, 2**31 - 1):
        raise ImageError(f"{path}: {format} ends at {_LONGEST[format]} pixels a side: write .tif")
    if format in ("JPEG", "BMP"):
        image = Image(image.pixels)
    options: dict[Format, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"lossless": True, "exact": True},
        "TIFF": {"compression": "tiff_adobe_deflate"},
    }
    with atomic_path(path) as temporary:
        if _fits_pillow(image):
            to_pil(image).save(temporary, format, **options.get(format, {}))
        else:
            write_samples(temporary, _to_samples(image), format, image.alpha is not None)


def to_signed(pixels: Pixels) -> npt.NDArray[np.float32]:
    """uint8 or uint16 to float32 in [-1, 1], 0 to -1 and 255 or 65535 to 1; any shape."""
    half = 127.5 if pixels.dtype == np.uint8 else 32767.5
    signed: npt.NDArray[np.float32] = np.divide(pixels, half, dtype=np.float32)
    signed -= 1
    return signed


def from_signed(array: npt.NDArray[np.floating[Any]], depth: Literal[8, 16]) -> Pixels:
    """[-1, 1] to uint8 or uint16: clipped, rounded half to even; undoes `to_signed` exactly."""
    half = 127.5 if depth == 8 else 32767.5
    samples: npt.NDArray[Any] = np.clip(array, -1, 1)
    samples += 1
    samples *= half
    np.rint(samples, out=samples)
    return samples.astype(np.uint8) if depth == 8 else samples.astype(np.uint16)


def over_white(image: Image) -> Pixels:
    """The pixels over a white ground: what training sees of a transparent image."""
    if image.alpha is None:
        return image.pixels
    white = 255 if image.depth == 8 else 65535
    alpha = image.alpha[:, :, np.newaxis].astype(np.uint32)
    blend = (image.pixels * alpha + white * (255 - alpha) + 127) // 255
    return _like(image.pixels, blend)


def with_bands(pixels: Pixels, bands: int) -> Pixels:
    """Grey to RGB by repetition, RGB to grey by the luma of ITU-R BT.601; else as it is.

    Raises:
        ImageError: any other change of bands, for which there is no rule.
    """
    given = pixels.shape[-1]
    if given == bands:
        return pixels
    if (given, bands) == (1, 3):
        return _like(pixels, np.repeat(pixels, 3, axis=-1))
    if (given, bands) == (3, 1):
        weights = np.array([19595, 38470, 7471], np.uint32)  # .299, .587, .114, of 65536
        luma = (pixels.astype(np.uint32) @ weights + 32768) >> 16
        return _like(pixels, luma[..., np.newaxis])
    raise ImageError(
        f"an image of {given} bands stands where {bands} are needed: only grey and RGB convert"
    )


def _like(pixels: Pixels, samples: npt.NDArray[Any]) -> Pixels:
    if pixels.dtype == np.uint8:
        return samples.astype(np.uint8, copy=False)
    return samples.astype(np.uint16, copy=False)


def _open_in_pillow(file: BinaryIO, header: Header) -> PIL.ImageFile.ImageFile:
    """Opens a file of a known format with that decoder alone, and with none of Pillow's guesses."""
    file.seek(0)
    match header.format:
        case "JPEG":
            return PIL.JpegImagePlugin.JpegImageFile(file)
        case "PNG":
            image = PIL.PngImagePlugin.PngImageFile(file)
            if image.mode == "L" and "transparency" in image.info:
                # Pillow widens samples of 2 and 4 bits to 8, but not this one.
                image.info["transparency"] *= 255 // (2**header.bits - 1)
            return image
        case "WEBP":
            return PIL.WebPImagePlugin.WebPImageFile(file)
        case "BMP":
            return PIL.BmpImagePlugin.BmpImageFile(file)
        case "TIFF":
            return PIL.TiffImagePlugin.TiffImageFile(file)


def _exif_orientation(image: PIL.Image.Image) -> int:
    """1 to 8; damaged EXIF is no reason to refuse an image."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


def _upright(pixels: Any, alpha: Any, orientation: int) -> Image:
    """Turns and mirrors as EXIF 2.32, tag 0x0112, asks."""

    def turned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if orientation in (5, 6, 7, 8):
            array = array.swapaxes(0, 1)
        if orientation in (2, 3, 6, 7):
            array = array[:, ::-1]
        if orientation in (3, 4, 7, 8):
            array = array[::-1]
        return np.ascontiguousarray(array)

    return Image(turned(pixels), None if alpha is None else turned(alpha))


def _fits_pillow(image: Image) -> bool:
    """Pillow has 8-bit grey and RGB, each with transparency, and bare 16-bit grey."""
    if image.depth == 16:
        return image.bands == 1 and image.alpha is None
    return image.bands in (1, 3)


def _from_samples(samples: Pixels, header: Header) -> Image:
    """All samples of a file, transparency last, as the image that the header tells of."""
    bands = header.bands
    if samples.shape[2] != bands + header.alpha:
        raise ValueError(f"the header tells of {bands} bands, the file holds {samples.shape[2]}")
    pixels = samples[:, :, :bands]
    if header.white_is_zero:
        pixels = ~pixels
    alpha = samples[:, :, bands] if header.alpha else None
    if alpha is not None and header.depth == 16:
        alpha = np.rint(alpha / 257).astype(np.uint8)
    return _upright(pixels, alpha, header.orientation)


def _to_samples(image: Image) -> Pixels:
    """Pixels and transparency in one array of the depth of the pixels."""
    if image.alpha is None:
        return image.pixels
    alpha = _like(image.pixels, image.alpha)
    if image.depth == 16:
        alpha = alpha * np.uint16(257)
    return _like(image.pixels, np.dstack([image.pixels, alpha]))


_lock = threading.Lock()
_lifts = 0
_limit: int | None = None


@contextmanager
def _pillow_limit_lifted(pixels: int) -> Iterator[None]:
    """Lifts Pillow's global limit while images are decoded that are beyond it and within ours.

    The first thread in takes the limit away and the last one out puts it back, so other users of
    Pillow in the process are without it for that time only, and only if the user raised ours.
    """
    global _lifts, _limit
    with _lock:
        lift = _lifts > 0 or (
            PIL.Image.MAX_IMAGE_PIXELS is not None and pixels > PIL.Image.MAX_IMAGE_PIXELS
        )
        if lift:
            if _lifts == 0:
                _limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
            _lifts += 1
    try:
        yield
    finally:
        if lift:
            with _lock:
                _lifts -= 1
                if _lifts == 0:
                    PIL.Image.MAX_IMAGE_PIXELS = _limit
