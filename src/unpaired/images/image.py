"""One image in memory, and the conversions between samples and the floats of networks."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import ImageError
from unpaired.images.raster.geo import Geo

__all__ = [
    "DTYPES",
    "Image",
    "Pixels",
    "from_signed",
    "is_mask",
    "luminance",
    "over_white",
    "to_signed",
    "upright",
    "with_bands",
]

Pixels = NDArray[Any]
"""uint8 or uint16; of rasters any of DTYPES."""
DTYPES = ("uint8", "uint16", "int16", "int32", "float32")
"""The types of samples that are read and written, by numpy's names."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image: `pixels` (height, width, bands) and, where it has one, its transparency.

    `pixels` are uint8 or uint16 over their whole range, of rasters any of DTYPES in units of their
    own; `alpha` is (height, width) uint8 with 0 clear and 255 opaque, None for an image without
    transparency. Both may be read-only.

    Of a raster, `valid` (height, width) marks the pixels that count, None is all: the others have
    no data in some band. `geo` is what its file says besides: place, bands, tags.

    Of an image that was read, `marked` is "mask" or "band" where its file marks a band as
    transparency by a tag: what that band was taken for. `frames` counts the images in its file.

    Raises:
        ImageError: an array of another shape or type.
    """

    pixels: Pixels
    alpha: NDArray[np.uint8] | None = None
    marked: Literal["", "mask", "band"] = ""
    frames: int = 1
    valid: NDArray[np.bool_] | None = None
    geo: Geo | None = None

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if pixels.ndim != 3 or pixels.dtype.name not in DTYPES or not pixels.size:
            raise ImageError(
                f"an array of shape {pixels.shape} and type {pixels.dtype} is not an image: give"
                f" (height, width, bands) in {', '.join(DTYPES[:-1])} or {DTYPES[-1]}"
            )
        if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != np.uint8):
            raise ImageError(
                f"transparency of shape {alpha.shape} and type {alpha.dtype} does not fit an image"
                f" of shape {pixels.shape}: give (height, width) in uint8"
            )
        if self.valid is not None and self.valid.shape != pixels.shape[:2]:
            raise ImageError(
                f"a mask of shape {self.valid.shape} does not fit an image of shape {pixels.shape}"
            )

    @property
    def depth(self) -> int:
        """Bits per sample: 8, 16 or 32."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def plain(self) -> bool:
        """Whether the samples are unsigned, 8 or 16 bits, as those of photographs are."""
        return self.pixels.dtype in (np.uint8, np.uint16)

    @property
    def bands(self) -> int:
        """Number of colour bands; transparency is not counted."""
        return int(self.pixels.shape[2])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.pixels.shape[:2]
        return height, width

    @property
    def samples(self) -> Pixels:
        """Pixels and, as the last band in their depth, the transparency if there is any."""
        if self.alpha is None:
            return self.pixels
        alpha: NDArray[Any] = self.alpha
        if self.pixels.dtype == np.uint16:
            alpha = alpha * np.uint16(257)
        return np.dstack([self.pixels, alpha.astype(self.pixels.dtype)])


def to_signed(pixels: Pixels) -> NDArray[np.float32]:
    """Maps uint8 or uint16 of any shape to float32 in [-1, 1]: 0 to -1, 255 or 65535 to 1.

    >>> to_signed(np.array([0, 51, 255], np.uint8)).tolist()
    [-1.0, -0.6000000238418579, 1.0]
    """
    half = 127.5 if pixels.dtype == np.uint8 else 32767.5
    signed: NDArray[np.float32] = np.divide(pixels, half, dtype=np.float32)
    signed -= 1
    return signed


def from_signed(array: NDArray[np.floating[Any]], depth: Literal[8, 16]) -> Pixels:
    """Maps [-1, 1] to uint8 or uint16, clipped, rounded half to even: inverts `to_signed` exactly.

    >>> from_signed(np.array([-1, 0, 0.5, 7]), 8).tolist()
    [0, 128, 191, 255]
    """
    half = 127.5 if depth == 8 else 32767.5
    samples: NDArray[Any] = np.clip(array, -1, 1)
    samples += 1
    samples *= half
    np.rint(samples, out=samples)
    return samples.astype(np.uint8) if depth == 8 else samples.astype(np.uint16)


