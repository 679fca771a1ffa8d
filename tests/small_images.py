"""Small images of noise on disk, and their negatives, for an inverting translator."""

from pathlib import Path

import numpy as np

from unpaired.images.formats import read_image, write_image
from unpaired.images.image import Image


def noise(height: int, width: int, bands: int = 3, dtype: type = np.uint8, seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, bands), dtype)


def put(path: Path, *, size=(8, 8), seed=0, dtype=np.uint8, bands=3, alpha=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(noise(*size, bands, dtype, seed), alpha))
    return path


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def assert_negative(target: Path, source: Path) -> None:
    np.testing.assert_array_equal(read_image(target).pixels, 255 - read_image(source).pixels)
