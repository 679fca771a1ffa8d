"""The sizes an image passes through on its way: its own, the working size, the padded one."""

import numpy as np
import numpy.typing as npt
import PIL.Image

from unpaired.errors import ConfigError

__all__ = ["pad", "padded_size_of", "require_working_size", "resize", "working_size_of"]

Floats = npt.NDArray[np.float32]


def require_working_size(longer: int | None) -> None:
    """Refuses a working size that is under what the networks are defined for.

    Raises:
        ConfigError: it is.
    """
    if longer is not None and longer < 8:
        raise ConfigError(f"--working-size is {longer}: it must be at least 8")


def working_size_of(size: tuple[int, int], longer: int | None) -> tuple[int, int]:
    """`size` (height, width) scaled so that its longer side is `longer`; as it is for None."""
    if longer is None:
        return size
    scale = longer / max(size)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def padded_size_of(size: tuple[int, int]) -> tuple[int, int]:
    """The next multiples of 4 from 8 on: what the networks are defined for."""
    height, width = (max(-(-side // 4) * 4, 8) for side in size)
    return height, width


def pad(signed: Floats, size: tuple[int, int]) -> Floats:
    """`signed` (height, width, bands) mirrored outwards, right and below, up to `size`.

    The edge is not repeated; a side too short for its padding is mirrored again and again, and a
    side of one pixel is repeated.
    """
    room = [(0, size[0] - signed.shape[0]), (0, size[1] - signed.shape[1]), (0, 0)]
    return np.pad(signed, room, mode="reflect") if size != signed.shape[:2] else signed


def resize(band: Floats, size: tuple[int, int]) -> Floats:
    """One band (height, width) in [-1, 1] at another size: bicubic, antialiased where it shrinks.

    What bicubic interpolation throws beyond the range beside edges is cut off.
    """
    plane = PIL.Image.fromarray(np.ascontiguousarray(band))
    resized: Floats = np.array(plane.resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC))
    return resized.clip(-1, 1, out=resized)
