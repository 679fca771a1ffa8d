"""Features of sets of images of any number: kept in memory while few, on disk where many."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import IO

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import DataError
from unpaired.features.seam import FeatureNetwork

__all__ = ["FeatureNetwork", "each_image", "extract"]

Images8 = NDArray[np.uint8]

_BATCH = 16  # images at once through a network
_IN_MEMORY = 64 * 2**20  # bytes of features; what is more lies on disk


def extract(
    network: FeatureNetwork,
    batches: Iterable[Images8],
    progress: Callable[[int], object] = lambda done: None,
) -> NDArray[np.float32]:
    """Features of all images, in their order: (n, `network.width`).

    Args:
        network: takes RGB images of any size and resizes them itself.
        batches: uint8 images, (height, width, bands) or (n, height, width, bands), of sizes that
            may differ; grey ones (1 band) become RGB. They are read once, a few at a time.
        progress: is told how many images are done.

    Beyond 64 MiB the result is a `np.memmap` of a nameless temporary file, which is gone with the
    array, even if the process is killed.

    Raises:
        DataError: there are no images, or one is not uint8 or not of 1 or 3 bands.
    """
    kept: list[NDArray[np.float32]] = []
    file: IO[bytes] | None = None
    done = 0
    try:
        for batch in _batches_of_one_shape(batches):
            kept.append(network.features(_rgb(batch)))
            done += len(batch)
            if sum(block.nbytes for block in kept) > _IN_MEMORY:
                file = file or tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
                _move(kept, file)
            progress(done)
        if not done:
            raise DataError("there are no images to take features of")
        if file is None:
            return np.concatenate(kept)
        _move(kept, file)
        file.flush()
        # The map outlives the file: it has its own handle.
        return np.memmap(file, np.float32, "r", shape=(done, network.width))
    finally:
        if file is not None:
            file.close()


def each_image(batches: Iterable[Images8]) -> Iterator[Images8]:
    """The images one by one, (height, width, bands), of single ones and of batches.

    Raises:
        DataError: an array is not of uint8 images.
    """
    for batch in batches:
        if batch.dtype != np.uint8 or batch.ndim not in (3, 4):
            raise DataError(
                f"images are uint8, (height, width, bands), not {batch.dtype} of {batch.shape}"
            )
        yield from batch if batch.ndim == 4 else (batch,)


def _batches_of_one_shape(batches: Iterable[Images8]) -> Iterator[Images8]:
    """The images in their order, in batches of neighbours of one shape."""
    for _, images in groupby(each_image(batches), key=lambda image: image.shape):
        batch: list[Images8] = []
        for image in images:
            batch.append(image)
            if len(batch) == _BATCH:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)


def _rgb(images: Images8) -> Images8:
    match images.shape[-1]:
        case 3:
            return images
        case 1:
            return np.repeat(images, 3, axis=-1)
        case bands:
            raise DataError(f"networks of features take images of 1 or 3 bands, not {bands}")


def _move(kept: list[NDArray[np.float32]], file: IO[bytes]) -> None:
    for block in kept:
        file.write(np.ascontiguousarray(block, np.float32).data)
    kept.clear()