def over_white(image: Image) -> Pixels:
    """Blends the pixels with a white background: training sees a transparent image like this.

    Rasters of other samples than 8 and 16 unsigned bits have no white and stay as they are.

    >>> half = Image(np.zeros((1, 1, 3), np.uint8), np.full((1, 1), 128, np.uint8))
    >>> over_white(half).tolist()
    [[[127, 127, 127]]]
    """
    if image.alpha is None or not image.plain:
        return image.pixels
    white = 255 if image.depth == 8 else 65535
    blend = np.empty_like(image.pixels)
    rows = max(2**22 // image.size[1], 1)  # at a time: the products need four times the memory
    for top in range(0, image.size[0], rows):
        part = slice(top, top + rows)
        alpha = image.alpha[part, :, np.newaxis].astype(np.uint32)
        blend[part] = (image.pixels[part] * alpha + white * (255 - alpha) + 127) // 255
    return blend


def is_mask(band: NDArray[Any]) -> bool:
    """Tests whether a band, (height, width) in uint8 or uint16, can be a mask of transparency.

    A mask has some full values (255 or 65535), else zeros, and values between them only beside
    such: soft edges. Near infrared, depth and the like vary in between.

    >>> is_mask(np.array([[0, 0, 90, 255, 255]], np.uint8))
    True
    >>> is_mask(np.array([[0, 80, 90, 100, 255]], np.uint8)), is_mask(np.zeros((1, 5), np.uint8))
    (False, False)
    """
    full = np.iinfo(band.dtype).max
    opaque = False
    for top in range(0, band.shape[0], 256):
        before = min(top, 1)
        rows = band[top - before : top + 257]
        solid = rows == full
        opaque = opaque or bool(solid.any())
        extreme = solid | (rows == 0)
        if extreme.all():
            continue
        beside = extreme.copy()
        beside[1:] |= extreme[:-1]
        beside[:-1] |= extreme[1:]
        near = beside.copy()
        near[:, 1:] |= beside[:, :-1]
        near[:, :-1] |= beside[:, 1:]
        if not near[before : before + 256].all():
            return False
    return opaque


def with_bands(pixels: Pixels, bands: int) -> Pixels:
    """Converts (..., 1) to (..., 3) by repetition, and back by the luma of ITU-R BT.601.

    Pixels that have `bands` bands already are returned as they are.

    >>> with_bands(np.array([[[255, 0, 0]]], np.uint8), 1).tolist()
    [[[76]]]

    Raises:
        ImageError: any other change of bands, for which there is no rule.
    """
    given = pixels.shape[-1]
    if given == bands:
        return pixels
    if (given, bands) == (1, 3):
        return np.repeat(pixels, 3, axis=-1)
    if (given, bands) == (3, 1):
        weights = np.array([19595, 38470, 7471], np.uint32)  # 65536 * (0.299, 0.587, 0.114)
        luma = (pixels.astype(np.uint32) @ weights + 32768) >> 16
        return luma[..., np.newaxis].astype(pixels.dtype)
    raise ImageError(
        f"an image has {given} bands where {bands} are needed: only grey and RGB are converted"
    )


def luminance(images: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """(..., bands) of floats to (...): luma of ITU-R BT.601 for three bands, otherwise the mean.

    >>> luminance(np.array([[255.0, 0, 0], [9, 9, 9]])).round(6).tolist()
    [76.245, 9.0]
    """
    bands = images.shape[-1]
    weights = np.array([0.299, 0.587, 0.114]) if bands == 3 else np.full(bands, 1 / bands)
    result: NDArray[Any] = images @ weights.astype(images.dtype)
    return result


def upright(pixels: Pixels, alpha: NDArray[Any] | None, orientation: int) -> Image:
    """Builds an image of stored arrays, rotated and mirrored as EXIF 2.32, tag 0x0112, says."""

    def turn(array: NDArray[Any]) -> NDArray[Any]:
        if orientation in (5, 6, 7, 8):
            array = array.swapaxes(0, 1)
        if orientation in (2, 3, 6, 7):
            array = array[:, ::-1]
        if orientation in (3, 4, 7, 8):
            array = array[::-1]
        return np.ascontiguousarray(array)

    return Image(turn(pixels), None if alpha is None else turn(alpha))
