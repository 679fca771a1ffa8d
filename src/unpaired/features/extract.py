"""Features of any number of images: in memory while they are few, on disk when they are many."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import IO

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import DataError
from unpaired.features.seam import FeatureNetwork

__all__ = ["each_image", "extract"]

Images8 = NDArray[np.uint8]

_BATCH = 16  # images at once through a network
_IN_MEMORY = 64 * 2**20  # bytes of features beyond which they go to disk


def extract(network: FeatureNetwork, batches: Iterable[Images8]) -> NDArray[np.float32]:
    """Computes the features of all images, in their order: (n, `network.width`).

    Args:
        network: takes RGB images of any size and resizes them itself.
        batches: uint8 images, (height, width, bands) or (n, height, width, bands), whose sizes may
            differ; grey ones (1 band) become RGB. They are read once, a few at a time.

    Beyond 64 MiB the result is a `np.memmap` of a nameless temporary file, which disappears with
    the array, even if the process is killed.

    Raises:
        DataError: there are no images, or one is not uint8 or not of 1 or 3 bands.
    """
    kept: list[NDArray[np.float32]] = []
    file: IO[bytes] | None = None
    count = 0
    try:
        for batch in _batches_of_one_shape(batches):
            kept.append(network.features(_rgb(batch)))
            count += len(batch)
            if sum(block.nbytes for block in kept) > _IN_MEMORY:
                file = file or tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
                _move(kept, file)
        if not count:
            raise DataError("there are no images to take features of")
        if file is None:
            return np.concatenate(kept)
        _move(kept, file)
        file.flush()
        # The map outlives the file object: it has its own handle.
        return np.memmap(file, np.float32, "r", shape=(count, network.width))
    finally:
        if file is not None:
            file.close()


def each_image(batches: Iterable[Images8]) -> Iterator[Images8]:
    """Yields images one by one, (height, width, bands), from single images and from batches.

    Raises:
        DataError: an array does not hold uint8 images.
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
        while batch := list(islice(images, _BATCH)):
            yield np.stack(batch)


def _rgb(images: Images8) -> Images8:
    bands = images.shape[-1]
    if bands not in (1, 3):
        raise DataError(f"feature networks take images of 1 or 3 bands, not {bands}")
    return images if bands == 3 else np.repeat(images, 3, axis=-1)


def _move(kept: list[NDArray[np.float32]], file: IO[bytes]) -> None:
    for block in kept:
        file.write(np.ascontiguousarray(block, np.float32).data)
    kept.clear()
