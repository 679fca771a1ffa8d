"""The squares that an evaluation reads: resized images, or tiles of rasters in their own values."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from unpaired.config import DomainFacts
from unpaired.data.check.raster import tiles_of
from unpaired.data.crops import DomainReader
from unpaired.data.layout.domains import Folder
from unpaired.errors import ImageError, shown
from unpaired.images.disk_array import disk_array
from unpaired.images.formats import needs_scene, read_header
from unpaired.images.image import from_signed
from unpaired.metrics.image_set import ImageSet

__all__ = ["in_tiles", "load_square_of", "read_set"]


def in_tiles(folder: Folder, reader: DomainReader, side: int) -> Folder:
    """The folder with each raster as its tiles of at least `side` pixels with data enough.

    Only where crops are native; a folder that is in parts already stays as it is.

    Raises:
        ImageError: a raster cannot be read.
    """
    if not reader.native or folder.windows:
        return folder
    parts = {}
    for name in folder.names:
        path = folder.root / name
        header = read_header(path, folder.reading)
        if header.is_raster and needs_scene(header) and min(header.height, header.width) >= side:
            parts[name] = tiles_of(path, folder.reading, side, reader.invalid)
    return folder.in_parts(parts)


def load_square_of(
    folder: Folder, index: int, reader: DomainReader, side: int
) -> NDArray[np.float32]:
    """One image as `load_whole` gives it; an error names it where its bands do not fit."""
    try:
        return reader.whole(folder, index, side)
    except ImageError as error:
        path = folder.path(index)
        if str(path) in str(error) or shown(path) in str(error):
            raise
        raise ImageError(f"{shown(path)}: {error}") from error


def read_set(
    folder: Folder,
    indices: Sequence[int],
    reader: DomainReader,
    facts: DomainFacts,
    side: int,
    done: Callable[[], None],
) -> ImageSet:
    """Reads images onto disk; of rasters their values and valid pixels, too. `done` counts them."""
    bits = 8 if facts.depth <= 8 else 16
    shape = len(indices), side, side
    samples = disk_array((*shape, facts.bands), f"uint{bits}")
    native = valid = None
    if reader.scaling.ends:
        native = disk_array((*shape, facts.bands), facts.samples)
    for place, index in enumerate(indices):
        image = reader.middle(folder, index, side)
        if image is None:
            signed = load_square_of(folder, index, reader, side)
        else:
            signed = reader.signed(image)
            if image.valid is not None:
                if valid is None:
                    valid = disk_array(shape, np.bool_)
                    valid[...] = True
                valid[place] = image.valid
        samples[place] = from_signed(signed, 8 if bits == 8 else 16)
        if native is not None:
            native[place] = reader.scaling.from_signed(signed) if image is None else image.pixels
        done()
    names = tuple(shown(folder.label(index)) for index in indices)
    return ImageSet(samples, names, reader.scaling if reader.scaling.ends else None, native, valid)
