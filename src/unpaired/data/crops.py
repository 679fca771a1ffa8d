"""Squares of images as networks see them: resized and cropped, or windows of rasters as they are.

The one place where training, validation and evaluation read images.
"""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from unpaired.config import Recipe
from unpaired.data.kept import KeptImages
from unpaired.data.layout.domains import Folder
from unpaired.directions import Domain
from unpaired.errors import ImageError
from unpaired.images.image import Image, over_white, to_signed, with_bands
from unpaired.images.raster.gaps import filled
from unpaired.images.raster.geo import Window
from unpaired.images.resize import resize
from unpaired.images.scaling import Scaling

__all__ = ["DomainReader", "load_square"]

_WHOLE = 0.99  # of a resized pixel that has data
_NEARER = 4  # times that a crop with too little data is moved towards the middle


@dataclass(frozen=True)
class DomainReader:
    """How images of one domain become squares (side, side, bands), float32 in [-1, 1].

    Pixels without data are filled from those near them (`gaps.filled`).
    """

    bands: int
    scaling: Scaling
    native: bool  # crops are windows at the images' own resolution
    invalid: float  # share of pixels without data, above which a native crop is not taken
    max_pixels: int
    kept: KeptImages | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls, recipe: Recipe, domain: Domain, max_pixels: int, kept: KeptImages | None = None
    ) -> "DomainReader":
        """As images of a domain of a recipe are read; whole ones are `kept`, if anywhere.

        Raises:
            ConfigError: its scaling is not settled.
        """
        facts = recipe.domains[domain]
        native = recipe.crops == "native"
        return cls(facts.bands, Scaling.of(facts), native, recipe.invalid, max_pixels, kept)

    def crop(
        self, folder: Folder, index: int, chance: NDArray[np.float64], load_size: int, side: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """A random crop of an image: of `side` pixels after it was resized to `load_size`, or as
        it is, if crops are native and it is large enough. `chance` (left, top, ...) in [0, 1).

        Beside it its pixels with data (side, side); None where all have.

        Raises:
            ImageError: the image can no longer be read.
        """
        if self.native:
            return self._native(folder, index, side, chance)
        room = load_size - side + 1
        left, top = int(chance[0] * room), int(chance[1] * room)
        return self._square(self._read(folder, index), load_size, (left, top), side)

    def whole(self, folder: Folder, index: int, side: int) -> NDArray[np.float32]:
        """An image for display, resized to a square; of native crops the square in its middle."""
        if self.native:
            return self._native(folder, index, side, None)[0]
        return self._square(self._read(folder, index), side, (0, 0), side)[0]

    def middle(self, folder: Folder, index: int, side: int) -> Image | None:
        """The square in the middle of a part of a raster, as it is in its file; None of others."""
        part = folder.window(index)
        if not self.native or part is None or min(part.size) < side:
            return None
        return self._read(folder, index, _square_in(part.size, side, None))

    def signed(self, image: Image) -> NDArray[np.float32]:
        """An image as it is, in [-1, 1] and the domain's bands."""
        return self._signed(over_white(image), image.valid)[0]

    def _read(self, folder: Folder, index: int, window: Window | None = None) -> Image:
        read = partial(
            folder.read, index, max_pixels=self.max_pixels, bands=self.bands, window=window
        )
        if self.kept is None or window is not None or folder.window(index) is not None:
            return read()
        return self.kept.get((folder.path(index), folder.half), read)

    def _native(
        self, folder: Folder, index: int, side: int, chance: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        part = folder.window(index)
        if part is None or min(part.size) < side:
            image = self._read(folder, index)
            if min(image.size) < side:
                return self._square(image, side, (0, 0), side)
            window = _square_in(image.size, side, chance)
            rows = slice(window.top, window.top + side)
            columns = slice(window.left, window.left + side)
            valid = None if image.valid is None else image.valid[rows, columns]
            return self._signed(over_white(image)[rows, columns], valid)
        window = _square_in(part.size, side, chance)
        image = self._read(folder, index, window)
        if chance is not None:
            middle = _square_in(part.size, side, None)
            for step in range(_NEARER + 1):
                if image.valid is None or 1 - image.valid.mean() <= self.invalid:
                    break
                nearer = middle if step == _NEARER else _between(window, middle)
                if nearer == window:
                    break
                window = nearer
                image = self._read(folder, index, window)
        return self._signed(over_white(image), image.valid)

    def _square(
        self, image: Image, load_size: int, corner: tuple[int, int], side: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        if not self.scaling.ends and image.valid is None:
            pixels = with_bands(over_white(image), self.bands)
            return load_square(pixels, load_size, corner, side), None
        signed, valid = self._signed(over_white(image), image.valid)
        if valid is not None:
            shares = _resized(valid[..., np.newaxis].astype(np.float32), load_size, corner, side)
            valid = _unless_all(shares[..., 0] > _WHOLE)
        return _resized(signed, load_size, corner, side), valid

    def _signed(
        self, pixels: NDArray[np.generic], valid: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        if pixels.shape[2] != self.bands and self.scaling.ends:
            raise ImageError(f"has {pixels.shape[2]} bands where {self.bands} are needed")
        signed = self.scaling.to_signed(with_bands(pixels, self.bands), valid)
        return (signed, None) if valid is None else (filled(signed, valid), _unless_all(valid))


def _unless_all(valid: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    return None if valid.all() else valid


def _square_in(size: tuple[int, int], side: int, chance: NDArray[np.float64] | None) -> Window:
    """A square of `side` pixels in an image of that size, at random or in its middle."""
    height, width = size
    if chance is None:
        return Window((height - side) // 2, (width - side) // 2, side, side)
    left, top = int(chance[0] * (width - side + 1)), int(chance[1] * (height - side + 1))
    return Window(top, left, side, side)


def _between(window: Window, middle: Window) -> Window:
    top, left = (window.top + middle.top) // 2, (window.left + middle.left) // 2
    return Window(top, left, window.height, window.width)


def load_square(
    pixels: np.ndarray, load_size: int, corner: tuple[int, int], side: int
) -> NDArray[np.float32]:
    """Returns the crop at `corner` (left, top), `side` pixels wide, of an image made square.

    Bicubic with antialiasing, computed for the crop alone: equal to resizing the whole image to
    (load_size, load_size) and cropping it then. `pixels` (H, W, bands) are uint8 or uint16; the
    result (side, side, bands) is float32 in [-1, 1].
    """
    height, width, bands = pixels.shape
    left, top = corner
    if (height, width) == (load_size, load_size):
        return to_signed(pixels[top : top + side, left : left + side])
    box = _box((height, width), load_size, corner, side)
    if pixels.dtype == np.uint8 and bands in (1, 3):
        image = Pillow.fromarray(pixels[:, :, 0] if bands == 1 else pixels)
        small = image.resize((side, side), Pillow.Resampling.BICUBIC, box=box)
        return to_signed(np.asarray(small).reshape(side, side, bands))
    top_value = np.iinfo(pixels.dtype).max
    signed = resize(pixels, (side, side), (0, top_value), box)
    signed /= np.float32(top_value / 2)
    signed -= 1
    return signed


def _resized(
    signed: NDArray[np.float32], load_size: int, corner: tuple[int, int], side: int
) -> NDArray[np.float32]:
    """As `load_square`, of an image in [-1, 1]."""
    height, width, _ = signed.shape
    left, top = corner
    if (height, width) == (load_size, load_size):
        return signed[top : top + side, left : left + side]
    return resize(signed, (side, side), (-1, 1), _box((height, width), load_size, corner, side))


def _box(
    size: tuple[int, int], load_size: int, corner: tuple[int, int], side: int
) -> tuple[float, float, float, float]:
    """The crop (left, top, right, bottom) in pixels of the image before it is resized."""
    (height, width), (left, top) = size, corner
    return (
        left * width / load_size,
        top * height / load_size,
        (left + side) * width / load_size,
        (top + side) * height / load_size,
    )
