"""What is kept of one image file: digests, facts, some of its samples."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.data.check.problem import Problem, ProblemKind
from unpaired.data.check.range import Range
from unpaired.data.check.raster import RasterLook, look_at_raster
from unpaired.data.layout.domains import Folder, Split
from unpaired.errors import ImageError, MissingExtra, SeveralFrames, shown
from unpaired.images.formats import Reading, format_of, needs_scene, read_header
from unpaired.images.image import Image, Pixels, over_white
from unpaired.storage import open_regular

__all__ = ["FLAT", "Look", "common_bands", "look_at", "range_of"]

FLAT = 2 / 255
"""Standard deviation, for a range of 1, below which an image is nearly flat, in every band.

Instance norm divides by the deviation of each feature map: if there is next to none, it amplifies
the noise in an image's last bits to full contrast. Two levels of 255 are about the noise of JPEG
in a uniform sky.
"""

_LARGE = 2**26  # pixels; larger images are decoded one by one, since two may exceed the memory
_MOST_VALUES = 2**20  # pixels of a raster
_one_by_one = threading.Lock()
_SAMPLED = 256  # samples kept of an image, for the range of its domain


@dataclass(frozen=True)
class Look:
    """What is kept of one image file."""

    split: Split
    path: Path
    content: str  # SHA-256 of the file
    problem: Problem | None = None  # why it cannot be decoded
    pixels: bytes = b""  # digest of the pixels
    size: tuple[int, int] = (0, 0)
    bands: int = 0
    depth: int = 0
    deviation: float | None = None  # of a flat image only
    samples: bytes = b""  # some samples over the whole image, as uint16 of the whole range
    highest: int = 0  # sample, in the image's own bits
    marked: Literal["", "mask", "band"] = ""  # see Image
    frames: int = 1
    raster: RasterLook | None = None

    @property
    def some(self) -> NDArray[np.uint16]:
        """Some samples; 65535 is the top of the range, whatever the bits."""
        return np.frombuffer(self.samples, np.uint16)


def look_at(
    split: Split,
    folder: Folder,
    index: int,
    max_pixels: int,
    crop: int | None = None,
    most: int = _MOST_VALUES,
) -> Look:
    """Opens an image of a folder, if it is a regular file, and decodes it; problems are kept.

    Rasters are read in parts, however large they are; `crop` is the side of the training's crops,
    and the values of at most about `most` of their pixels are kept.
    """
    path = folder.path(index)
    content, start = "", b""
    try:
        with open_regular(path) as file:
            start = file.read(256)
            file.seek(0)
            sha256 = hashlib.sha256()
            while part := file.read(2**20):
                sha256.update(part)
        content = sha256.hexdigest()
        header = read_header(path, Reading(frames="first"))
        if header.is_raster and needs_scene(header) and folder.half is None:
            return _of_raster(
                split, path, content, look_at_raster(path, folder.reading, crop, most)
            )
        with _one_by_one if header.width * header.height > _LARGE else nullcontext():
            return _facts(split, path, content, folder.read(index, max_pixels=max_pixels))
    except (ImageError, MissingExtra, OSError) as error:
        known = isinstance(error, OSError) or format_of(start) is not None
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        kind: ProblemKind = "unreadable" if known else "not an image"
        if isinstance(error, SeveralFrames):
            kind = "several frames"
        problem = Problem(
            kind, (path,), reason.removeprefix(f"{path}: ").removeprefix(f"{shown(path)}: ")
        )
        return Look(split, path, content, problem)


def _of_raster(split: Split, path: Path, content: str, raster: RasterLook) -> Look:
    depth, bands = 8 * np.dtype(raster.dtype).itemsize, raster.values.shape[1]
    return Look(split, path, content, None, raster.digest, raster.size, bands, depth, raster=raster)


def _facts(split: Split, path: Path, content: str, image: Image) -> Look:
    pixels = over_white(image)
    digest = hashlib.blake2b(f"{pixels.shape} {pixels.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    facts = (image.size, image.bands, image.depth, _deviation_if_flat(pixels))
    samples = _some(pixels), int(pixels.max())
    frames = image.marked, image.frames
    return Look(split, path, content, None, digest.digest(), *facts, *samples, *frames)


def range_of(looks: list[Look]) -> Range:
    """The range that images fill together, in the bits of the deepest."""
    depth = max(look.depth for look in looks)
    low, high = np.percentile(np.concatenate([look.some for look in looks]), (0.1, 99.9))
    scale = 1 if depth == 16 else 257
    highest = max(look.highest * (257 if look.depth < depth else 1) for look in looks)
    return Range(round(low / scale), round(high / scale), depth, highest)


def _some(pixels: Pixels) -> bytes:
    """Some samples of an image, those of pixels spread over all of it, as 16 bits."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    count = min(len(flat), max(_SAMPLED // flat.shape[1], 8))
    some = flat[np.linspace(0, len(flat) - 1, count).astype(np.intp)]
    return (some.astype(np.uint16) * np.uint16(257) if some.dtype == np.uint8 else some).tobytes()


def _deviation_if_flat(pixels: Pixels) -> float | None:
    """Returns the greatest standard deviation of a band, for a range of 1, if below `FLAT`."""
    scale = np.iinfo(pixels.dtype).max
    # The squared deviations of every 16th sample are part of the sum over all samples: if that
    # part alone makes the mean large enough, the rest need not be computed.
    if pixels[::4, ::4].std(axis=(0, 1)).max() >= 4 * FLAT * scale:
        return None
    rows = max(2**22 // pixels.shape[1], 1)  # at a time: in float64 the image needs 8 times as much
    parts = [pixels[top : top + rows] for top in range(0, len(pixels), rows)]
    count = pixels.shape[0] * pixels.shape[1]
    mean = sum(part.sum(axis=(0, 1), dtype=np.float64) for part in parts) / count
    squares = sum(np.square(part - mean).sum(axis=(0, 1)) for part in parts) / count
    deviation = float(np.sqrt(squares).max() / scale)
    return deviation if deviation < FLAT else None


def common_bands(looks: Iterable[Look]) -> int:
    """Returns the most frequent number of bands; grey and RGB images together are RGB."""
    counts = Counter(look.bands for look in looks)
    most = counts.most_common(1)[0][0]
    return max(band for band in counts if band in (1, 3)) if most in (1, 3) else most
